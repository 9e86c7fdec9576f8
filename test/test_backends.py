# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backends: equal answers, nothing that falls back in silence, the choice of `auto`."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import pillarize
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime import backends
from eloss_perception.runtime.backends import AUTO_ORDER, BACKENDS, Auto, load_backend
from eloss_perception.runtime.backends.base import OUTPUT_NAMES, BackendSettings, PaddedInputs
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detections, Detector
from eloss_perception.runtime.gpu.driver import require_cuda_device
from eloss_perception.runtime.onnx_file import OnnxFile
from eloss_perception.simulation.drive import simulate_scan

SETTINGS = BackendSettings(num_threads=1)
ONNX = OnnxFile(Path("model.onnx"), b"network", "ab" * 32)
GRID = PillarGrid((0.0, -2.56, -3.0, 5.12, 2.56, 1.0), (0.32, 0.32), 200, 8)
NO_GPU = BackendError("no GPU in this test")


@pytest.fixture(scope="module")
def points() -> np.ndarray[Any, np.dtype[np.float32]]:
    return simulate_scan(3).points


@pytest.fixture(scope="module")
def reference(points: Any) -> Detections:
    return detector("onnxruntime_cpu").detect(points)


def detector(backend: str) -> Detector:
    return Detector(Bundle.load(default_bundle_path()), backend, SETTINGS)


def assert_equal(a: Detections, b: Detections) -> None:
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(a.boxes, name), getattr(b.boxes, name))
    np.testing.assert_array_equal(a.readings, b.readings)


# ------------------------------------------------------------------------------ equal answers


@pytest.mark.parametrize("name", ["onnxruntime_cpu", "openvino"])
def test_equal_points_give_equal_answers_in_any_order(name: str, points: Any) -> None:
    if name == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    tested = detector(name)
    first = tested.detect(points)
    tested.detect(points[::3].copy())  # what a frame leaves behind must not show in the next
    assert_equal(tested.detect(points), first)
    assert_equal(tested.detect(np.random.default_rng(0).permutation(points)), first)
    assert_equal(detector(name).detect(points), first)
    assert len(first.boxes.scores) > 0


