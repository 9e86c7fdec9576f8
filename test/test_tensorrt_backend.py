# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend, on a TensorRT and a GPU that are the CPU."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_cuda
import fake_tensorrt
import numpy as np
import onnx
import pytest
from cuda_on_cpu import needs_compiler
from fake_cuda import FakeCuda
from fake_tensorrt import FakeTensorRt
from tiny_bundle import write_tiny_bundle

from eloss_perception.errors import BackendError, CloudError
from eloss_perception.runtime.backends.base import OUTPUT_NAMES, BackendSettings
from eloss_perception.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from eloss_perception.runtime.backends.tensorrt import TensorRt
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector
from eloss_perception.runtime.onnx_file import OnnxFile

LIGHT = Bundle.load(Path(__file__).resolve().parents[1] / "models" / "pillars_light")


pytestmark = needs_compiler


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return fake_cuda.install(monkeypatch)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> FakeTensorRt:
    return fake_tensorrt.install(monkeypatch, cuda)


@pytest.fixture
def settings(tmp_path: Path) -> BackendSettings:
    return BackendSettings(num_threads=1, engine_cache=tmp_path / "engines")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle"))


def start(bundle: Bundle, settings: BackendSettings) -> TensorRt:
    return TensorRt(bundle.onnx, bundle.grid, settings)


def scan(bundle: Bundle, num_points: int, seed: int = 0) -> np.ndarray:
    limits = bundle.grid.point_cloud_range
    points = np.random.default_rng(seed).uniform(
        (*limits[:3], 0.0), (*limits[3:], 1.0), (num_points, 4)
    )
    return points.astype(np.float32)


def outputs_of(backend: TensorRt | OnnxRuntimeCpu, points: np.ndarray) -> list[np.ndarray]:
    outputs = backend.run(backend.pillarize(points))  # type: ignore[arg-type]
    return [getattr(outputs, name).copy() for name in OUTPUT_NAMES]


@pytest.mark.usefixtures("trt")
def test_the_shipped_network_gives_what_it_gives_on_the_cpu(settings: BackendSettings) -> None:
    backend = start(LIGHT, settings)
    cpu = OnnxRuntimeCpu(LIGHT.onnx, LIGHT.grid, settings)
    # Many pillars, few, none, a single one, none again, many: each frame must forget the last.
    for seed, num_points in enumerate((30_000, 40, 0, 1, 0, 2, 20_000)):
        points = scan(LIGHT, num_points, seed)
        expected = outputs_of(cpu, points)
        for value, right in zip(outputs_of(backend, points), expected, strict=True):
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, right)


def test_a_frame_takes_no_memory_and_only_outputs_and_counts_leave_the_gpu(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    cuda = trt.cuda
    backend = start(tiny, settings)
    held = backend.run(backend.pillarize(scan(tiny, 100)))
    at_start = cuda.num_allocations
    for num_points in (5000, 0, 1, 20_000):
        cuda.num_bytes_up = cuda.num_bytes_down = 0
        again = backend.run(backend.pillarize(scan(tiny, num_points)))
        assert again.class_logits is held.class_logits
        assert cuda.num_bytes_up == 16 * num_points
        assert cuda.num_bytes_down == 32 + sum(getattr(held, name).nbytes for name in OUTPUT_NAMES)
    assert cuda.num_allocations == at_start


def test_it_may_be_called_from_another_thread(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    backend = start(tiny, settings)
    points = scan(tiny, 500)
    pillars = backend.pillarize(points)
    expected = outputs_of(backend, points)
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(backend.run(pillars).layer_entropy))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], expected[2])


