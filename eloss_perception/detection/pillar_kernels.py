# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled steps of the pillarizer, in the order in which ``detection/pillars.py`` takes them.

A counting sort makes the points of a cell contiguous. Indices are unsigned where speed matters:
numba checks signed ones for counting from the end.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit

# Half of the range of 64-bit hashes: `_hash_point` gives 63 bits.
_NUM_HASHES = 2.0**63


@njit(error_model="numpy")
def assign_cells(  # type: ignore[no-untyped-def]
    points, limits, voxel_size, num_x, num_y, point_cells, cell_counts
):
    """Cell of each point (-1: none), points per cell added up; numbers of points left out.

    Args:
        points: (4 N,) float32, flat: no index has to be worked out.
        limits: (6,) ``point_cloud_range``.
        voxel_size: (2,).
        num_x: Cells along x.
        num_y: Cells along y.
        point_cells: (N,) int32, written.
        cell_counts: (num_y * num_x,) int32, added to.
    """
    x_min, y_min, z_min, x_max, y_max, z_max = limits
    size_x, size_y = voxel_size
    last_column, last_row = np.int32(num_x - 1), np.int32(num_y - 1)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    num_finite, num_inside = 0, 0
    # Without a branch, so that several points are done at once.
    for i in range(np.uintp(len(point_cells))):
        start = four * i
        x, y, z = points[start], points[start + one], points[start + two]
        intensity = points[start + three]
        finite = (abs(x) < np.inf) & (abs(y) < np.inf) & (abs(z) < np.inf)
        finite &= abs(intensity) < np.inf
        inside = finite & (x_min <= x) & (x < x_max) & (y_min <= y) & (y < y_max)
        inside &= (z_min <= z) & (z < z_max)
        from_min_x, from_min_y = np.float64(x) - x_min, np.float64(y) - y_min
        from_min_x = from_min_x if inside else 0.0
        from_min_y = from_min_y if inside else 0.0
        # Rounding can push a point just below the upper bound into the next cell.
        column = min(np.int32(from_min_x / size_x), last_column)
        row = min(np.int32(from_min_y / size_y), last_row)
        cell = row * np.int32(num_x) + column
        point_cells[i] = cell if inside else np.int32(-1)
        num_finite += finite
        num_inside += inside
    for i in range(np.uintp(len(point_cells))):
        cell = point_cells[i]
        if cell >= 0:
            cell_counts[np.uintp(cell)] += np.int32(1)
    return len(point_cells) - num_finite, num_finite - num_inside


@njit
def list_occupied(cell_counts, occupied):  # type: ignore[no-untyped-def]
    """Lists the cells that hold a point, in ascending order; their number.

    Args:
        cell_counts: (C,) int32.
        occupied: (C + 1,) int32, written; the last place is scratch.
    """
    num_occupied = np.uintp(0)
    for cell in range(len(cell_counts)):
        occupied[num_occupied] = cell
        num_occupied += np.uintp(cell_counts[cell] != 0)
    return num_occupied


@njit
def start_cells(occupied, cell_counts, counts, firsts):  # type: ignore[no-untyped-def]
    """Where the points of each occupied cell begin when sorted by cell; their number.

    Args:
        occupied: (P,) int32.
        cell_counts: (C,) int32: points per cell, replaced by the place of its first one.
        counts: (P,) int32, written: points of each occupied cell.
        firsts: (P,) int32, written: place of its first one.
    """
    first = np.int32(0)
    for k in range(len(occupied)):
        cell = np.uintp(occupied[k])
        counts[k], firsts[k] = cell_counts[cell], first
        cell_counts[cell] = first
        first += counts[k]
    return first


@njit
def sort_points(points, point_cells, places, by_cell):  # type: ignore[no-untyped-def]
    """Copies the points in order of their cells.

    Args:
        points: (4 N,) float32.
        point_cells: (N,) int32 from :func:`assign_cells`.
        places: (C,) int32 from :func:`start_cells`: where each cell's next point goes.
        by_cell: (N, 4) float32, written.
    """
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for i in range(np.uintp(len(point_cells))):
        if point_cells[i] < 0:
            continue
        cell = np.uintp(point_cells[i])
        place = np.uintp(places[cell])
        places[cell] += np.int32(1)
        start = four * i
        by_cell[place, 0] = points[start]
        by_cell[place, 1] = points[start + one]
        by_cell[place, 2] = points[start + two]
        by_cell[place, 3] = points[start + three]


@njit
def hash_points(bits, hashes):  # type: ignore[no-untyped-def]
    """63-bit hash of each point's bit patterns (mixing steps of SplitMix64, Steele et al. 2014).

    Args:
        bits: (N, 4) uint32.
        hashes: (N,) uint64, written.
    """
    for i in range(len(hashes)):
        key = np.uint64(bits[i, 0]) << np.uint64(32) | np.uint64(bits[i, 1])
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key ^= np.uint64(bits[i, 2]) << np.uint64(32) | np.uint64(bits[i, 3])
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes[i] = (key ^ (key >> np.uint64(31))) >> np.uint64(1)


