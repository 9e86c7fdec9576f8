# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The full network on a GPU: points to boxes, against the bare network, in every runtime there is.

End to end is what the detector takes from points in host memory to boxes and readings; the bare
network is the shortest of the medians: the detector's own stage, which on TensorRT holds the
network and the way of its outputs back to the host, or the same network in another runtime.
PyTorch runs it eagerly with random weights, as where a network is taken over from its training.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from eloss_perception.benchmark.bundles import existing_bundle
from eloss_perception.benchmark.machine import gpu_name
from eloss_perception.benchmark.networks import NetworkTimes, time_in_turns
from eloss_perception.benchmark.row import (
    Benchmark,
    NotMeasuredError,
    Progress,
    Row,
    Value,
    milliseconds,
    ratio,
)
from eloss_perception.benchmark.scans import PointArray, scan_of
from eloss_perception.benchmark.settings import BenchmarkSettings
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector

_BAR = 2.0
_NUM_SCANS = 8
_NUM_POINTS = 120_000
_BACKENDS = {
    "TensorRT": "tensorrt",
    "ONNX Runtime CUDA": "onnxruntime_cuda",
    "ONNX Runtime TensorRT": "onnxruntime_tensorrt",
}
_NUM_WARM_UP = 10


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
    try:
        times = time_in_turns(detectors, scans, settings.num_frames, progress)
    finally:
        for detector in detectors.values():
            detector.backend.close()
    eager: dict[str, float] = {}
    for precision in ("float32", "float16"):
        progress(f"PyTorch eager {precision}")
        try:
            eager[precision] = time_eager(folders["float32"], scans, settings.num_frames, precision)
        except (ModuleNotFoundError, NotMeasuredError) as error:
            missing.append(f"PyTorch eager {precision}: {error}")
    return row_of(gpu, times, eager, missing)


def row_of(
    gpu: str, times: dict[str, NetworkTimes], eager: dict[str, float], missing: list[str]
) -> Row:
    """The row: the fastest detector, then everything by stage."""
    best = min(times, key=lambda name: times[name].total)
    found = times[best]
    # Of the same precision, or another one's speed would be this one's bar.
    precision = best.rpartition(" ")[2]
    bare = min(
        [other.network for name, other in times.items() if name.endswith(precision)]
        + [ms for name, ms in eager.items() if name == precision]
    )
    values = [Value("GPU", gpu)]
    for name, other in times.items():
        values.append(milliseconds(f"{name}, points to boxes", other.total))
        values += [
            milliseconds(f"{name}, {stage.removesuffix('_ms')}", other.stage(stage))
            for stage in other.stages_ms
        ]
    values += [milliseconds(f"PyTorch eager {name}, network", ms) for name, ms in eager.items()]
    share = found.total / bare
    values.append(ratio("points to boxes over the bare network", share))
    return Row(
        measured=f"{best}: {found.total:.2f} ms, {share:.2f} x the bare network of {bare:.2f} ms",
        values=tuple(values),
        met=share <= _BAR,
        note="; ".join(missing),
    )


def time_eager(folder: Path, scans: list[PointArray], num_frames: int, precision: str) -> float:
    """Median milliseconds of the full network in PyTorch, inputs on the device already.

    Raises:
        NotMeasuredError: PyTorch has no CUDA here.
    """
    import torch

    from eloss_perception.core.pillars import pillarize
    from eloss_perception.model.network import POINTPILLARS, PillarNetwork

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
    times = []
    with torch.inference_mode(), half:
        for i in range(-_NUM_WARM_UP, num_frames):
            torch.cuda.synchronize()
            start = time.perf_counter()
            network(*inputs[i % len(inputs)])
            torch.cuda.synchronize()
            if i >= 0:
                times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


BENCHMARK = Benchmark(
    what="full network on the GPU, points to boxes",
    against="the bare network; PyTorch eager, ONNX Runtime CUDA",
    bar=f"<= {_BAR:g} x the bare network",
    measure=measure,
)
