# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The full network on a GPU: points to boxes, against the bare network, in every runtime there is.

End to end is what the detector takes from points in host memory to boxes and readings. The bare
network has its inputs on the GPU and leaves its outputs there: TensorRT's engine alone, or, with
random weights, PyTorch's eager one. The fastest of the same precision is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.full_network import NetworkTimes, time_in_turns
from benchmarks.speed.machine import gpu_name
from benchmarks.speed.rows import (
    Benchmark,
    BenchmarkSettings,
    NotMeasuredError,
    Progress,
    Row,
    Value,
    existing_bundle,
    milliseconds,
    ratio,
)
from benchmarks.speed.scans import PointArray, scan_of
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector

_BAR = 2.0
_NUM_SCANS = 8
_NUM_POINTS = 120_000
_NUM_WARM_UP = 10
_BACKENDS = {
    "TensorRT": "tensorrt",
    "ONNX Runtime CUDA": "onnxruntime_cuda",
    "ONNX Runtime TensorRT": "onnxruntime_tensorrt",
}


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Times whatever runs here."""
    gpu = gpu_name()
    if gpu is None:
        raise NotMeasuredError("no GPU here")
    folders = {
        "float32": existing_bundle(settings.full_bundle, "full float32 bundle"),
        "float16": settings.full_float16_bundle,
        "int8": settings.full_int8_gpu_bundle,
    }
    detectors: dict[str, Detector] = {}
    missing = []
    for precision, folder in folders.items():
        if not folder.is_dir():
            missing.append(f"no full {precision} bundle")
            continue
        for title, backend in _BACKENDS.items():
            name = f"{title} {precision}"
            progress(f"loading {name}; an engine is built once and takes minutes")
            try:
                detectors[name] = Detector(Bundle.load(folder), backend, BackendSettings())
            except (BackendError, ConfigError) as error:
                missing.append(f"{name}: {error}")
    if not detectors:
        raise NotMeasuredError("; ".join(missing))
    progress("simulating scans")
    scans = [scan_of(_NUM_POINTS, seed) for seed in range(_NUM_SCANS)]
    bare: dict[str, float] = {}
    try:
        times = time_in_turns(detectors, scans, settings.num_frames, progress)
        for name, detector in detectors.items():
            if name.startswith("TensorRT "):
                progress(f"{name}, the engine alone")
                bare[name] = time_bare_tensorrt(detector, scans[0], settings.num_frames)
    finally:
        for detector in detectors.values():
            detector.backend.close()
    for precision in ("float32", "float16"):
        name = f"PyTorch eager {precision}"
        progress(name)
        try:
            bare[name] = time_eager(folders["float32"], scans, settings.num_frames, precision)
        except (ModuleNotFoundError, NotMeasuredError) as error:
            missing.append(f"{name}: {error}")
    return row_of(gpu, times, bare, missing)


def row_of(
    gpu: str, times: dict[str, NetworkTimes], bare: dict[str, float], missing: list[str]
) -> Row:
    """The row: the fastest detector, then everything by stage."""
    best = min(times, key=lambda name: times[name].total)
    found = times[best]
    # Of the same precision, or another one's speed would be this one's bar. Where no network ran
    # alone, the stage of one stands in, which holds the way of its outputs to the host as well.
    precision = best.rpartition(" ")[2]
    alone = [ms for name, ms in bare.items() if name.endswith(precision)]
    stages = [other.network for name, other in times.items() if name.endswith(precision)]
    bare_ms = min(alone or stages)
    values = [Value("GPU", gpu)]
    for name, other in times.items():
        values.append(milliseconds(f"{name}, points to boxes", other.total))
        values += [
            milliseconds(f"{name}, {stage.removesuffix('_ms')}", other.stage(stage))
            for stage in other.stages_ms
        ]
    values += [milliseconds(f"{name}, bare network", ms) for name, ms in bare.items()]
    share = found.total / bare_ms
    values.append(ratio("points to boxes over the bare network", share))
    return Row(
        measured=(
            f"{best}: {found.total:.2f} ms, {share:.2f} x the bare network of {bare_ms:.2f} ms"
        ),
        values=tuple(values),
        met=share <= _BAR,
        note="; ".join(missing),
    )


def time_bare_tensorrt(detector: Detector, scan: PointArray, num_frames: int) -> float:
    """Median milliseconds of a TensorRT backend's engine, without the way of its outputs back."""
    # What only a benchmark wants is no part of the backend: this looks inside it instead.
    backend: Any = detector.backend
    backend.run(backend.pillarize(scan))  # sets shapes and addresses, which stay
    context, cuda = backend._frame._context, backend._cuda
    return _median_ms(
        lambda: context.execute_async_v3(cuda.stream), lambda: cuda.synchronize(), num_frames
    )


def time_eager(folder: Path, scans: list[PointArray], num_frames: int, precision: str) -> float:
    """Median milliseconds of the full network in PyTorch, inputs on the device already.

    Raises:
        NotMeasuredError: PyTorch has no CUDA here.
    """
    import torch

    from eloss_perception.detection.pillars import pillarize
    from eloss_perception.network.network import POINTPILLARS, PillarNetwork

    if not torch.cuda.is_available():
        raise NotMeasuredError("this PyTorch has no CUDA")
    grid = Bundle.load(folder).grid
    network = PillarNetwork(POINTPILLARS, grid.num_y, grid.num_x).eval().cuda()
    # As training does it: half where that is safe, float32 for the readings.
    half = torch.autocast("cuda", torch.float16, enabled=precision == "float16")
    inputs: list[Any] = []
    for scan in scans:
        pillars = pillarize(scan, grid)
        arrays = (pillars.points, pillars.features, pillars.cell_to_pillar[None])
        inputs.append([torch.from_numpy(array).cuda() for array in arrays])
    frames = cycle(inputs)
    with torch.inference_mode(), half:
        return _median_ms(lambda: network(*next(frames)), torch.cuda.synchronize, num_frames)


def _median_ms(
    start_frame: Callable[[], object], wait: Callable[[], object], num_frames: int
) -> float:
    times = []
    for i in range(-_NUM_WARM_UP, num_frames):
        wait()
        start = time.perf_counter()
        start_frame()
        wait()
        if i >= 0:
            times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


BENCHMARKS = {
    "gpu": Benchmark(
        what="full network on the GPU, points to boxes",
        against="the bare network; PyTorch eager, ONNX Runtime CUDA",
        bar=f"<= {_BAR:g} x the bare network",
        measure=measure,
    )
}