def test_shapes_are_set_only_when_the_number_of_pillars_changes(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    backend = start(tiny, settings)
    pillars = backend.pillarize(scan(tiny, 500))
    for _ in range(3):
        backend.run(pillars)
    assert trt.num_shapes_set == 2  # points and features, once
    backend.run(backend.pillarize(scan(tiny, 900)))
    assert trt.num_shapes_set == 4


def test_the_description_names_version_device_and_precision(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    backend = start(tiny, settings)
    assert backend.description == "TensorRT 10.3.0, Fake GPU (sm_87), float32"
    trt.cuda.compute_capability = (8, 6)
    other = start(tiny, settings)
    assert other.description == "TensorRT 10.3.0, Fake GPU (sm_86), float32"
    assert trt.num_builds == 2  # an engine is for one kind of GPU


def test_a_cloud_of_another_type_is_the_clouds_error(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    with pytest.raises(CloudError):
        start(tiny, settings).pillarize(np.zeros((5, 3), np.float32))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("Cask convolution\nexecution: out of memory", "Cask convolution execution: out of memory"),
        ("raise", "RuntimeError: CUDA error 700"),
    ],
)
def test_a_frame_that_fails_is_an_error_and_the_next_one_may_work(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings, error: str, said: str
) -> None:
    backend = start(tiny, settings)
    points = scan(tiny, 500)
    right = outputs_of(backend, points)
    trt.error("Skipping tactic 0x1")  # said while building, and no reason for what comes
    trt.frame_error = error
    with pytest.raises(BackendError, match=f"TensorRT failed on a frame: {said}$"):
        outputs_of(backend, points)
    trt.frame_error = ""
    for value, expected in zip(outputs_of(backend, points), right, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_too_little_memory_is_an_error_at_the_start_and_all_is_given_back(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    trt.has_memory = False
    with pytest.raises(BackendError, match=r"cannot allocate memory for .*GPU memory \(1 bytes\)"):
        start(tiny, settings)
    trt.has_memory = True
    trt.cuda.failures["cuMemAlloc"] = fake_cuda.OUT_OF_MEMORY
    with pytest.raises(BackendError, match="OUT_OF_MEMORY"):
        start(tiny, settings)
    gc.collect()
    assert trt.cuda.num_allocated == trt.cuda.num_retained == 0


@pytest.mark.parametrize("name", ["Runtime", "Builder"])
def test_a_tensorrt_that_does_not_start_is_an_error(
    trt: FakeTensorRt,
    tiny: Bundle,
    settings: BackendSettings,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def fail(logger: Any) -> None:
        logger.log(0, "CUDA initialization failure with error: 35")
        # What pybind11 makes of a null pointer.
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(trt, name, fail)
    with pytest.raises(BackendError, match="CUDA initialization failure with error: 35"):
        start(tiny, settings)


def test_closing_gives_the_memory_back(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings
) -> None:
    backend = start(tiny, settings)
    points = scan(tiny, 100)
    right = outputs_of(backend, points)
    engine = weakref.ref(backend._provided.engine)
    backend.close()
    backend.close()
    assert engine() is None  # before the CUDA context that its memory is in
    del backend
    gc.collect()
    assert trt.cuda.num_allocated == trt.cuda.num_retained == 0
    for value, expected in zip(outputs_of(start(tiny, settings), points), right, strict=True):
        np.testing.assert_array_equal(value, expected)  # what a retry does


@pytest.mark.parametrize(
    "function", ["cuMemcpyHtoDAsync", "cuLaunchKernel", "cuMemcpyDtoHAsync", "cuStreamSynchronize"]
)
def test_a_lost_device_is_an_error_of_the_frame(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings, function: str
) -> None:
    backend = start(tiny, settings)
    trt.cuda.failures[function] = 700
    with pytest.raises(BackendError, match=f"{function} failed: CUDA_ERROR_ILLEGAL_ADDRESS"):
        backend.run(backend.pillarize(scan(tiny, 100)))
    backend.close()


def test_without_tensorrt_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tiny: Bundle, settings: BackendSettings
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="TensorRT's Python module is not installed"):
        start(tiny, settings)


@pytest.mark.parametrize("version", ["8.5.2.2", "10.2.0", "", "nonsense"])
def test_a_tensorrt_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    cuda: FakeCuda,
    tiny: Bundle,
    settings: BackendSettings,
    version: str,
) -> None:
    fake_tensorrt.install(monkeypatch, cuda, version)
    with pytest.raises(BackendError, match=r"too old: 10\.3 needed"):
        start(tiny, settings)


@pytest.mark.parametrize(
    ("version", "without", "creation_flags"),
    [
        ("10.3.0", (), 1 << 1),
        ("10.16.1.11", (), 1 << 1),
        ("11.1.0.106", (), 1 << 0),
        # What a later version may well leave out.
        (
            "12.0",
            ("NetworkDefinitionCreationFlag.STRONGLY_TYPED", "BuilderFlag.TF32"),
            0,
        ),
        ("11.0.0", ("IProgressMonitor",), 1 << 0),
    ],
)
def test_every_version_builds_strongly_typed_without_tf32(
    monkeypatch: pytest.MonkeyPatch,
    cuda: FakeCuda,
    tiny: Bundle,
    settings: BackendSettings,
    version: str,
    without: tuple[str, ...],
    creation_flags: int,
) -> None:
    trt = fake_tensorrt.install(monkeypatch, cuda, version, without)
    outputs_of(start(tiny, settings), scan(tiny, 100))
    (built,) = trt.networks
    assert built["creation_flags"] == creation_flags
    assert built["builder_flags"] == []
    assert built["workspace"] == 1 << 30
    assert built["profile"] == {
        "points": [[2, 20, 4], [4000, 20, 4], [8000, 20, 4]],
        "features": [[2, 6], [4000, 6], [8000, 6]],
    }


def test_a_network_without_a_reading_is_refused(
    trt: FakeTensorRt, tiny: Bundle, settings: BackendSettings, tmp_path: Path
) -> None:
    model = onnx.load(str(tiny.onnx_path))
    del model.graph.output[2]
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(BackendError, match="no output layer_entropy; export the bundle again"):
        TensorRt(OnnxFile.read(path), tiny.grid, settings)
    assert trt.num_builds == 0


@pytest.mark.usefixtures("trt")
def test_a_network_for_another_grid_is_refused(tiny: Bundle, settings: BackendSettings) -> None:
    # Its engine would read past the end of the buffers.
    for change in ({"voxel_size": (0.64, 0.32)}, {"max_points_per_pillar": 16}):
        with pytest.raises(BackendError, match=r"the grid needs .*export the bundle again"):
            TensorRt(tiny.onnx, replace(tiny.grid, **change), settings)  # type: ignore[arg-type]


@pytest.mark.usefixtures("trt")
def test_the_detector_finds_the_same_with_it(tiny: Bundle, settings: BackendSettings) -> None:
    detector = Detector(tiny, "tensorrt", settings)
    detector.warm_up()
    points = scan(tiny, 3000)
    found = detector.detect(points)
    expected = Detector(tiny, "onnxruntime_cpu", settings).detect(points)
    assert len(found.boxes) > 0 and found.counts == expected.counts
    np.testing.assert_array_equal(found.boxes.scores, expected.boxes.scores)
    np.testing.assert_array_equal(found.readings, expected.readings)
