# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU that is the CPU: `CudaContext` and the device pillarizer on host memory, for the backends.

Buffers are numpy arrays and their pointers real addresses, so whoever is handed one can use it.
What is copied takes place at `synchronize`, as late as on a real device: a result read before that
is wrong here, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.pillars import Pillarizer, PointCounts
from eloss_perception.errors import BackendError


class HostBuffer:
    def __init__(self, num_bytes: int) -> None:
        # As cuMemAlloc: aligned to 256 bytes, contents undefined.
        self._memory = np.full(num_bytes + 256, 0xA5, np.uint8)
        offset = -self._memory.ctypes.data % 256
        self.bytes = self._memory[offset : offset + num_bytes]
        self.pointer = int(self.bytes.ctypes.data)
        self.num_bytes = num_bytes


class HostCuda:
    """Stands in for `CudaContext`.

    Attributes:
        opened: Every context made, the last at the end.
        allocations: Device buffers and pinned arrays made.
        downloaded_bytes: Copied from the device.
        free_bytes: What may still be allocated.
    """

    opened: list[HostCuda] = []  # noqa: RUF012 -- the point is that all share it
    memory_bytes = 1 << 40

    def __init__(self, device_index: int = 0) -> None:
        if device_index > 1:
            raise BackendError(f"there is no GPU {device_index}: CUDA sees 2")
        self.device_name = ("Orin", "NVIDIA RTX A2000")[device_index]
        self.compute_capability = ((8, 7), (8, 6))[device_index]
        self.stream = 0x5EED + device_index
        self.allocations = 0
        self.downloaded_bytes = 0
        self.uploaded_bytes = 0
        self.free_bytes = self.memory_bytes
        self.closed = False
        self.pending: list[Callable[[], None]] = []
        self.opened.append(self)

    def activate(self) -> None:
        if self.closed:
            raise BackendError("the CUDA context is closed")

    def allocate(self, num_bytes: int) -> HostBuffer:
        self.activate()
        if num_bytes > self.free_bytes:
            raise BackendError("cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (out of memory)")
        self.free_bytes -= num_bytes
        self.allocations += 1
        return HostBuffer(num_bytes)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.activate()
        self.allocations += 1
        array = np.empty(shape, dtype)
        array.view(np.uint8).fill(0xA5)
        return array

    def upload(self, array: np.ndarray, buffer: HostBuffer) -> None:
        self.uploaded_bytes += array.nbytes
        flat = array.reshape(-1).view(np.uint8)
        self.pending.append(lambda: np.copyto(buffer.bytes[: array.nbytes], flat))

    def download(self, buffer: HostBuffer, array: np.ndarray) -> None:
        self.downloaded_bytes += array.nbytes
        flat = array.reshape(-1).view(np.uint8)
        self.pending.append(lambda: np.copyto(flat, buffer.bytes[: array.nbytes]))

    def launch(self, work: Callable[[], None]) -> None:
        self.pending.append(work)

    def synchronize(self) -> None:
        self.activate()
        pending, self.pending = self.pending, []
        for work in pending:
            work()

    def close(self) -> None:
        self.closed = True


@dataclass
class HostPillars:
    points: HostBuffer
    features: HostBuffer
    cell_to_pillar: HostBuffer
    num_pillars: int
    counts: PointCounts


class HostPillarizer:
    """Stands in for `DevicePillarizer`: the pillarizer of the CPU, its result in device buffers."""

    def __init__(self, cuda: HostCuda, grid: PillarGrid, max_points: int) -> None:
        self._cuda = cuda
        self._pillarize = Pillarizer(grid)
        num_rows = grid.max_pillars
        self._points = cuda.allocate(num_rows * grid.max_points_per_pillar * 4 * 4)
        self._features = cuda.allocate(num_rows * 6 * 4)
        self._cells = cuda.allocate(grid.num_cells * 4)

    def __call__(self, points: np.ndarray) -> HostPillars:
        pillars = self._pillarize(points)
        self._cuda.upload(pillars.points, self._points)
        self._cuda.upload(pillars.features, self._features)
        self._cuda.upload(pillars.cell_to_pillar, self._cells)
        return HostPillars(
            self._points, self._features, self._cells, len(pillars.points), pillars.counts
        )


def install_host_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the TensorRT backend find these in place of the real ones."""
    monkeypatch.setattr(HostCuda, "opened", [])
    gpu = "eloss_perception.runtime.gpu"
    modules = {
        "cuda": SimpleNamespace(CudaContext=HostCuda),
        "pillarizer": SimpleNamespace(DevicePillarizer=HostPillarizer),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"{gpu}.{name}", module)  # type: ignore[arg-type]
