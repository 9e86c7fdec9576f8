# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points to pillars on a GPU: bit for bit what ``detection/pillars.py`` makes of them on the CPU.

The points are copied to the device once; only the counts come back. ``pillars.cu`` explains the
algorithm.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES, PointCounts
from eloss_perception.errors import BackendError, CloudError
from eloss_perception.runtime.gpu.cuda import CudaContext, DeviceBuffer
from eloss_perception.runtime.gpu.kernels import KernelModule

_SOURCE = Path(__file__).with_name("pillars.cu")
_NUM_COUNTS = 8  # the last is unused
_WORDS_PER_CHUNK = 64  # CHUNK in pillars.cu
_POINT_BYTES = 4 * NUM_POINT_FEATURES
# Kernels index with 32-bit integers, and a thread's index may pass the last item by a grid.
_MAX_INDEX = 2**30
# Few enough threads on the same counters that they do not wait for each other.
_MAX_COUNTING_BLOCKS = 64


class _Frame(ctypes.Structure):
    """``struct Frame`` of ``pillars.cu``."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("x_min", "y_min", "z_min")),
        *((name, ctypes.c_double) for name in ("x_max", "y_max", "z_max", "dx", "dy")),
        *((name, ctypes.c_uint64) for name in ("points", "distance_rank", "nearest_words")),
        *((name, ctypes.c_uint64) for name in ("kept_words", "cell_counts", "counts")),
        *((name, ctypes.c_uint64) for name in ("chunk_sums", "word_ranks", "point_cells")),
        *((name, ctypes.c_uint64) for name in ("pillar_cells", "place_keys", "place_points")),
        *((name, ctypes.c_uint64) for name in ("pillar_points", "features", "cell_to_pillar")),
        *((name, ctypes.c_int32) for name in ("num_points", "num_x", "num_y", "max_pillars")),
        *((name, ctypes.c_int32) for name in ("max_points", "min_rows")),
    )


@dataclass(frozen=True, slots=True)
class DevicePillars:
    """The network's input for one frame, on the device, laid out as `detection.pillars.Pillars`.

    Attributes:
        points: (num_rows, K, 4) float32.
        features: (num_rows, 6) float32.
        cell_to_pillar: (num_y * num_x,) int32; ``num_rows`` for an empty cell.
        num_pillars: Pillars kept, P.
        num_rows: P, or the pillarizer's ``min_rows`` if that is more: rows of zeros follow.
        counts: What was kept and dropped.
    """

    points: DeviceBuffer
    features: DeviceBuffer
    cell_to_pillar: DeviceBuffer
    num_pillars: int
    num_rows: int
    counts: PointCounts


class DevicePillarizer:
    """:func:`detection.pillars.pillarize` for a stream of scans on one grid, on one GPU.

    Memory is allocated at the start. Only a scan of more points than any before makes the memory of
    the points grow, to at least twice its size.
    """

    def __init__(
        self, context: CudaContext, grid: PillarGrid, max_points: int = 200_000, min_rows: int = 0
    ) -> None:
        """Compiles the kernels and allocates memory.

        Args:
            max_points: Points of the largest scan expected.
            min_rows: Least number of rows of the result, for networks that cannot take fewer.

        Raises:
            BackendError: If NVRTC is missing, or the device has too little memory.
        """
        self.grid = grid
        self._context = context
        num_cells = grid.num_cells
        max_rows = max(grid.max_pillars, min_rows)
        num_places = max_rows * grid.max_points_per_pillar
        if max(num_cells, num_places) > _MAX_INDEX:
            raise BackendError(f"{num_cells} cells and {num_places} places of points are too many")
        num_words = -(-num_cells // 64)
        sizes = {
            "distance_rank": num_cells * 4,
            "chunk_sums": -(-num_words // _WORDS_PER_CHUNK) * 4,
            "word_ranks": num_words * 4,
            "pillar_cells": grid.max_pillars * 4,
            "place_keys": num_places * 8,
            "place_points": num_places * 4,
            "pillar_points": num_places * _POINT_BYTES,
            "features": max_rows * NUM_PILLAR_FEATURES * 4,
            "cell_to_pillar": num_cells * 4,
        }
        # Consecutive, to be cleared at once before each frame.
        zeroed_sizes = {
            "counts": _NUM_COUNTS * 4,
            "nearest_words": num_words * 8,
            "kept_words": num_words * 8,
            "cell_counts": num_cells * 4,
        }
        self._frame = _Frame(
            *grid.point_cloud_range,
            *grid.voxel_size,
            num_x=grid.num_x,
            num_y=grid.num_y,
            max_pillars=grid.max_pillars,
            max_points=grid.max_points_per_pillar,
            min_rows=min_rows,
        )
        self._kernels = KernelModule(context, _SOURCE, self._frame)
        self._buffers = {name: context.allocate(size) for name, size in sizes.items()}
        for name, buffer in self._buffers.items():
            setattr(self._frame, name, buffer.pointer)
        self._zeroed = context.allocate(sum(zeroed_sizes.values()))
        pointer = self._zeroed.pointer
        for name, size in zeroed_sizes.items():
            setattr(self._frame, name, pointer)
            pointer += size
        self._counts = context.pinned((_NUM_COUNTS,), np.uint32)
        self._take_points(max(max_points, 1))
        ranks = _distance_ranks(grid)
        context.upload(ranks, self._buffers["distance_rank"])
        context.synchronize()  # before `ranks` goes

    def __call__(self, points: npt.NDArray[np.float32]) -> DevicePillars:
        """Returns the pillars of one scan.

        Args:
            points: (N, 4) float32: x, y, z [m] in the network frame, intensity in [0, 1].

        Returns:
            The pillars, written when the context's stream gets there; valid until the next call.

        Raises:
            CloudError: If ``points`` is not an (N, 4) float32 array.
            BackendError: If the device fails.
        """
        if points.ndim != 2 or points.shape[1] != NUM_POINT_FEATURES or points.dtype != np.float32:
            raise CloudError(f"points must be (N, 4) float32, got {points.shape} {points.dtype}")
        num_points = len(points)
        if num_points > len(self._staging):
            self._take_points(max(num_points, 2 * len(self._staging)))
        staged = self._staging[:num_points]
        np.copyto(staged, points)
        self._frame.num_points = num_points
        self._context.upload(staged, self._scan)
        self._context.clear(self._zeroed)
        self._launch(num_points)
        self._context.download(self._zeroed, self._counts)  # the counts are what it begins with
        self._context.synchronize()
        counts = self._point_counts(num_points)
        return DevicePillars(
            self._buffers["pillar_points"],
            self._buffers["features"],
            self._buffers["cell_to_pillar"],
            num_pillars=counts.num_pillars,
            num_rows=max(counts.num_pillars, self._frame.min_rows),
            counts=counts,
        )

    def _take_points(self, max_points: int) -> None:
        """Allocates memory for scans of up to this many points."""
        if max_points > _MAX_INDEX:
            raise BackendError(f"a scan of {max_points} points is too large for the GPU")
        scan = self._context.allocate(max_points * _POINT_BYTES)
        point_cells = self._context.allocate(max_points * 4)
        staging = self._context.pinned((max_points, NUM_POINT_FEATURES), np.float32)
        # Only now: if there is not enough memory, the next scan may still fit the old buffers.
        self._scan, self._point_cells, self._staging = scan, point_cells, staging
        self._frame.points, self._frame.point_cells = scan.pointer, point_cells.pointer

    def _launch(self, num_points: int) -> None:
        """Launches the steps of ``pillars.cu``, for the largest possible number of pillars."""
        launch = self._kernels.launch
        num_cells = self.grid.num_cells
        num_words = -(-num_cells // 64)
        num_chunks = -(-num_words // _WORDS_PER_CHUNK)
        max_pillars = max(min(self.grid.max_pillars, num_points), self._frame.min_rows)
        num_places = max_pillars * self.grid.max_points_per_pillar
        launch("assign_cells", num_points, _MAX_COUNTING_BLOCKS)
        launch("sum_nearest", num_chunks)
        launch("rank_nearest", num_words)
        launch("keep_cells", num_cells)
        launch("sum_kept", num_chunks)
        launch("rank_kept", num_words)
        launch("number_pillars", num_cells)
        launch("clear_places", num_places)
        launch("draw_keys", num_points)
        launch("place_points", num_points)
        launch("write_points", num_places)
        launch("write_features", max_pillars, _MAX_COUNTING_BLOCKS)

    def _point_counts(self, num_points: int) -> PointCounts:
        """Converts the counts of ``pillars.cu`` to those of the CPU's pillarizer."""
        non_finite, out_of_range, occupied, pillars, kept, lone, single, _ = self._counts.tolist()
        return PointCounts(
            num_points=kept,
            num_dropped_points=num_points - non_finite - out_of_range - kept,
            num_out_of_range=out_of_range,
            num_non_finite=non_finite,
            num_input_points=num_points,
            num_pillars=pillars,
            num_dropped_pillars=occupied - pillars,
            num_lone_pillars=lone,
            num_single_pillars=single,
        )


def _distance_ranks(grid: PillarGrid) -> npt.NDArray[np.uint32]:
    """Returns each cell's rank by distance from the sensor, ties by index.

    Distances are computed as in ``detection/pillars.py``: the nearest cells that it keeps are those
    of the smallest ranks.
    """
    cells = np.arange(grid.num_cells)
    x = grid.point_cloud_range[0] + (cells % grid.num_x + 0.5) * grid.voxel_size[0]
    y = grid.point_cloud_range[1] + (cells // grid.num_x + 0.5) * grid.voxel_size[1]
    ranks = np.empty(grid.num_cells, np.uint32)
    ranks[np.argsort(x * x + y * y, kind="stable")] = cells
    return ranks
