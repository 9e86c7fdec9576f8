# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground around the vehicle, from height sums of cells: plane, roughness, brightness.

Flat cells (all points within a hand's breadth or two) vote for a plane that is refined three times
with a narrowing gate. What it costs does not depend on the number of points.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit

GROUND_READINGS: tuple[str, ...] = (
    *("ground.pitch", "ground.roll", "ground.height", "ground.misfit"),
    *("ground.roughness", "ground.flat_share", "ground.points_share", "ground.below"),
    *("ground.brightness", "ground.brightness_spread"),
)

NUM_CELLS = 80
CELL_SIZE = 0.5
_HALF_WIDTH = 0.5 * NUM_CELLS * CELL_SIZE
# Where a vehicle's ground is looked for first, and how far from it [m]; REP-103 with the sensor at
# the network's height.
_EXPECTED_HEIGHT = -1.73
_GATES = (0.7, 0.35, 0.18, 0.12)
# A cell of road: enough points, and all of them within this height [mm].
_MIN_POINTS = 3
_FLAT_MM = 350
_MIN_CELLS = 25
# Points this far under the plane are under the ground: no surface is there [m].
_BELOW = 0.4


def fit_ground(cells: npt.NDArray[np.int64], num_points: int) -> npt.NDArray[np.float64]:
    """Ground readings of a scan.

    Args:
        cells: (80 * 80, 7) int64, row-major in y then x, half a metre each, centred on the sensor:
            number of points, sums of z [mm] and z², of intensity [1/1000] and its square, least
            and greatest z [mm].
        num_points: Points of the scan (of the sample that the sums were taken over).

    Returns:
        (10,) float64 in the order of ``GROUND_READINGS``: pitch and roll [deg] (positive: the
        ground rises ahead, to the left), height at the sensor [m], log of the median distance of
        flat cells from the plane [m], log of the median z spread within flat cells [m], share of
        flat cells, log share of points near the plane, log share of points below it, median
        brightness of the ground's cells and log of its median spread within them.
    """
    return np.asarray(_fit(cells, num_points))


@njit
def _fit(cells, num_points):  # type: ignore[no-untyped-def]
    out = np.zeros(10)
    flat, x, y, z, num_occupied = _flat_cells(cells)
    num_flat = len(flat)
    a, b, c = 0.0, 0.0, _EXPECTED_HEIGHT
    found = False
    for gate in _GATES:
        num_near, near_a, near_b, near_c = _plane_near(x, y, z, a, b, c, gate)
        if num_near < _MIN_CELLS:
            break
        a, b, c = near_a, near_b, near_c
        found = True
    residual = np.abs(z - (a * x + b * y + c))
    near = residual < _GATES[-1]
    num_near = near.sum()
    if not found or num_near < _MIN_CELLS:
        # No ground where one has to be: far from normal in whatever unit.
        out[3], out[4], out[6] = 1.0, 1.0, -12.0
        return out
    roughness = np.empty(num_near)
    brightness = np.empty(num_near)
    spread = np.empty(num_near)
    num_ground_points = 0
    m = 0
    for k in range(num_flat):
        if near[k]:
            row = cells[flat[k]]
            n = row[0]
            num_ground_points += n
            mean = row[1] / n
            roughness[m] = math.sqrt(max(row[2] / n - mean * mean, 0.0)) / 1000.0
            bright = row[3] / n
            brightness[m] = bright / 1000.0
            spread[m] = math.sqrt(max(row[4] / n - bright * bright, 0.0)) / 1000.0
            m += 1
    num_below = 0
    for i in range(len(cells)):
        if cells[i, 0]:
            px = (i % NUM_CELLS + 0.5) * CELL_SIZE - _HALF_WIDTH
            py = (i // NUM_CELLS + 0.5) * CELL_SIZE - _HALF_WIDTH
            num_below += cells[i, 5] < 1000.0 * (a * px + b * py + c - _BELOW)
    out[0] = math.degrees(math.atan(a))
    out[1] = math.degrees(math.atan(b))
    out[2] = c
    out[3] = math.log(np.median(residual[near]) + 1e-3)
    out[4] = math.log(np.median(roughness) + 1e-3)
    out[5] = num_flat / max(num_occupied, 1)
    out[6] = math.log((num_ground_points + 1.0) / (num_points + 1.0))
    out[7] = math.log((num_below + 1.0) / (num_occupied + 1.0))
    out[8] = np.median(brightness)
    out[9] = math.log(np.median(spread) + 1e-3)
    return out


@njit
def _flat_cells(cells):  # type: ignore[no-untyped-def]
    """Indices of the flat cells, their centres and mean heights [m], and how many are occupied."""
    num_occupied, num_flat = 0, 0
    flat = np.empty(len(cells), np.int64)
    for i in range(len(cells)):
        if cells[i, 0] >= _MIN_POINTS:
            num_occupied += 1
            if cells[i, 6] - cells[i, 5] <= _FLAT_MM:
                flat[num_flat] = i
                num_flat += 1
    flat = flat[:num_flat]
    x, y, z = np.empty(num_flat), np.empty(num_flat), np.empty(num_flat)
    for k in range(num_flat):
        i = flat[k]
        x[k] = (i % NUM_CELLS + 0.5) * CELL_SIZE - _HALF_WIDTH
        y[k] = (i // NUM_CELLS + 0.5) * CELL_SIZE - _HALF_WIDTH
        z[k] = cells[i, 1] / (1000.0 * cells[i, 0])
    return flat, x, y, z, num_occupied


@njit
def _plane_near(x, y, z, a, b, c, gate):  # type: ignore[no-untyped-def]
    """Least squares plane of the cells nearer than ``gate`` to a plane, and their number."""
    n = 0
    xx, xy, yy, sum_x, sum_y, xz, yz, sum_z = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(x)):
        if abs(z[k] - (a * x[k] + b * y[k] + c)) < gate:
            n += 1
            xx += x[k] * x[k]
            xy += x[k] * y[k]
            yy += y[k] * y[k]
            sum_x += x[k]
            sum_y += y[k]
            xz += x[k] * z[k]
            yz += y[k] * z[k]
            sum_z += z[k]
    if n < _MIN_CELLS:
        return n, a, b, c
    # Cramer's rule: numba's linear algebra needs SciPy, which a vehicle does not have.
    first = (xx + 1e-6, xy, sum_x)
    second = (xy, yy + 1e-6, sum_y)
    third = (sum_x, sum_y, n + 1e-6)
    right = (xz, yz, sum_z)
    volume = _volume(first, second, third)
    return (
        n,
        _volume(right, second, third) / volume,
        _volume(first, right, third) / volume,
        _volume(first, second, right) / volume,
    )


@njit
def _volume(a, b, c):  # type: ignore[no-untyped-def]
    """Determinant of the matrix with these columns."""
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - b[0] * (a[1] * c[2] - a[2] * c[1])
        + c[0] * (a[1] * b[2] - a[2] * b[1])
    )
