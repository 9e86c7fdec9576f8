# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `eloss` command: help, errors as one line, and the way from simulation to evaluation."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eloss_perception import __version__, cli
from eloss_perception.cli import demo, export, replay
from eloss_perception.cli.scans import find_scans
from eloss_perception.cli.terminal import progress_bar, say, say_table, status_line, track
from eloss_perception.datasets.kitti import KittiDataset, read_labels
from eloss_perception.errors import BundleError, DataError
from eloss_perception.replay.demo.demo import DemoSettings
from eloss_perception.replay.player_options import PlayerSettings
from eloss_perception.runtime.bundle import default_bundle_path
from eloss_perception.simulation.schedule import CorruptionWindow

NAMES = cli.COMMANDS


def run(*argv: object) -> int:
    return cli.main([str(argument) for argument in argv])


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what stderr holds: exactly one line that starts as errors do."""
    err = capsys.readouterr().err
    assert err.startswith("eloss: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def raising(error: BaseException):
    def fail(args: object) -> int:
        raise error

    return fail


@pytest.fixture
def fake(monkeypatch):
    """Replace what `eloss export` does by raising an error."""

    def install(error: BaseException) -> list[str]:
        monkeypatch.setattr(export, "run", raising(error))
        return ["export", "--checkpoint", "a", "--out", "b"]

    return install


@pytest.mark.parametrize("name", NAMES)
def test_every_help_shows_a_valid_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        run(name, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n" in text
    examples = text[text.index("example:\n") :].splitlines()[1:]
    assert examples
    for line in examples:
        program, *argv = line.split()
        assert program == "eloss"
        assert argv[0] == name
        assert cli.build_parser().parse_args(argv).command == name


def test_the_main_help_names_all_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    for name in NAMES:
        # The summary is on the line of the name.
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in lines)
    assert max(map(len, lines)) <= 80


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"eloss {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["simulate", "--out", "x", "--frames", "3", "--nonsense"],
        ["simulate", "--out", "x", "--frames", "0"],
        ["simulate", "--out", "x", "--frames", "3", "--seed", "-1"],
        ["detect", "scan.bin"],
        ["detect", "scan.bin", "--out", "x", "--score", "1.5"],
        ["bag", "--out", "x"],
        ["bag", "--simulate", "--kitti", "x", "--out", "y"],
        ["bag", "--simulate", "--storage", "rosbag1", "--out", "y"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*argv)
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_help_loads_nothing_heavy():
    code = (
        "import sys, contextlib, io\n"
        "from eloss_perception import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    cli.main(['detect', '--help'])\n"
        "heavy = {'numpy', 'numba', 'pydantic', 'PIL', 'torch', 'rclpy', 'onnxruntime', 'yaml'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_an_expected_error_is_one_line(fake, capsys):
    assert run(*fake(BundleError("two\nlines   of it"))) == 2
    assert one_error(capsys) == "eloss: error: two lines of it\n"


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        ("torch", "[train]"),
        ("torch.nn", "[train]"),
        ("PIL", "[viz]"),
        ("rosbags.rosbag2", "[bags]"),
        ("rclpy", "source a ROS 2"),
        ("vision_msgs", "source a ROS 2"),
        ("eloss_perception.msg", "colcon build"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(fake, capsys, module, hint):
    assert run(*fake(ModuleNotFoundError(f"No module named {module!r}", name=module))) == 2
    assert hint in one_error(capsys)


def test_bugs_are_not_hidden(fake):
    argv = fake(ModuleNotFoundError("no", name="eloss_perception.nonsense"))
    with pytest.raises(ModuleNotFoundError):
        run(*argv)
    argv = fake(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        run(*argv)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyboardInterrupt("after step 3")])
def test_an_interrupt_is_one_line(fake, capsys, error):
    assert run(*fake(error)) == 130
    assert capsys.readouterr().err == f"eloss: {str(error) or 'interrupted'}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_shows_in_the_status_even_if_all_was_done(number, monkeypatch, capsys):
    monkeypatch.setattr(export, "run", lambda args: os.kill(os.getpid(), number) or 0)
    assert run("export", "--checkpoint", "a", "--out", "b") == 128 + number
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.txt"), "a.txt: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError("image file is truncated"), "image file is truncated"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "a text file is not in UTF-8: "),
        (MemoryError("cannot allocate 9 GiB"), "out of memory: cannot allocate 9 GiB"),
    ],
)
def test_what_the_machine_refuses_is_one_line(fake, capsys, error, line):
    assert run(*fake(error)) == 2
    assert line in one_error(capsys)


@pytest.mark.parametrize("output", ["/dev/full", None])
def test_output_that_goes_nowhere(output):
    command = [sys.executable, "-m", "eloss_perception.cli", "corrupt", "--list"]
    if output is None:  # closed, as by `>&-`
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    with open(output or os.devnull, "w") as stream:
        done = subprocess.run(
            command,
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(cli.__file__).parents[1],
        )
    if output is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 2
        assert done.stderr == "eloss: error: [Errno 28] No space left on device\n"


def test_output_takes_every_name(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(export, "run", lambda args: say("w\xe4hrend \udcff") or 0)
    assert run("export", "--checkpoint", "a", "--out", "b") == 0
    assert stream.buffer.getvalue() == b"w\\xe4hrend \\udcff\n"


def test_ctrl_c_during_work(tmp_path):
    command = [sys.executable, "-m", "eloss_perception.cli", "simulate", "--frames", "9999"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(cli.__file__).parents[1],
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.bin")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "eloss: interrupted\n")
    assert not (tmp_path / "ImageSets").exists()


def test_a_reader_that_leaves_is_no_error(tmp_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-m", "eloss_perception.cli", "train", "--show"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(cli.__file__).parents[1],
    )
    os.close(write_end)
    if "[train]" in result.stderr:
        pytest.skip("torch is not installed")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["detect", "missing.bin", "--out", "x"], "missing.bin: no such file"),
        (["detect", "folder", "--out", "x"], "neither .bin, .pcd, .ply, .npy nor a KITTI root"),
        (["detect", "empty.bin", "--out", "x", "--sensor", "nonsense"], "'nonsense'"),
        (["detect", "empty.bin", "--out", "x", "--bundle", "nonsense"], "no bundle at nonsense"),
        (["evaluate", "--data", "nonsense"], "nonsense"),
        (["simulate", "--out", "x", "--frames", "1", "--lidar", "nonsense"], "nonsense"),
    ],
)
def test_wrong_input_is_one_line(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.bin").touch()
    (tmp_path / "folder").mkdir()
    assert run(*argv) == 2
    assert message in one_error(capsys)


@pytest.mark.parametrize("extra", [["--sequence", "0001"], ["--split", "val"]])
def test_a_simulated_drive_has_no_sequence(extra, tmp_path, capsys):
    pytest.importorskip("rosbags")
    assert run("bag", "--simulate", "--out", tmp_path / "bag", *extra) == 2
    assert "belong to --kitti" in one_error(capsys)


def test_replay_settings_come_from_the_options():
    def settings(text: str) -> PlayerSettings:
        return replay.settings_from_arguments(cli.build_parser().parse_args(text.split()))

    assert settings("replay bag") == PlayerSettings(Path("bag"))
    assert settings(
        "replay bag --clock --topics /a /b --remap /a:=/c --rate 2 --loop --corrupt fog:4@5s-10s"
    ) == PlayerSettings(
        Path("bag"),
        rate=2.0,
        loop=True,
        topics=("/a", "/b"),
        remap=(("/a", "/c"),),
        stamp="bag",
        clock_hz=40.0,
        corruptions=(CorruptionWindow("fog", 4, 5.0, 10.0),),
    )


def test_demo_settings_come_from_the_options():
    def settings(text: str) -> DemoSettings:
        return demo.settings_from_arguments(cli.build_parser().parse_args(text.split()))

    assert settings("demo") == DemoSettings()
    assert settings("demo --quick --corrupt none --seed 3 --out x") == DemoSettings(
        Path("x"), num_frames=40, corruptions=(), seed=3
    )
    assert settings("demo --quick --frames 9 --kitti y --corrupt fog") == DemoSettings(
        kitti=Path("y"), num_frames=9, corruptions=(CorruptionWindow("fog", 3),)
    )


def test_replay_of_what_is_no_bag_is_one_line(tmp_path, capsys):
    pytest.importorskip("rclpy")
    assert run("replay", tmp_path) == 2
    assert str(tmp_path) in one_error(capsys)
    assert run("replay", tmp_path, "--rate", "0") == 2
    assert "rate is 0" in one_error(capsys)
    assert run("replay", tmp_path, "--corrupt", "nonsense:3") == 2
    assert "nonsense" in one_error(capsys)


def test_train_shows_its_settings_and_refuses_unknown_ones(tmp_path, capsys):
    pytest.importorskip("torch")
    config = tmp_path / "run.yaml"
    config.write_text("steps: 7\nname: mine\n")
    assert run("train", "--config", config, "--set", "name=other", "--show") == 0
    text = capsys.readouterr().out
    assert "steps: 7\n" in text
    assert "name: other\n" in text
    assert run("train", "--set", "nonsense=1", "--show") == 2
    assert "nonsense" in one_error(capsys)


def test_find_scans(tmp_path):
    root = tmp_path / "root"
    (root / "training" / "velodyne").mkdir(parents=True)
    (root / "training" / "calib").mkdir()
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.txt").write_text("000001\n000003\n")
    (root / "training" / "calib" / "000003.txt").touch()
    loose = tmp_path / "loose"
    loose.mkdir()
    for name in ("b", "a", "000001"):
        (loose / f"{name}.bin").touch()
    scans = find_scans([root, loose / "a.bin"], "val")
    assert [scan.name for scan in scans] == ["000001", "000003", "a"]
    assert [scan.calibration is None for scan in scans] == [True, False, True]
    assert [scan.name for scan in find_scans([loose], "val")] == ["000001", "a", "b"]
    with pytest.raises(DataError, match="same results"):
        find_scans([root, loose], "val")


def test_tables_and_progress(capsys):
    say_table(["scan", "n"], [["a", "[1]"], ["bb" * 100, "100"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["scan", "n"]
    assert lines[2].split() == ["a", "[1]"]
    assert lines[3].split() == ["bb" * 100, "100"]  # one line however long: it is a log
    assert len({len(lines[i]) for i in (0, 2, 3)}) == 1  # numbers end together
    assert list(track(iter("abc"), 3, "things")) == ["a", "b", "c"]
    with status_line() as show:
        show("a line")
    assert capsys.readouterr().err == ""  # pytest's stderr is no terminal


def test_without_rich_tables_are_plain_and_progress_is_not_shown(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name in ("rich.box", "rich.console"):
        monkeypatch.setitem(sys.modules, name, None)
    say_table(["scan", "n"], [["a", "1"]])
    assert list(track(iter("abc"), 3, "things")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("scan\tn\na\t1\n", "")


def test_progress_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(track(iter("abc"), 3, "things")) == ["a", "b", "c"]
    err = capsys.readouterr().err
    assert "0/3" in err
    assert "3/3" in err
    assert "things" in err
    assert "\033[?25l" not in err  # the cursor stays: a process that is killed would leave none
    with pytest.raises(KeyboardInterrupt), progress_bar(0, "things"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith("\033[2K")  # the line is cleared


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("simulated")
    assert run("simulate", "--out", root, "--frames", 3, "--seed", 5, "--split", "val") == 0
    return root


def test_simulate_writes_a_kitti_root(simulated, tmp_path):
    dataset = KittiDataset(simulated, "val")
    assert dataset.ids == ("000000", "000001", "000002")
    for frame_id in dataset.ids:
        points = dataset.points(frame_id)
        assert len(points) > 50_000
        assert np.isfinite(points).all()
        assert points[:, 3].min() >= 0.0
        assert points[:, 3].max() <= 1.0
        dataset.calibration(frame_id)
    assert any(item.type == "Car" for i in dataset.ids for item in dataset.objects(i))
    again = tmp_path / "again"
    assert run("simulate", "--out", again, "--frames", 2, "--seed", 5, "--preview") == 0
    other = KittiDataset(again, "train")
    assert np.array_equal(other.points("000001"), dataset.points("000001"))
    assert not np.array_equal(other.points("000001"), dataset.points("000000"))
    assert len(list((again / "preview").glob("*.png"))) == 2


def test_simulate_adds_a_split_and_keeps_what_is_there(tmp_path, capsys):
    assert run("simulate", "--out", tmp_path, "--frames", 1, "--split", "train") == 0
    first = (tmp_path / "training" / "velodyne" / "000000.bin").read_bytes()
    assert run("simulate", "--out", tmp_path, "--frames", 1, "--seed", 1, "--split", "val") == 0
    assert KittiDataset(tmp_path, "val").ids == ("000001",)
    assert (tmp_path / "training" / "velodyne" / "000000.bin").read_bytes() == first
    capsys.readouterr()
    assert run("simulate", "--out", tmp_path, "--frames", 1, "--split", "val") == 2
    assert "exists" in one_error(capsys)


@pytest.fixture(scope="module", params=["tiny", "shipped"])
def bundle(request, tmp_path_factory) -> Path:
    if request.param == "tiny":
        pytest.importorskip("onnx")
        from tiny_bundle import write_tiny_bundle

        return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    try:
        return default_bundle_path()
    except BundleError as error:
        pytest.skip(f"no bundle to run: {error}")


def test_simulate_detect_evaluate(simulated, bundle, tmp_path, capsys):
    out = tmp_path / "found"
    assert run("detect", simulated, "--out", out, "--bundle", bundle) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["scan", "points", "car"]
    assert [line.split()[0] for line in table[2:5]] == ["000000", "000001", "000002"]
    for line in table[2:5]:
        name, _, *counts = line.split()
        found = read_labels(out / "results" / f"{name}.txt")
        # What is outside the camera's view is no result in KITTI's sense.
        assert len(found) <= sum(int(count) for count in counts[:3])
        assert all(item.score is not None for item in found)
        assert (out / "pictures" / f"{name}.png").stat().st_size > 10_000
    assert len((out / "summary.csv").read_text().splitlines()) == 4

    result = tmp_path / "deep" / "result.json"
    argv = ["evaluate", "--data", simulated, "--bundle", bundle, "--json", result]
    curves, worst = tmp_path / "curves.png", tmp_path / "worst"
    argv += ["--pr-picture", curves, "--pictures", worst, "--num-pictures", 2, "--resamples", 5]
    assert run(*argv) == 0
    assert "Car" in capsys.readouterr().out
    values = json.loads(result.read_text())
    assert values["splits"]["val"]["num_frames"] == 3
    assert {"Car", "Pedestrian", "Cyclist"} <= set(values["splits"]["val"]["ap"])
    assert values["splits"]["val"]["settings"]["num_resamples"] == 5
    assert curves.stat().st_size > 5_000
    assert {path.name[:7] for path in worst.iterdir()} <= {"01_val_", "02_val_"}


def test_evaluate_refuses_what_does_not_go_together(simulated, tmp_path, capsys):
    checkpoint = ["--checkpoint", tmp_path / "checkpoint.pt"]
    for more, message in (
        (["--distances", 40, 20], "distance_edges = [40.0, 20.0]"),
        ([*checkpoint, "--backend", "onnxruntime_cpu"], "a checkpoint runs in torch"),
        (checkpoint, "cannot read checkpoint"),
    ):
        assert run("evaluate", "--data", simulated, *more) == 2
        assert message in capsys.readouterr().err


def test_detect_without_calibration_writes_boxes_of_the_sensor_frame(
    simulated, bundle, tmp_path, capsys
):
    scan = tmp_path / "loose.bin"
    scan.write_bytes((simulated / "training" / "velodyne" / "000000.bin").read_bytes())
    out = tmp_path / "found"
    argv = ["detect", scan, "--out", out, "--bundle", bundle, "--no-pictures", "--score", 0.2]
    assert run(*argv) == 0
    lines = (out / "results" / "loose.csv").read_text().splitlines()
    assert lines[0] == "class,score,x,y,z,length,width,height,yaw"
    rows = [line.split(",") for line in lines[1:]]
    assert int(capsys.readouterr().out.splitlines()[2].split()[2]) <= len(rows)
    for name, score, *box in rows:
        assert name in ("Car", "Pedestrian", "Cyclist")
        assert 0.2 <= float(score) <= 1.0
        assert len([float(value) for value in box]) == 7
    assert not (out / "pictures").exists()


@pytest.mark.parametrize("suffix", [".bin", ".npy"])
def test_detect_in_a_frame_of_its_own(simulated, bundle, tmp_path, suffix):
    scan = simulated / "training" / "velodyne" / "000000.bin"
    points = np.fromfile(scan, "<f4").reshape(-1, 4)
    points = (points[:, [1, 0, 2, 3]] * [-1, 1, 1, 255] + [0, 0, 1.73, 0]).astype("<f4")
    loose = {name: tmp_path / name / f"scan{suffix}" for name in ("network", "own")}
    for path in loose.values():
        path.parent.mkdir()
    (tmp_path / "network" / "scan.bin").write_bytes(scan.read_bytes())
    loose["network"] = tmp_path / "network" / "scan.bin"
    if suffix == ".npy":
        np.save(loose["own"], points)
    else:
        points.tofile(loose["own"])
    own = ["--sensor", "velodyne", "--mounting-height", 0, "--mounting-yaw", 90]
    own += ["--intensity-field", "i", "--intensity-scale", 255.0]
    boxes = {}
    for name, more in (("network", []), ("own", own)):
        out = tmp_path / f"found_{name}"
        argv = ["detect", loose[name], "--out", out, "--bundle", bundle, "--no-pictures"]
        assert run(*argv, "--score", 0.2, *more) == 0
        lines = (out / "results" / "scan.csv").read_text().splitlines()[1:]
        boxes[name] = np.array([[float(x) for x in line.split(",")[1:]] for line in lines])
    network, moved = boxes["network"], boxes["own"]
    network = np.column_stack([-network[:, 2], network[:, 1], network[:, 3] + 1.73])
    # Rounding may take a box of the least score along.
    distances = np.linalg.norm(network[:, None] - moved[None, :, 1:4], axis=2)
    assert len(network) > 0
    assert (distances.min(axis=1) < 0.05).mean() > 0.7


def test_detect_in_real_frames(kitti_object_root, bundle, tmp_path, capsys):
    ids = KittiDataset(kitti_object_root, "val").ids
    scan = kitti_object_root / "training" / "velodyne" / f"{ids[0]}.bin"
    out = tmp_path / "found"
    assert run("detect", scan, "--out", out, "--bundle", bundle) == 0
    assert (out / "results" / f"{ids[0]}.txt").is_file()
    assert (out / "pictures" / f"{ids[0]}.png").is_file()
    assert capsys.readouterr().out.splitlines()[2].split()[0] == ids[0]


def test_bag_of_simulated_scans(simulated, tmp_path, capsys):
    pytest.importorskip("rosbags")
    path = tmp_path / "bag"
    argv = ["bag", "--kitti", simulated, "--split", "val", "--frames", 2, "--out", path]
    assert run(*argv) == 0
    assert (path / "metadata.yaml").is_file()
    assert "eloss replay" in capsys.readouterr().out
    assert run(*argv) == 2
    one_error(capsys)
    assert run(*argv, "--overwrite") == 0