@njit(error_model="numpy")
def fill_pillars(  # type: ignore[no-untyped-def]
    by_cell, hashes, cells, counts, firsts, limits, voxel_size, num_x, pillar_points, features
):
    """Draws and orders each pillar's points, then writes points and features; number kept.

    Args:
        by_cell: (N, 4) float32 points in order of their cells; may be reordered within a cell.
        hashes: (N,) uint64 of them, alike.
        cells: (P,) int32 cell of each pillar.
        counts: (P,) int32 points of its cell.
        firsts: (P,) int32 place of the first of them.
        limits: (6,) ``point_cloud_range``.
        voxel_size: (2,).
        num_x: Cells along x.
        pillar_points: (P, K, 4) float32, written.
        features: (P, 6) float32, written.
    """
    x_min, y_min = limits[0], limits[1]
    size_x, size_y = voxel_size[0], voxel_size[1]
    max_points = np.uintp(pillar_points.shape[1])
    members = np.empty(_MAX_RANKED * max_points, np.uintp)
    num_kept = 0
    for pillar in range(np.uintp(len(cells))):
        cell = cells[pillar]
        center_x = x_min + (cell % num_x + 0.5) * size_x
        center_y = y_min + (cell // num_x + 0.5) * size_y
        first, count = np.uintp(firsts[pillar]), np.uintp(counts[pillar])
        num = min(count, max_points)
        _draw(by_cell, hashes, first, count, num, members)
        num_kept += num
        mean_x, mean_y, mean_z, mean_intensity = 0.0, 0.0, 0.0, 0.0
        for k in range(num):
            i = members[k]
            x, y, z = by_cell[i, 0] - center_x, by_cell[i, 1] - center_y, by_cell[i, 2]
            intensity = by_cell[i, 3]
            pillar_points[pillar, k, 0] = x
            pillar_points[pillar, k, 1] = y
            pillar_points[pillar, k, 2] = z
            pillar_points[pillar, k, 3] = intensity
            mean_x += x
            mean_y += y
            mean_z += z
            mean_intensity += intensity
        first_x, first_y = pillar_points[pillar, 0, 0], pillar_points[pillar, 0, 1]
        first_z, first_intensity = pillar_points[pillar, 0, 2], pillar_points[pillar, 0, 3]
        for k in range(num, max_points):
            pillar_points[pillar, k, 0] = first_x
            pillar_points[pillar, k, 1] = first_y
            pillar_points[pillar, k, 2] = first_z
            pillar_points[pillar, k, 3] = first_intensity
        features[pillar, 0] = mean_x / np.float64(num)
        features[pillar, 1] = mean_y / np.float64(num)
        features[pillar, 2] = mean_z / np.float64(num)
        features[pillar, 3] = mean_intensity / np.float64(num)
        features[pillar, 4] = np.log(1.0 + np.float64(count))
        features[pillar, 5] = np.sqrt(center_x * center_x + center_y * center_y)
    return num_kept


# Up to so many times the points of a pillar are ordered by counting.
_MAX_RANKED = 4


@njit(error_model="numpy")
def _draw(by_cell, hashes, first, count, num, members):  # type: ignore[no-untyped-def]
    """Writes the indices of the ``num`` smallest hashes of a cell, in ascending order of these."""
    if count > np.uintp(2) * num:
        count = _thin_out(by_cell, hashes, first, count, num)
    end = first + count
    is_drawn = False
    if count <= np.uintp(_MAX_RANKED) * num:
        # A point's place is the number of smaller hashes: no unpredictable branch.
        places = np.uintp(0)
        for i in range(first, end):
            place, own = np.uintp(0), hashes[i]
            for j in range(first, end):
                place += np.uintp(hashes[j] < own)
            members[place] = i
            places += place
        # 0 + 1 + ... + (count - 1), unless two are equal: a point that is there twice.
        is_drawn = np.uintp(2) * places == count * (count - np.uintp(1))
    if not is_drawn:
        _insert(hashes, first, end, num, members)


@njit(error_model="numpy")
def _thin_out(by_cell, hashes, first, count, num):  # type: ignore[no-untyped-def]
    """Moves the points of small hashes to the front of a crowded cell; how many are left.

    Hashes are evenly spread: so many of them below a limit are as good as certain to hold the
    ``num`` smallest. Where they do not, all are kept.
    """
    wanted = num + 3.0 * np.sqrt(np.float64(num)) + 2.0
    # No more than all: of three points for one place six are wanted, and 2^64 is no uint64.
    limit = np.uint64(_NUM_HASHES * min(wanted / np.float64(count), 1.0))
    num_below = np.uintp(0)
    for i in range(first, first + count):
        num_below += np.uintp(hashes[i] < limit)
    if num_below < num:
        return count
    place = first
    for i in range(first, first + count):
        # All are written, and most are written over.
        own = hashes[i]
        hashes[place] = own
        by_cell[place, 0], by_cell[place, 1] = by_cell[i, 0], by_cell[i, 1]
        by_cell[place, 2], by_cell[place, 3] = by_cell[i, 2], by_cell[i, 3]
        place += np.uintp(own < limit)
    return num_below


@njit
def _insert(hashes, first, end, num, members):  # type: ignore[no-untyped-def]
    """The same for any hashes: each is put in its place among the smallest so far."""
    one = np.uintp(1)
    num_members = np.uintp(0)
    for i in range(first, end):
        place = num_members
        if num_members == num:
            if hashes[i] >= hashes[members[num - one]]:
                continue
            place -= one
        else:
            num_members += one
        while place > 0 and hashes[members[place - one]] > hashes[i]:
            members[place] = members[place - one]
            place -= one
        members[place] = i


@njit
def number_pillars(cells, num_x, num_y, cell_to_pillar):  # type: ignore[no-untyped-def]
    """Writes the pillar of each cell, P where there is none; number of pillars that stand alone.

    Args:
        cells: (P,) int32 cell of each pillar, ascending.
        num_x: Cells along x.
        num_y: Cells along y.
        cell_to_pillar: (C,) int32, written.
    """
    num_pillars = len(cells)
    cell_to_pillar[:] = num_pillars
    for pillar in range(num_pillars):
        cell_to_pillar[np.uintp(cells[pillar])] = pillar
    num_lone = 0
    row_start = 0
    for cell in cells:
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