def test_two_openvino_networks_may_come_and_go() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    # In a process of its own: what went wrong killed it, with the next signal.
    code = (
        "import os, signal\n"
        "from eloss_perception.runtime.backends import load_backend\n"
        "from eloss_perception.runtime.backends.base import BackendSettings\n"
        "from eloss_perception.runtime.bundle import Bundle, default_bundle_path\n"
        "bundle = Bundle.load(default_bundle_path())\n"
        "arguments = (bundle.onnx, bundle.grid, BackendSettings(num_threads=1))\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('alive'))\n"
        "networks = [load_backend('openvino', *arguments) for _ in range(2)]\n"
        "while networks:\n"
        "    networks.pop(0).close()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "alive\n", done.stderr


def test_openvino_answers_like_onnx_runtime(points: Any, reference: Detections) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    tested = detector("openvino")
    assert "f32" in tested.backend.description
    found = tested.detect(points)
    np.testing.assert_array_equal(found.boxes.labels, reference.boxes.labels)
    np.testing.assert_allclose(found.boxes.boxes, reference.boxes.boxes, atol=1e-3)
    np.testing.assert_allclose(found.boxes.scores, reference.boxes.scores, atol=1e-3)
    np.testing.assert_allclose(found.readings, reference.readings, atol=1e-4)
    for few in (points[:0], points[:1]):
        a, b = tested.detect(few), detector("onnxruntime_cpu").detect(few)
        np.testing.assert_allclose(a.readings, b.readings, atol=1e-4)
        assert len(a.boxes.scores) == len(b.boxes.scores) == 0


def test_a_frame_allocates_no_output(points: Any) -> None:
    backend = detector("onnxruntime_cpu").backend
    addresses = set()
    for part in (points, points[::2].copy(), points[:0]):
        outputs = backend.run(backend.pillarize(part))
        addresses.add(tuple(getattr(outputs, name).ctypes.data for name in OUTPUT_NAMES))
    assert len(addresses) == 1


def test_padding_adds_rows_that_no_cell_refers_to() -> None:
    inputs = PaddedInputs(GRID)
    rng = np.random.default_rng(1)
    full = pillarize(rng.uniform((0, -2, -2, 0), (5, 2, 0, 1), (900, 4)).astype(np.float32), GRID)
    few = pillarize(rng.uniform((0, -2, -2, 0), (5, 2, 0, 1), (9, 4)).astype(np.float32), GRID)
    for pillars in (full, few, pillarize(np.empty((0, 4), np.float32), GRID)):
        num_pillars = pillars.counts.num_pillars
        padded = inputs(pillars)
        num_rows = len(padded.points)
        assert num_rows == len(padded.features) == 1024
        np.testing.assert_array_equal(padded.points[:num_pillars], pillars.points)
        np.testing.assert_array_equal(padded.features[:num_pillars], pillars.features)
        assert not padded.points[num_pillars:].any() and not padded.features[num_pillars:].any()
        is_empty = pillars.cell_to_pillar == num_pillars
        expected = np.where(is_empty, num_rows, pillars.cell_to_pillar)
        np.testing.assert_array_equal(padded.cell_to_pillar[0], expected)
    assert [PaddedInputs.num_rows(n) for n in (0, 1, 1024, 1025)] == [1024, 1024, 1024, 2048]


# --------------------------------------------------------------- nothing falls back in silence


class FakeSession:
    """A session of ONNX Runtime that got other providers than were asked for, if so told."""

    providers: tuple[str, ...] = ("CUDAExecutionProvider", "CPUExecutionProvider")
    nodes: tuple[tuple[str, str], ...] = (("CUDAExecutionProvider", "Conv"),)
    made: ClassVar[dict[str, Any]] = {}

    def __init__(self, path: str, options: Any, providers: Any, **keywords: Any) -> None:
        FakeSession.made = {"options": options, "providers": providers, **keywords}
        self.is_fallback_disabled = False

    def disable_fallback(self) -> None:
        FakeSession.made["is_fallback_disabled"] = True

    def get_providers(self) -> list[str]:
        return list(self.providers)

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in OUTPUT_NAMES]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda k=kind: [SimpleNamespace(op_type=k)])
            for name, kind in self.nodes
        ]

    def io_binding(self) -> None:
        return None


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """ONNX Runtime as if it were built for GPUs."""
    import onnxruntime

    from eloss_perception.runtime.backends import onnxruntime_gpu

    session = type("Session", (FakeSession,), {})
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda directory: sys.stdout.write("not found"), raising=False
    )
    monkeypatch.setattr(onnxruntime_gpu, "require_cuda_device", lambda index: None)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    return session


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("onnxruntime_cuda", "CUDAExecutionProvider"),
        ("onnxruntime_tensorrt", "TensorrtExecutionProvider"),
    ],
)
def test_another_provider_than_asked_for_is_an_error(
    gpu: Any, name: str, asked: str, tmp_path: Path
) -> None:
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"network")
    settings = BackendSettings(engine_cache=tmp_path)
    gpu.providers = (asked, "CPUExecutionProvider")
    gpu.nodes = ((asked, "Conv"), ("CPUExecutionProvider", "Shape"))
    description = load_backend(name, onnx, GRID, settings).description
    assert f"{asked}, 1 of 2 operators on CPUExecutionProvider" in description
    # Neither at the start nor when a frame fails.
    assert gpu.made["enable_fallback"] == 0
    assert gpu.made["is_fallback_disabled"]

    gpu.providers = ("CPUExecutionProvider",)
    with pytest.raises(BackendError, match=f"asked for {asked}, ONNX Runtime uses CPUExec.*cuDNN"):
        load_backend(name, onnx, GRID, settings)


