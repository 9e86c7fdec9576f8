# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss benchmark`: its rows on tiny settings, its document and its table. No times are judged."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_on_cpu import needs_compiler

from benchmarks.speed import (
    entropy_readout,
    full_network,
    gpu,
    host_rows,
    machine,
    ros_rows,
    suite,
)
from benchmarks.speed.full_network import NetworkTimes
from benchmarks.speed.rows import (
    QUICK,
    Benchmark,
    BenchmarkSettings,
    NotMeasuredError,
    Row,
    Value,
)
from benchmarks.speed.scans import cloud_of, scan_of
from eloss_perception.cli import build_parser, main
from eloss_perception.detection.sensors import SENSORS
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.runtime.bundle import default_bundle_path

LIGHT = default_bundle_path()
TINY = BenchmarkSettings(
    full_bundle=LIGHT,
    full_int8_bundle=LIGHT,
    num_threads=1,
    num_frames=4,
    repeats=2,
    point_counts=(1_000, 5_000, 20_000),
)


def silent(text: str) -> None:
    pass


def values_of(row: Row) -> dict[str, Any]:
    return {value.name: value.value for value in row.values}


# ------------------------------------------------------------------------------- the suite


def test_every_row_is_there_and_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in suite.BENCHMARKS:
        benchmark = suite.find_benchmark(name)
        assert benchmark.what and benchmark.against and benchmark.bar
    with pytest.raises(SystemExit):
        build_parser().parse_args(["benchmark", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in suite.BENCHMARKS)
    assert "example:" in text


def test_an_unknown_row_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--only", "speed"]) == 2
    assert "no benchmark 'speed'; there are host_time" in capsys.readouterr().err


def test_quick_gives_way_to_what_is_said() -> None:
    from eloss_perception.cli.benchmark import _settings

    arguments = ["benchmark", "--quick", "--seconds", "3", "--frames", "2"]
    settings = _settings(build_parser().parse_args(arguments))
    assert (settings.seconds, settings.num_frames) == (3.0, 2)
    assert settings.minutes == QUICK["minutes"]


def run_with(
    monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Row | Exception]
) -> dict[str, Any]:
    """The document of a suite whose rows give or raise these."""

    def find(name: str) -> Benchmark:
        def measure(settings: BenchmarkSettings, progress: Any) -> Row:
            progress("working")
            outcome = outcomes[name]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return Benchmark("what it is", "another", "< 1 ms", measure)

    monkeypatch.setattr(suite, "find_benchmark", find)
    told: list[str] = []
    counts: list[int] = []
    document = suite.run_benchmarks(
        list(outcomes), TINY, told.append, lambda document: counts.append(len(document["rows"]))
    )
    assert told == [f"{name}: working" for name in outcomes]
    assert counts == list(range(1, 1 + len(outcomes))), "told after every row"
    return document


def outcomes() -> dict[str, Row | Exception]:
    long = " ".join(["words"] * 60)
    return {
        "good": Row("0.5 ms", (Value("time", 0.5, "ms"), Value("runs", 3)), True, long),
        "bad": Row(long, (Value("backend", "fast"),), False),
        "absent": NotMeasuredError("no GPU here"),
        "broken": DataError("no answer"),
    }


def test_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = run_with(monkeypatch, outcomes())
    path = tmp_path / "new" / "benchmark.json"
    suite.write_document(path, document)
    again = json.loads(path.read_text())
    assert again["format_version"] == suite.FORMAT_VERSION
    assert set(again) == {"format_version", "machine", "settings", "rows"}
    assert again["machine"]["python"] == platform.python_version()
    for row in again["rows"]:
        assert set(row) == {
            *("name", "what", "against", "bar", "measured", "met", "note", "took_s", "values")
        }
        assert all(set(value) == {"name", "value", "unit"} for value in row["values"])
    assert [row["met"] for row in again["rows"]] == [True, False, None, False]
    assert again["rows"][0]["values"][0] == {"name": "time", "value": 0.5, "unit": "ms"}
    assert again["rows"][2]["note"] == "no GPU here"


def test_no_names_of_places_and_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(run_with(monkeypatch, outcomes()))
    assert str(Path(__file__).resolve().parents[1]) not in text
    assert str(Path.home()) + "/" not in text
    assert platform.node() not in text or len(platform.node()) < 4


