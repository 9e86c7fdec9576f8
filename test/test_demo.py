# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: its figures, its input, its processes; and all of it once, through DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from processes import is_running, wait_for, wait_until_heeded

from eloss_perception.cli import main
from eloss_perception.datasets.bags import messages
from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.replay.demo.demo import (
    DemoSettings,
    default_corruptions,
    drive_bag,
    find_sequence,
)
from eloss_perception.replay.demo.processes import ChildProcesses, ProcessError, reserve_domain
from eloss_perception.replay.demo.record import CarsFound, DemoRecord, Frame, count_cars, phases_of
from eloss_perception.replay.demo.summary import summary_lines

CAR = [12.0, 1.0, -0.9, 4.0, 1.8, 1.5, 0.2]


def frame(time_s: float, condition: str = "", answered: bool = True) -> Frame:
    boxes = Boxes3D(
        np.array([CAR], dtype=np.float32), np.array([0.9], dtype=np.float32), np.array([0])
    )
    stages = {
        "preprocess": 1.0,
        "inference": 20.0,
        "postprocess": 2.0,
        "health": 1.0,
        "total": 24.0,
        "pipeline_latency": 30.0,
    }
    return Frame(
        stamp_ns=round(time_s * 1e9),
        time_s=time_s,
        condition=condition,
        boxes=boxes if answered else None,
        stage_ms=stages if answered else {},
        truth_boxes=np.array([CAR], dtype=np.float32),
        truth_labels=np.array([0]),
    )


# --------------------------------------------------------------------------------------- figures


def test_true_boxes_survive_being_drawn() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(-3.0, 3.0, (20, 7)).astype(np.float32)
    boxes[:, 3:6] = rng.uniform(0.5, 5.0, (20, 3))
    labels = rng.integers(-1, 3, 20)
    drawn = messages.ground_truth_markers(boxes, labels, 0, "velodyne")
    again, labels_again = messages.boxes_from_markers(drawn)
    np.testing.assert_allclose(again, boxes, atol=1e-4)
    np.testing.assert_array_equal(labels_again, labels)
    assert messages.boxes_from_markers(messages.ground_truth_markers(boxes[:0], labels[:0], 0, "v"))


def test_phases_follow_the_condition() -> None:
    frames = [frame(0.0), frame(0.1, "fog:5"), frame(0.2, "fog:5"), frame(0.3)]
    phases = phases_of(frames)
    assert [(p.title, len(p.frames), p.start_s) for p in phases] == [
        ("clean", 1, 0.0),
        ("fog:5", 2, 0.1),
        ("recovery", 1, 0.3),
    ]


def test_a_car_counts_only_where_the_scan_shows_it() -> None:
    points = np.tile(np.array([[12.0, 1.0, -0.9, 0.5]], dtype=np.float32), (10, 1))
    assert count_cars(frame(0.0), points) == (1, 1)
    assert count_cars(frame(0.0, answered=False), points) == (1, 0)
    assert count_cars(frame(0.0), points[:9]) == (0, 0)
    assert count_cars(frame(0.0), points[:0]) == (0, 0)


def test_summary_tells_every_scan() -> None:
    frames = (frame(0.0), frame(0.1), frame(0.2, answered=False))
    cars = CarsFound({}, {})
    lost = DemoRecord(Path("recording"), frames, num_sent=6, num_dropped=1, num_received=4)
    assert (lost.num_answered, lost.num_undelivered, lost.num_lost) == (2, 2, 1)
    text = "\n".join(summary_lines(lost, cars))
    assert "6 scans sent, 2 answered, 1 dropped, 2 lost before the detector" in text
    assert "1 NEITHER ANSWERED NOR COUNTED" in text
    assert "the recorder holds 3 of the scans" in text
    assert "Car 2 (1.0 a scan)" in text
    network = next(line for line in text.splitlines() if "network" in line)
    assert network.split()[-3:] == ["20.0"] * 3
    whole = DemoRecord(Path("recording"), frames, num_sent=3, num_dropped=1, num_received=2)
    text = "\n".join(summary_lines(whole, cars))
    assert "NEITHER" not in text and "lost before" not in text


def health(score: float, level: int, likely_cause: str) -> SimpleNamespace:
    return SimpleNamespace(score=score, level=level, threshold=5.0, likely_cause=likely_cause)


def test_summary_tells_what_each_phase_was_like() -> None:
    frames = [frame(0.0), frame(0.1, "rain:3"), *(frame(0.2 + 0.1 * i, "fog:5") for i in range(3))]
    said = [
        *(health(0.1, 0, ""), health(1.2, 0, "")),
        *(health(30.0, 1, "unknown"), health(80.0, 2, "fog"), health(82.0, 2, "fog")),
    ]
    for one, message in zip(frames, said, strict=True):
        one.health = message
    record = DemoRecord(Path("recording"), tuple(frames), num_sent=5, num_dropped=0, num_received=5)
    lines = summary_lines(record, CarsFound({}, {}))
    clean, rain, fog = (
        next(line for line in lines if f" {title} " in line)
        for title in ("clean", "rain:3", "fog:5")
    )
    assert any("5 and more are anomalous" in line for line in lines)
    assert clean.split() == ["0.0", "s", "clean", "OK", "100%", "0.1", "-"]
    assert rain.split() == ["0.1", "s", "rain:3", "OK", "100%", "1.2", "-"]
    assert fog.split()[3:] == ["WARN", "33%,", "ERROR", "67%", "80.0", "fog", "-"]


@pytest.mark.parametrize("num_frames", [1, 5, 40, 150, 1000])
def test_default_corruptions_fit_the_drive(num_frames: int) -> None:
    windows = default_corruptions(num_frames)
    assert [window.name for window in windows] == (
        [] if num_frames == 1 else ["rain", "fog", "beam_missing"]
    )
    for window in windows:
        assert 0.0 < window.start_s < window.end_s < num_frames / 10.0


