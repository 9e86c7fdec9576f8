# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points to pillars: the one pillarizer, used by training and onboard alike.

The result does not depend on the order of the points, bit for bit. Drivers, decoders and threads
reorder points; if that changed the network's input, the entropy readings would jitter on a scene
that does not change. Three rules ensure it:

* pillars are listed in row-major cell order;
* within a pillar, points are ordered by a hash of their own coordinates, and a pillar with more
  points than it may keep keeps those of the smallest hash: a fair draw that only content decides;
* sums run over the kept points in that order.

A frame that fills more pillars than the grid allows keeps those nearest to the sensor (ties by cell
index), because losing a distant object is less dangerous. Whatever is dropped is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eloss_perception.detection import pillar_kernels as kernels
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.errors import CloudError

NUM_POINT_FEATURES = 4
NUM_PILLAR_FEATURES = 6


@dataclass(frozen=True, slots=True)
class PointCounts:
    """How many points of one frame were kept; the first four add up to ``num_input_points``.

    Attributes:
        num_points: Points that reached a pillar and were kept.
        num_dropped_points: Points in range that a full pillar or a full grid could not hold.
        num_out_of_range: Finite points outside ``point_cloud_range``.
        num_non_finite: Points with a NaN or an infinity in any column (REP-117).
        num_input_points: Points given.
        num_pillars: Pillars kept.
        num_dropped_pillars: Pillars over ``max_pillars``.
        num_lone_pillars: Kept pillars none of whose eight neighbours is kept; those on the grid's
            edge are not counted.
        num_single_pillars: Kept pillars whose cell holds a single point.
    """

    num_points: int
    num_dropped_points: int
    num_out_of_range: int
    num_non_finite: int
    num_input_points: int
    num_pillars: int
    num_dropped_pillars: int
    num_lone_pillars: int
    num_single_pillars: int

    @property
    def num_in_range(self) -> int:
        """Points inside ``point_cloud_range``, kept or not: what health reads."""
        return self.num_points + self.num_dropped_points

    @property
    def num_occupied(self) -> int:
        """Cells that hold a point, kept or not: what health reads."""
        return self.num_pillars + self.num_dropped_pillars


@dataclass(frozen=True, slots=True)
class Pillars:
    """The network's input for one frame (P pillars, K points a pillar).

    Attributes:
        points: (P, K, 4) float32: x and y relative to the pillar's centre [m], z [m], intensity.
            Free places repeat the pillar's first point, so that a maximum over K needs no mask.
        features: (P, 6) float32: mean of the kept points (x, y relative to the centre, z,
            intensity), log(1 + number of points in the cell), distance of the centre from the
            sensor [m].
        cell_to_pillar: (num_y * num_x,) int32: the row of each cell's pillar; P for an empty cell.
        counts: What was kept and dropped.
    """

    points: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cell_to_pillar: npt.NDArray[np.int32]
    counts: PointCounts


def pillarize(points: npt.NDArray[np.float32], grid: PillarGrid) -> Pillars:
    """Sorts points into the pillars of a grid: :class:`Pillarizer` for a single scan."""
    return Pillarizer(grid)(points)