def test_arithmetic_on_the_cpu_is_an_error(gpu: Any) -> None:
    gpu.nodes = (*gpu.nodes, *[("CPUExecutionProvider", "Conv")] * 3)
    with pytest.raises(BackendError, match="runs 3 Conv on the CPU"):
        load_backend("onnxruntime_cuda", ONNX, GRID, SETTINGS)
    gpu.nodes = (("CPUExecutionProvider", "Shape"),)
    with pytest.raises(BackendError, match="runs no operator there"):
        load_backend("onnxruntime_cuda", ONNX, GRID, SETTINGS)


def test_the_gpu_is_asked_for_equal_results(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load_backend("onnxruntime_cuda", ONNX, GRID, BackendSettings(device_index=1))
    ((name, options),) = gpu.made["providers"]
    assert name == "CUDAExecutionProvider"
    assert options["device_id"] == "1"
    assert options["use_tf32"] == "0"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert gpu.made["options"].use_deterministic_compute
    assert capsys.readouterr().out == ""


def test_one_engine_serves_every_number_of_pillars(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", environment := {"HOME": str(tmp_path)})
    gpu.providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    gpu.nodes = (("TensorrtExecutionProvider", "Conv"), ("CUDAExecutionProvider", "MatMul"))
    onnx = tmp_path / "model.onnx"
    folders = []
    for content in (b"network", b"another"):
        onnx.write_bytes(content)
        load_backend("onnxruntime_tensorrt", onnx, GRID, BackendSettings(engine_cache=tmp_path))
        (name, options), (second, _) = gpu.made["providers"]
        folders.append(options["trt_engine_cache_path"])
    assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_profile_min_shapes"] == "points:1x8x4,features:1x6"
    assert options["trt_profile_max_shapes"] == "points:1024x8x4,features:1024x6"
    assert options["trt_engine_cache_enable"] == "1"
    # The precision is the file's, and never TF32.
    assert options["trt_fp16_enable"] == options["trt_int8_enable"] == "0"
    assert environment["NVIDIA_TF32_OVERRIDE"] == "0"
    assert gpu.made["options"].get_session_config_entry("session.disable_quant_qdq") == "1"
    # Another network's engine is never found.
    assert len(set(folders)) == 2
    assert all(Path(folder).is_dir() and Path(folder).parent == tmp_path for folder in folders)


def test_no_place_for_a_cache_is_a_warning(
    gpu: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.providers = ("TensorrtExecutionProvider", "CPUExecutionProvider")
    gpu.nodes = (("TensorrtExecutionProvider", "Conv"),)
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"network")
    settings = BackendSettings(engine_cache=onnx)  # a file, no folder
    load_backend("onnxruntime_tensorrt", onnx, GRID, settings)
    assert "no engine cache, so each start builds the engine again" in caplog.text
    assert "trt_engine_cache_path" not in gpu.made["providers"][0][1]


def test_an_onnx_runtime_without_gpu_support_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from eloss_perception.runtime.backends import onnxruntime_gpu

    monkeypatch.setattr(onnxruntime_gpu, "require_cuda_device", lambda index: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=r"has no CUDAExecutionProvider .*onnxruntime-gpu"):
        load_backend("onnxruntime_cuda", ONNX, GRID, SETTINGS)


@pytest.mark.parametrize(
    ("status", "count", "index", "message"),
    [
        (None, 0, 0, "no NVIDIA driver here"),
        (100, 0, 0, "finds no GPU to use .cuInit returned 100"),
        (0, 1, 1, "there is no GPU 1: the driver has 1"),
        (0, 2, 1, ""),
    ],
)
def test_a_missing_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch, status: int | None, count: int, index: int, message: str
) -> None:
    def load(name: str) -> Any:
        if status is None:
            raise OSError(f"{name}: cannot open shared object file")

        def count_devices(pointer: Any) -> int:
            pointer._obj.value = count
            return 0

        return SimpleNamespace(cuInit=lambda flags: status, cuDeviceGetCount=count_devices)

    monkeypatch.setattr(ctypes, "CDLL", load)
    if not message:
        require_cuda_device(index)
        return
    with pytest.raises(BackendError, match=message):
        require_cuda_device(index)


# --------------------------------------------------------------------------- auto and the table


def fake_backends(monkeypatch: pytest.MonkeyPatch, working: set[str]) -> list[str]:
    """Replaces loading; returns the list of names that are tried."""
    tried: list[str] = []
    load = backends.load_backend

    def fake(name: str, *arguments: Any) -> Any:
        if name == "auto":
            return load(name, *arguments)
        tried.append(name)
        if name not in working:
            raise BackendError(f"{name} is broken")
        return SimpleNamespace(description=f"fake {name}")

    monkeypatch.setattr(backends, "load_backend", fake)
    return tried


@pytest.mark.parametrize(
    ("has_gpu", "working", "expected", "tried"),
    [
        (True, {"tensorrt", "openvino"}, "tensorrt", 1),
        (True, {"onnxruntime_cuda"}, "onnxruntime_cuda", 2),
        (False, {"tensorrt", "openvino"}, "openvino", 1),
        (False, {"onnxruntime_cpu"}, "onnxruntime_cpu", 2),
    ],
)
def test_auto_takes_the_first_that_works_and_names_the_others(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, working: set[str], expected: str, tried: int
) -> None:
    attempts = fake_backends(monkeypatch, working)

    def require(index: int) -> None:
        if not has_gpu:
            raise NO_GPU

    monkeypatch.setattr(backends, "require_cuda_device", require)
    found = load_backend("auto", ONNX, GRID, SETTINGS)
    assert isinstance(found, Auto)
    assert found.name == expected
    # Without a GPU nothing for one is imported.
    assert len(attempts) == tried
    before = AUTO_ORDER[: AUTO_ORDER.index(expected)]
    assert len(found.passed_over) == len(before)
    assert all(name in found.description for name in before)
    assert found.description.startswith(f"fake {expected}")
    assert ("no GPU in this test" in found.description) == (not has_gpu)


def test_auto_that_finds_none_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_backends(monkeypatch, set())
    monkeypatch.setattr(backends, "require_cuda_device", lambda index: None)
    with pytest.raises(BackendError, match=r"no backend works here: tensorrt \(tensorrt is broken"):
        load_backend("auto", ONNX, GRID, SETTINGS)


@pytest.mark.parametrize(
    ("precision", "target", "runs_on"),
    [
        ("int8", "cpu", {"onnxruntime_cpu", "openvino"}),
        ("int8", "tensorrt", {"tensorrt", "onnxruntime_tensorrt"}),
        ("float16", "tensorrt", {"tensorrt", "onnxruntime_tensorrt", "onnxruntime_cuda"}),
    ],
)
def test_a_quantized_network_runs_only_where_it_was_made_for(
    precision: str, target: str, runs_on: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quantization = SimpleNamespace(precision=precision, target=target)
    monkeypatch.setattr(
        backends,
        "import_module",
        lambda name: SimpleNamespace(
            **{entry.class_name: lambda *arguments: None for entry in BACKENDS.values()}
        ),
    )
    for name in BACKENDS.keys() - {"auto"}:
        if name in runs_on:
            load_backend(name, ONNX, GRID, SETTINGS, quantization)
            continue
        with pytest.raises(BackendError, match=f"quantized for {target}; use") as caught:
            load_backend(name, ONNX, GRID, SETTINGS, quantization)
        assert all(other in str(caught.value) for other in runs_on)


def test_a_detector_asks_for_what_its_bundle_was_quantized_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.load(default_bundle_path())
    quantization = SimpleNamespace(precision="int8", target="tensorrt")
    facts = bundle.facts.model_copy(update={"quantization": quantization})
    quantized = replace(bundle, facts=facts)
    with pytest.raises(BackendError, match="onnxruntime_cpu does not run int8 networks quantized"):
        Detector(quantized, "onnxruntime_cpu", SETTINGS)


def test_an_unknown_backend_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigError, match="unknown backend 'abacus'; valid: auto, onnxruntime_cpu"):
        load_backend("abacus", ONNX, GRID, SETTINGS)
