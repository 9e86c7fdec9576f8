# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The bare network on a GPU: inputs there already, outputs left there."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.row import NotMeasuredError
from benchmarks.speed.scans import PointArray
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector

_NUM_WARM_UP = 10


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