# ----------------------------------------------------------------------------------------- input


def test_a_drive_is_made_once_and_an_older_one_goes(tmp_path: Path) -> None:
    made: list[int] = []
    first = drive_bag(tmp_path / "input", 1, 2, lambda done, of: made.append(done))
    assert drive_bag(tmp_path / "input", 1, 2, lambda done, of: made.append(done)) == first
    assert made == [1, 2]
    second = drive_bag(tmp_path / "input", 2, 2, lambda done, of: None)
    assert list((tmp_path / "input").iterdir()) == [second]


def test_an_interrupted_drive_leaves_no_bag(tmp_path: Path) -> None:
    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive_bag(tmp_path / "input", 1, 2, interrupt)
    assert list((tmp_path / "input").iterdir()) == []


def test_kitti_is_found_below_the_unpacked_folder(kitti_tracking_root: Path) -> None:
    assert find_sequence(kitti_tracking_root).sequence == "0001"
    assert find_sequence(kitti_tracking_root.parent).sequence == "0001"


def test_a_folder_without_a_sequence_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tracking sequence"):
        find_sequence(tmp_path)


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--corrupt", "smog:3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ConfigError, match="at least 1"):
        DemoSettings(num_frames=0)


# ------------------------------------------------------------------------------------- processes


def test_children_are_stopped_and_reaped(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)"
    with ChildProcesses(tmp_path, {}) as children:
        child = children.start("sleeper", [sys.executable, "-c", stubborn])
        assert child.return_code is None
    assert child.return_code == -signal.SIGTERM


def test_a_failure_comes_with_the_last_words(tmp_path: Path) -> None:
    with ChildProcesses(tmp_path, {"WORDS": "farewell"}) as children:
        code = "import os, sys; print(os.environ['WORDS']); sys.exit(3)"
        child = children.start("talker", [sys.executable, "-c", code])
        while child.return_code is None:
            time.sleep(0.01)
        with pytest.raises(ProcessError, match=r"talker ended with exit status 3: farewell"):
            children.check()


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from eloss_perception.replay.demo.processes import ChildProcesses\n"
        "children = ChildProcesses(pathlib.Path(sys.argv[1]), {})\n"
        "children.start('sleeper', [sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(children._children[0]._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert wait_for(lambda: not is_running(child))


def test_nobody_else_is_in_a_reserved_domain() -> None:
    own = {int(os.environ["ROS_DOMAIN_ID"]), reserve_domain(), reserve_domain()}
    code = (
        "from eloss_perception.replay.demo.processes import reserve_domain\n"
        "print(*(reserve_domain() for _ in range(50)))"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    others = {int(domain) for domain in said.split()}
    assert (len(own), len(others), own & others) == (3, 50, set())
    assert own | others <= set(range(1, 101))


# ------------------------------------------------------------------------------------- all of it


def start_demo(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    pytest.importorskip("onnx", reason="needs onnx to make a bundle")
    from tiny_bundle import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path / "bundle")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "eloss_perception.cli", "demo", "--bundle", str(bundle)),
            *("--output", str(tmp_path / "out"), *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # So that its children can be told from those of other tests.
        env={**os.environ, "ELOSS_TEST_RUN": str(tmp_path)},
    )


def processes_of(tmp_path: Path) -> list[int]:
    mark = f"ELOSS_TEST_RUN={tmp_path}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_demo_from_start_to_pictures(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, "--frames", "12")
    text, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, text
    assert "12 scans sent" in text
    assert "NEITHER" not in text
    out = tmp_path / "out"
    pictures = {path.name for path in out.glob("*.png")}
    assert {"birds_eye_clean.png", "health_timeline.png"} <= pictures
    assert (out / "drive.gif").stat().st_size > 10_000
    assert (out / "summary.txt").read_text() in text
    assert processes_of(tmp_path) == []
    check_with_independent_reader(out / "recording" / "recording.mcap")


def check_with_independent_reader(path: Path) -> None:
    """mcap-ros2-support knows nothing of this package: the bag has to bring its types."""
    mcap_reader = pytest.importorskip("mcap.reader")
    decoder = pytest.importorskip("mcap_ros2.decoder")
    with path.open("rb") as stream:
        reader = mcap_reader.make_reader(stream, decoder_factories=[decoder.DecoderFactory()])
        clouds, boxes, health = set(), set(), set()
        for _, channel, _, message in reader.iter_decoded_messages():
            if channel.topic == "/velodyne_points":
                clouds.add((message.header.stamp.sec, message.header.stamp.nanosec))
            elif channel.topic.endswith("/detections"):
                boxes.add((message.header.stamp.sec, message.header.stamp.nanosec))
                (detection,) = message.detections
                assert detection.results[0].hypothesis.class_id == "car"
            elif channel.topic.endswith("/entropy_health"):
                health.add((message.header.stamp.sec, message.header.stamp.nanosec))
    assert len(clouds) == 12
    assert boxes
    assert boxes <= clouds
    assert boxes <= health


@pytest.mark.parametrize("delay_s", [1.0, 5.0])
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path, delay_s: float) -> None:
    demo = start_demo(tmp_path, "--frames", "40")
    wait_until_heeded(demo, signal.SIGINT)
    time.sleep(delay_s)
    demo.send_signal(signal.SIGINT)
    text, _ = demo.communicate(timeout=60)
    assert "Traceback" not in text
    assert demo.returncode == 128 + signal.SIGINT, text
    assert processes_of(tmp_path) == []


def test_a_bundle_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    command = [sys.executable, "-m", "eloss_perception.cli", "demo", "--bundle", "bundle"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