def test_the_text_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    document = run_with(monkeypatch, outcomes())
    table = suite.table_lines(document["rows"])
    lines = [line for row in document["rows"] for line in suite.row_lines(row)]
    lines += table + suite.machine_lines(document["machine"])
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("absent") and "no GPU here" in line for line in table)
    assert table[0].split() == ["row", "measured", "bar", "met"]
    assert "    time 0.5 ms; runs 3" in lines


def test_a_failed_row_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: BenchmarkSettings, progress: Any) -> Row:
        raise DataError("no answer")

    def absent(settings: BenchmarkSettings, progress: Any) -> Row:
        raise NotMeasuredError("no GPU here")

    path = tmp_path / "found.json"
    command = ["benchmark", "--only", "gpu", "--cores", "0", "--json", str(path)]
    for measure, status in ((fail, 1), (absent, 0)):
        row = Benchmark("what it is", "another", "< 1 ms", measure)
        monkeypatch.setattr(suite, "find_benchmark", lambda name, row=row: row)
        assert main(command) == status
        assert len(json.loads(path.read_text())["rows"]) == 1
    assert "not measured: no GPU here" in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="rate is"):
        Value("rate", value)


# ----------------------------------------------------------------------------- the machine


def test_nothing_readable_is_no_failure(tmp_path: Path) -> None:
    found = machine.describe_machine(tmp_path)
    assert "jetson" not in found and "gpu" not in found
    assert found["cores_used"] >= 1


