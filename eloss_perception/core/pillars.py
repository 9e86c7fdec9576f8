# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points to pillars: the one pillarizer, used by training and onboard alike.

The result does not depend on the order of the points, bit for bit. Drivers, decoders and threads
reorder points; if that moved the network's input, the entropy readings would jitter on a scene that
does not change. Three rules bring it about:

* pillars are listed in row-major cell order;
* within a pillar, points are ordered by a hash of their own coordinates, and a pillar with more
  points than it may keep keeps those of the smallest hash: a fair draw that only content decides;
* sums run over the kept points in that order.

A frame that fills more pillars than the grid allows keeps those nearest to the sensor (ties by cell
index), because a distant object lost is the lesser harm. Whatever is dropped is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from eloss_perception.core.grid import PillarGrid
from eloss_perception.errors import CloudError

NUM_POINT_FEATURES = 4
NUM_PILLAR_FEATURES = 6


@dataclass(frozen=True, slots=True)
class PointCounts:
    """What became of the points of one frame; the first four add up to ``num_input_points``.

    Attributes:
        num_points: Points that reached a pillar and were kept.
        num_dropped_points: Points in range that a full pillar or a full grid had no room for.
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
    """Sorts points into the pillars of a grid.

    Args:
        points: (N, 4) float32: x, y, z [m] in the network frame, intensity in [0, 1]. Non-finite
            points are allowed; they are left out and counted.
        grid: The grid.

    Returns:
        The pillars; equal, bit for bit, for any order of the points.

    Raises:
        CloudError: If ``points`` is not an (N, 4) float32 array.
    """
    if points.ndim != 2 or points.shape[1] != NUM_POINT_FEATURES or points.dtype != np.float32:
        raise CloudError(f"points must be (N, 4) float32, got {points.shape} {points.dtype}")
    points = np.ascontiguousarray(points)
    num_cells = grid.num_cells
    point_cells, cell_counts, num_non_finite, num_out_of_range = _assign_cells(
        points, np.array(grid.point_cloud_range), np.array(grid.voxel_size), grid.num_x, grid.num_y
    )
    occupied = np.flatnonzero(cell_counts)
    kept_cells = _nearest_cells(occupied, grid) if len(occupied) > grid.max_pillars else occupied
    num_pillars = len(kept_cells)
    cell_to_pillar = np.full(num_cells, num_pillars, np.int32)
    cell_to_pillar[kept_cells] = np.arange(num_pillars, dtype=np.int32)
    num_in_range = len(points) - num_non_finite - num_out_of_range
    pillar_points = np.empty(
        (num_pillars, grid.max_points_per_pillar, NUM_POINT_FEATURES), np.float32
    )
    features = np.empty((num_pillars, NUM_PILLAR_FEATURES), np.float32)
    num_kept = _fill_pillars(
        points,
        points.view(np.uint32),
        point_cells,
        cell_to_pillar,
        kept_cells,
        cell_counts[kept_cells],
        np.array(grid.point_cloud_range),
        np.array(grid.voxel_size),
        grid.num_x,
        pillar_points,
        features,
    )
    counts = PointCounts(
        num_points=num_kept,
        num_dropped_points=num_in_range - num_kept,
        num_out_of_range=num_out_of_range,
        num_non_finite=num_non_finite,
        num_input_points=len(points),
        num_pillars=num_pillars,
        num_dropped_pillars=len(occupied) - num_pillars,
        num_lone_pillars=_count_lone(
            kept_cells, cell_to_pillar, num_pillars, grid.num_x, grid.num_y
        ),
        num_single_pillars=int((cell_counts[kept_cells] == 1).sum()),
    )
    return Pillars(pillar_points, features, cell_to_pillar, counts)


class Pillarizer:
    """:func:`pillarize` for a stream of scans on one grid."""

    def __init__(self, grid: PillarGrid) -> None:
        self.grid = grid

    def __call__(self, points: npt.NDArray[np.float32]) -> Pillars:
        """The pillars of one scan; valid until the next call."""
        return pillarize(points, self.grid)


def _nearest_cells(cells: npt.NDArray[np.int64], grid: PillarGrid) -> npt.NDArray[np.int64]:
    """Keeps the ``max_pillars`` cells nearest to the sensor, in ascending cell order."""
    x = grid.point_cloud_range[0] + (cells % grid.num_x + 0.5) * grid.voxel_size[0]
    y = grid.point_cloud_range[1] + (cells // grid.num_x + 0.5) * grid.voxel_size[1]
    nearest = np.argsort(x * x + y * y, kind="stable")[: grid.max_pillars]
    return np.sort(cells[nearest])


@numba.njit(cache=True, nogil=True)
def _assign_cells(points, limits, voxel_size, num_x, num_y):  # type: ignore[no-untyped-def]
    """Cell of each point (-1: none), points per cell, and the two counts of points left out."""
    point_cells = np.empty(len(points), np.int32)
    cell_counts = np.zeros(num_x * num_y, np.int32)
    num_non_finite = 0
    num_out_of_range = 0
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        point_cells[i] = -1
        intensity = points[i, 3]
        # A finite sum is the fast test; huge finite values that overflow it are settled after it.
        if not np.isfinite(x + y + z + intensity) and not (
            np.isfinite(x) and np.isfinite(y) and np.isfinite(z) and np.isfinite(intensity)
        ):
            num_non_finite += 1
            continue
        inside = limits[0] <= x < limits[3] and limits[1] <= y < limits[4]
        if not (inside and limits[2] <= z < limits[5]):
            num_out_of_range += 1
            continue
        # Rounding can push a point just below the upper bound into the next cell.
        column = min(int((x - limits[0]) / voxel_size[0]), num_x - 1)
        row = min(int((y - limits[1]) / voxel_size[1]), num_y - 1)
        cell = row * num_x + column
        point_cells[i] = cell
        cell_counts[cell] += 1
    return point_cells, cell_counts, num_non_finite, num_out_of_range


@numba.njit(cache=True, nogil=True, inline="always")
def _hash_point(bits):  # type: ignore[no-untyped-def]
    """63-bit hash of a point's bit patterns (mixing steps of SplitMix64, Steele et al. 2014)."""
    key = np.uint64(bits[0]) << np.uint64(32) | np.uint64(bits[1])
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key ^= np.uint64(bits[2]) << np.uint64(32) | np.uint64(bits[3])
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (key ^ (key >> np.uint64(31))) >> np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _fill_pillars(  # type: ignore[no-untyped-def]
    points,
    bits,
    point_cells,
    cell_to_pillar,
    kept_cells,
    cell_counts,
    limits,
    voxel_size,
    num_x,
    pillar_points,
    features,
):
    """Draws and orders each pillar's points, then writes points and features; number kept."""
    num_pillars, max_points, _ = pillar_points.shape
    keys = np.empty((num_pillars, max_points), np.uint64)
    members = np.empty((num_pillars, max_points), np.int32)
    fill = np.zeros(num_pillars, np.int32)
    for i in range(len(points)):
        cell = point_cells[i]
        if cell < 0:
            continue
        pillar = cell_to_pillar[cell]
        if pillar == num_pillars:
            continue
        key = _hash_point(bits[i])
        position = fill[pillar]
        if position == max_points:
            if key >= keys[pillar, max_points - 1]:
                continue
            position -= 1
        else:
            fill[pillar] += 1
        while position > 0 and keys[pillar, position - 1] > key:
            keys[pillar, position] = keys[pillar, position - 1]
            members[pillar, position] = members[pillar, position - 1]
            position -= 1
        keys[pillar, position] = key
        members[pillar, position] = i

    num_kept = 0
    for pillar in range(num_pillars):
        cell = kept_cells[pillar]
        center_x = limits[0] + (cell % num_x + 0.5) * voxel_size[0]
        center_y = limits[1] + (cell // num_x + 0.5) * voxel_size[1]
        count = fill[pillar]
        num_kept += count
        mean_x, mean_y, mean_z, mean_intensity = 0.0, 0.0, 0.0, 0.0
        for k in range(max_points):
            i = members[pillar, k if k < count else 0]
            x = points[i, 0] - center_x
            y = points[i, 1] - center_y
            z = points[i, 2]
            intensity = points[i, 3]
            pillar_points[pillar, k, 0] = x
            pillar_points[pillar, k, 1] = y
            pillar_points[pillar, k, 2] = z
            pillar_points[pillar, k, 3] = intensity
            if k < count:
                mean_x += x
                mean_y += y
                mean_z += z
                mean_intensity += intensity
        features[pillar, 0] = mean_x / count
        features[pillar, 1] = mean_y / count
        features[pillar, 2] = mean_z / count
        features[pillar, 3] = mean_intensity / count
        features[pillar, 4] = np.log(1.0 + cell_counts[pillar])
        features[pillar, 5] = np.sqrt(center_x * center_x + center_y * center_y)
    return num_kept


@numba.njit(cache=True, nogil=True)
def _count_lone(occupied, cell_to_pillar, num_pillars, num_x, num_y):  # type: ignore[no-untyped-def]
    """Occupied cells, in ascending order, none of whose eight neighbours is occupied."""
    num_lone = 0
    row_start = 0
    for cell in occupied:
        while cell >= row_start + num_x:
            row_start += num_x
        column = cell - row_start
        if column == 0 or column == num_x - 1 or cell < num_x or cell >= num_x * (num_y - 1):
            continue
        # Beside, then above and below: most have company in their own row.
        if cell_to_pillar[cell - 1] != num_pillars or cell_to_pillar[cell + 1] != num_pillars:
            continue
        num_neighbours = 0
        for beside in (-1, 0, 1):
            num_neighbours += cell_to_pillar[cell - num_x + beside] != num_pillars
            num_neighbours += cell_to_pillar[cell + num_x + beside] != num_pillars
        num_lone += num_neighbours == 0
    return num_lone