class Pillarizer:
    """Sorts a stream of scans into the pillars of one grid.

    Its buffers are reused, and grow with the largest scan so far.
    """

    def __init__(self, grid: PillarGrid) -> None:
        self.grid = grid
        self._limits = np.array(grid.point_cloud_range, np.float64)
        self._voxel_size = np.array(grid.voxel_size, np.float64)
        self._cell_counts = np.empty(grid.num_cells, np.int32)
        self._cell_to_pillar = np.empty(grid.num_cells, np.int32)
        self._occupied = np.empty(grid.num_cells + 1, np.int32)
        self._counts = np.empty(grid.num_cells, np.int32)
        self._firsts = np.empty(grid.num_cells, np.int32)
        self._point_cells = np.empty(0, np.int32)
        self._by_cell = np.empty((0, NUM_POINT_FEATURES), np.float32)
        self._hashes = np.empty(0, np.uint64)
        places = (grid.max_points_per_pillar, NUM_POINT_FEATURES)
        self._pillar_points = np.empty((0, *places), np.float32)
        self._features = np.empty((0, NUM_PILLAR_FEATURES), np.float32)

    def __call__(self, points: npt.NDArray[np.float32]) -> Pillars:
        """Sorts one scan.

        Args:
            points: (N, 4) float32: x, y, z [m] in the network frame, intensity in [0, 1].
                Non-finite points are allowed; they are left out and counted.

        Returns:
            The pillars, valid until the next call; equal, bit for bit, for any order of the points.

        Raises:
            CloudError: If ``points`` is not an (N, 4) float32 array.
        """
        if points.ndim != 2 or points.shape[1] != NUM_POINT_FEATURES or points.dtype != np.float32:
            raise CloudError(f"points must be (N, 4) float32, got {points.shape} {points.dtype}")
        grid, num_input_points = self.grid, len(points)
        flat = np.ascontiguousarray(points).reshape(-1)  # (4 N,)
        if len(self._point_cells) < num_input_points:
            self._allocate_points(num_input_points)
        point_cells = self._point_cells[:num_input_points]
        self._cell_counts.fill(0)
        num_non_finite, num_out_of_range = kernels.assign_cells(
            flat,
            self._limits,
            self._voxel_size,
            grid.num_x,
            grid.num_y,
            point_cells,
            self._cell_counts,
        )
        num_in_range = num_input_points - num_non_finite - num_out_of_range
        num_occupied = int(kernels.list_occupied(self._cell_counts, self._occupied))
        cells = self._occupied[:num_occupied]
        counts, firsts = self._counts[:num_occupied], self._firsts[:num_occupied]
        kernels.start_cells(cells, self._cell_counts, counts, firsts)
        kernels.sort_points(flat, point_cells, self._cell_counts, self._by_cell)
        hashes = self._hashes[:num_in_range]
        kernels.hash_points(self._by_cell.view(np.uint32), hashes)

        if num_occupied > grid.max_pillars:
            kept = _nearest(cells, grid)
            cells, counts, firsts = cells[kept], counts[kept], firsts[kept]
        num_pillars = len(cells)
        if len(self._features) < num_pillars:
            self._allocate_pillars(num_pillars)
        pillar_points, features = self._pillar_points[:num_pillars], self._features[:num_pillars]
        num_kept = kernels.fill_pillars(
            self._by_cell,
            hashes,
            cells,
            counts,
            firsts,
            self._limits,
            self._voxel_size,
            grid.num_x,
            pillar_points,
            features,
        )
        num_lone = kernels.number_pillars(cells, grid.num_x, grid.num_y, self._cell_to_pillar)
        point_counts = PointCounts(
            num_points=num_kept,
            num_dropped_points=num_in_range - num_kept,
            num_out_of_range=num_out_of_range,
            num_non_finite=num_non_finite,
            num_input_points=num_input_points,
            num_pillars=num_pillars,
            num_dropped_pillars=num_occupied - num_pillars,
            num_lone_pillars=num_lone,
            num_single_pillars=int(np.count_nonzero(counts == 1)),
        )
        return Pillars(pillar_points, features, self._cell_to_pillar, point_counts)

    def _allocate_points(self, num_points: int) -> None:
        self._point_cells = np.empty(num_points, np.int32)
        self._by_cell = np.empty((num_points, NUM_POINT_FEATURES), np.float32)
        self._hashes = np.empty(num_points, np.uint64)

    def _allocate_pillars(self, num_pillars: int) -> None:
        self._pillar_points = np.empty((num_pillars, *self._pillar_points.shape[1:]), np.float32)
        self._features = np.empty((num_pillars, NUM_PILLAR_FEATURES), np.float32)


def _nearest(cells: npt.NDArray[np.int32], grid: PillarGrid) -> npt.NDArray[np.bool_]:
    """Which of the cells are the ``max_pillars`` nearest to the sensor."""
    ranks = _distance_ranks(grid)[cells]
    last = np.partition(ranks, grid.max_pillars - 1)[grid.max_pillars - 1]
    return np.asarray(ranks <= last)


@lru_cache(maxsize=8)
def _distance_ranks(grid: PillarGrid) -> npt.NDArray[np.int32]:
    """(num_cells,) how many cells are nearer to the sensor than each; ties by cell index."""
    cells = np.arange(grid.num_cells)
    x = grid.point_cloud_range[0] + (cells % grid.num_x + 0.5) * grid.voxel_size[0]
    y = grid.point_cloud_range[1] + (cells // grid.num_x + 0.5) * grid.voxel_size[1]
    ranks = np.empty(grid.num_cells, np.int32)
    ranks[np.argsort(x * x + y * y, kind="stable")] = cells
    return ranks