def test_a_jetson_says_how_it_is_powered(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\x00",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n",
        "dev/nvhost-gpu": "",
        "etc/nvpmodel.conf": (
            "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n"
            "< PM_CONFIG DEFAULT=2 >\n"
        ),
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "2201600\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2201600\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = machine.describe_machine(tmp_path)
    assert found["jetson"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert str(found["power_mode"]).startswith("MODE_30W by default")
    assert found["jetson_clocks"] == "CPU clock pinned"
    assert found["gpu"] == "NVIDIA Jetson AGX Orin Developer Kit (integrated)"
    assert found["governor"] == "schedutil"


# ------------------------------------------------------------------------------- the rows


@pytest.mark.parametrize("num_points", [0, 10, 200_000])
def test_a_scan_has_as_many_points_as_asked_for(num_points: int) -> None:
    points = scan_of(num_points, 1)
    assert points.shape == (num_points, 4) and points.dtype == np.float32
    again = points_from_msg(cloud_of(points), SENSORS["kitti_hdl64"])
    np.testing.assert_array_equal(again, points)


def test_a_line_through_host_times() -> None:
    counts = np.array([1e4, 1e5, 1e6])
    fixed_ms, slope = host_rows.fit_line(counts, 1.5 + 3e-5 * counts)
    assert (fixed_ms, slope) == pytest.approx((1.5, 3e-5))


def test_host_growth() -> None:
    row = host_rows.measure_host_growth(TINY, silent)
    found = values_of(row)
    assert all(found[f"{count} points"] > 0.0 for count in TINY.point_counts)
    assert found["working memory at the most points"] > 0.0
    assert row.met is not None


def test_full_network(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the tiny bundle is written with it")
    from tiny_bundle import write_tiny_bundle

    tiny = write_tiny_bundle(tmp_path / "tiny")
    update = {"full_bundle": tiny, "full_int8_bundle": tiny}
    row = full_network.measure(TINY.model_copy(update=update), silent)
    found = values_of(row)
    assert found["ONNX Runtime float32, network"] > 0.0
    assert found["ONNX Runtime int8, times faster"] > 0.0
    assert row.met is not True, "what it costs in AP was not measured"


def times(network_ms: float) -> NetworkTimes:
    return NetworkTimes([network_ms], [network_ms + 1.0])


@pytest.mark.parametrize(
    ("int8_ms", "changes", "met"),
    [
        (60.0, {"Car_bev_0.7": -0.6, "Car_3d_0.7": 0.2, "Cyclist_3d_0.5": -3.0}, True),
        (60.0, {"Car_bev_0.7": -0.6, "Car_3d_0.7": -0.8}, False),
        (100.0, {"Car_3d_0.7": 0.0}, False),
        (60.0, {}, None),
        (100.0, {}, False),
    ],
)
def test_the_bar_of_the_full_network(int8_ms: float, changes: dict[str, float], met: Any) -> None:
    found = {"ONNX Runtime float32": times(200.0), "ONNX Runtime int8": times(190.0)}
    row = full_network.row_of(found | {"OpenVINO int8": times(int8_ms)}, changes, 2, [])
    assert row.met is met
    assert values_of(row)["OpenVINO int8, times faster"] == pytest.approx(200.0 / int8_ms, abs=1e-3)


@pytest.mark.parametrize("name", ["full_network", "end_to_end"])
def test_a_bundle_that_is_not_there(name: str, tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"full_int8_bundle": tmp_path / "none"})
    with pytest.raises(NotMeasuredError, match="no full bundle quantised for CPUs"):
        suite.find_benchmark(name).measure(settings, silent)


def test_no_gpu_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: None)
    with pytest.raises(NotMeasuredError, match="no GPU here"):
        gpu.measure(TINY, silent)


def test_the_gpu_is_compared_with_the_bare_network_of_its_precision() -> None:
    found = {"TensorRT float16": times(1.0), "ONNX Runtime CUDA float32": times(4.0)}
    bare = {"TensorRT float16": 0.8, "PyTorch eager float16": 0.9, "PyTorch eager float32": 0.1}
    row = gpu.row_of("a GPU", found, bare, [])
    assert values_of(row)["points to boxes over the bare network"] == pytest.approx(2.5)
    assert row.met is False
    row = gpu.row_of("a GPU", found, {}, [])
    assert values_of(row)["points to boxes over the bare network"] == pytest.approx(2.0)


@needs_compiler
def test_a_gpu_that_is_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the tiny bundle is written with it")
    import fake_cuda
    import fake_tensorrt
    from tiny_bundle import write_tiny_bundle

    fake_tensorrt.install(monkeypatch, fake_cuda.install(monkeypatch))
    monkeypatch.setattr(gpu, "gpu_name", lambda: "a CPU")
    monkeypatch.setattr(gpu, "_NUM_POINTS", 500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    none = {"full_float16_bundle": tmp_path / "none", "full_int8_gpu_bundle": tmp_path / "none"}
    update = {"full_bundle": write_tiny_bundle(tmp_path / "tiny"), **none}
    row = gpu.measure(TINY.model_copy(update=update), silent)
    found = values_of(row)
    assert found["TensorRT float32, bare network"] > 0.0
    assert found["TensorRT float32, points to boxes"] > found["TensorRT float32, inference"] > 0.0
    assert row.measured.startswith("TensorRT float32: ")
    assert "no full float16 bundle" in row.note and "ONNX Runtime CUDA float32: " in row.note


@pytest.mark.parametrize(
    ("growth_mb", "level_mb", "met"),
    [(0.0, 400.0, True), (30.0, 400.0, False), (0.0, 700.0, False)],
)
def test_memory_is_judged_by_level_and_growth(growth_mb: float, level_mb: float, met: bool) -> None:
    seconds = np.arange(0.0, 600.0, 0.5)
    start = -100.0 * (seconds < 20.0)  # pools fill in the beginning: no growth
    noise = np.random.default_rng(0).normal(0.0, 0.5, len(seconds))
    memory_mb = level_mb + start + noise + growth_mb * seconds / 600.0
    row = ros_rows.memory_row(seconds.tolist(), memory_mb.tolist(), 6000, 10.0, "a backend")
    assert row.met is met
    assert row.note == ""
    assert values_of(row)["slope"] == pytest.approx(growth_mb / 10.0, abs=0.2)


def test_what_memory_was_not_tried_for_is_said() -> None:
    row = ros_rows.memory_row([0.5, 1.0, 60.0], [100.0, 100.0, 100.0], 300, 10.0, "a backend")
    assert row.note.startswith("shorter than") and row.note.endswith("only 5.0 of 10 scans a second"
                                                                     " answered")  # fmt: skip


def test_entropy_readout() -> None:
    figures = {"cpu_ms": 10.0, "cpu_with_readout_ms": 10.15, "cpu_share": 0.015, "wall_share": 0.03}
    both = {"light": figures, "PointPillars": figures}
    assert entropy_readout.readout_row(both).met is True
    assert entropy_readout.readout_row(both | {"light": figures | {"cpu_share": 0.03}}).met is (
        False
    )


def test_settings_are_checked() -> None:
    from eloss_perception.cli.parsing import settings_from

    with pytest.raises(ConfigError, match="cores = -1"):
        settings_from(BenchmarkSettings, {"cores": -1})
