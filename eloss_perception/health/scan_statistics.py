# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the host can say of a scan without the network: how many points, where, how bright.

One pass over the points fills integer histograms, a second one over a few thousand cells fits the
ground. Everything is counted or summed in integers (millimetres, 1/1000 of intensity), so the
result does not depend on the order of the points, bit for bit; see ``detection/pillars.py`` for
why that matters. It is cheap because it looks at a quarter of the points
(``detection/points.py``) and needs no trigonometry: elevations are slopes z / r, sectors are cut
from the diamond angle.

Coordinates are the network frame's: x forward, y left, z up, ground near z = -1.73 m.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit
from eloss_perception.health.ground import GROUND_READINGS, fit_ground

NUM_SECTORS = 16
_BELOW_FOUR = float(np.nextafter(4.0, 0.0))
# Upper edges of the range bins [m]; a last bin holds what lies beyond.
RANGE_EDGES = (2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 65.0)
# Slopes z / r of the elevation bins: a HDL-64E sees -0.46 to 0.035.
SLOPE_MIN, SLOPE_MAX, NUM_SLOPE_BINS = -0.50, 0.14, 16
# Fine bins of a sixth of a degree, in which a spinning sensor's beams stand apart.
NUM_FINE_BINS = 224
# Heights above the sensor [m].
HEIGHT_EDGES = (-2.4, -1.9, -1.5, -1.0, -0.3, 0.5, 2.0)
# Intensities; the first bin is "none at all", the last one "as much as can be told".
INTENSITY_EDGES = (0.002, 0.05, 0.12, 0.2, 0.3, 0.42, 0.6, 0.996)
# The lowest ring of each sector is found as the k-th lowest slope, so that a stray point does not
# pose as one.
_LOWEST_RANK = 4
_NO_RING = 1.0  # slope of a sector without points
_STRIDE = 61
# Shares are counted as if this many points more had been there, so that an empty bin has a
# logarithm that does not run away.
_SMOOTHING = 20.0
# Points nearer than this are the sensor's own housing, farther ones no sensor's.
_MIN_SQUARE, _MAX_SQUARE = 0.3**2, 300.0**2

Bins = npt.NDArray[np.int8]

_NUM_RANGE = len(RANGE_EDGES) + 1
_NUM_HEIGHT = len(HEIGHT_EDGES) + 1
_NUM_INTENSITY = len(INTENSITY_EDGES) + 1

SCAN_READINGS: tuple[str, ...] = (
    "counts.scan_points",
    *(f"range.to_{edge:g}m" for edge in RANGE_EDGES),
    "range.beyond",
    *(f"height.to_{edge:g}m" for edge in HEIGHT_EDGES),
    "height.above",
    *(f"elevation.bin{i}" for i in range(NUM_SLOPE_BINS)),
    "elevation.gaps",
    "elevation.unevenness",
    *("sectors.emptiest", "sectors.lower_quartile", "sectors.upper_quartile", "sectors.fullest"),
    *("sectors.forward", "sectors.left"),
    *("sectors.reach_front", "sectors.reach_left", "sectors.reach_back", "sectors.reach_right"),
    *("intensity.mean", "intensity.spread"),
    *(f"intensity.to_{edge:g}" for edge in INTENSITY_EDGES),
    "intensity.saturated",
    *(f"envelope.sector{i}" for i in range(NUM_SECTORS)),
    *GROUND_READINGS,
)
"""Names of the readings, ``group.reading``, in the order of :func:`scan_readings`."""


def scan_readings(sample: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Statistics of a whole scan.

    Args:
        sample: (N, 4) float32 x, y, z [m] in the network frame, intensity in [0, 1]: the scan
            or a sample of its points. Non-finite ones are left out.

    Returns:
        (S,) float64 in the order of ``SCAN_READINGS``: logarithms of counts and shares, angles in
        degrees, lengths in metres. Finite for any input.
    """
    tables = _accumulate(np.ascontiguousarray(sample), _RANGE_BINS, _HEIGHT_BINS, _INTENSITY_BINS)
    ranges, heights, slopes, fine, intensities, sectors, reach, lowest, sums, cells = tables
    num_sampled = int(ranges.sum())
    mean = sums[0] / 1000.0 / max(num_sampled, 1)
    square = sums[1] / 1e6 / max(num_sampled, 1)
    return np.concatenate(
        [
            [math.log1p(num_sampled)],
            _log_shares(ranges, num_sampled),
            _log_shares(heights, num_sampled),
            _log_shares(slopes, num_sampled),
            _ring_readings(fine),
            _sector_readings(sectors, reach),
            [mean, math.sqrt(max(square - mean * mean, 0.0))],
            _log_shares(intensities, num_sampled),
            lowest,
            fit_ground(cells, num_sampled),
        ]
    )


def _log_shares(counts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.log((counts + _SMOOTHING) / (total + _SMOOTHING * len(counts))))


def _bin_table(edges: tuple[float, ...], low: float, step: float, size: int) -> Bins:
    """Bin of each step from ``low`` on: a look-up instead of a search for every point."""
    return np.searchsorted(np.array(edges), low + step * (np.arange(size) + 0.5)).astype(np.int8)


# Steps of 0.25 m, 0.05 m and 1/500: all edges lie on them.
_RANGE_BINS = _bin_table(RANGE_EDGES, 0.0, 0.25, 400)
_HEIGHT_BINS = _bin_table(HEIGHT_EDGES, -4.0, 0.05, 160)
_INTENSITY_BINS = _bin_table(INTENSITY_EDGES, 0.0, 0.002, 501)


@njit(inline="always", error_model="numpy")
def sector_of(x, y):  # type: ignore[no-untyped-def]
    """Sector of a point, counter-clockwise from +x, as an unsigned index; the last one for NaN."""
    # Diamond angle in [0, 4): monotone in the azimuth.
    ratio = y / (abs(x) + abs(y) + np.float32(1e-6))
    angle = ratio if x >= 0.0 else 2.0 - ratio
    if angle < 0.0:
        angle += 4.0
    # A point just below +x rounds to 4. Of a number and NaN, which is second, min is the number.
    return np.uintp(int(min(_BELOW_FOUR, angle) * (NUM_SECTORS / 4.0)))


@njit(error_model="numpy")
def _accumulate(sample, range_bins, height_bins, intensity_bins):  # type: ignore[no-untyped-def]
    """One pass over the points; see the module's docstring.

    Indices are unsigned where it counts: signed ones would be checked for counting from the end.
    """
    num_points = len(sample)
    ranges, heights = np.zeros(_NUM_RANGE, np.int64), np.zeros(_NUM_HEIGHT, np.int64)
    fine = np.zeros(NUM_FINE_BINS, np.int64)
    intensities = np.zeros(_NUM_INTENSITY, np.int64)
    sectors, reach = np.zeros(NUM_SECTORS, np.int64), np.zeros(NUM_SECTORS, np.int64)
    all_slopes = np.empty(num_points, np.float32)
    all_sectors = np.zeros(num_points, np.uint8)
    sums = np.zeros(2, np.int64)
    cells = _empty_cells()
    fine_scale = NUM_FINE_BINS / (SLOPE_MAX - SLOPE_MIN)
    for k in range(num_points):
        x, y, z, intensity = sample[k, 0], sample[k, 1], sample[k, 2], sample[k, 3]
        flat_square = x * x + y * y
        square = flat_square + z * z
        # A comparison with NaN is false: this leaves the non-finite out as well.
        if not (_MIN_SQUARE <= square <= _MAX_SQUARE and np.isfinite(intensity)):
            all_slopes[k] = np.inf
            continue
        distance = np.sqrt(square)
        step = np.uintp(min(int(distance * np.float32(4.0)), len(range_bins) - 1))
        ranges[np.uintp(range_bins[step])] += 1
        level = int((z + np.float32(4.0)) * np.float32(20.0))
        step = np.uintp(min(max(level, 0), len(height_bins) - 1))
        heights[np.uintp(height_bins[step])] += 1
        intensity = min(max(intensity, np.float32(0.0)), np.float32(1.0))
        brightness = np.int64(intensity * np.float32(1000.0))
        intensities[np.uintp(intensity_bins[np.uintp(brightness >> 1)])] += 1
        sums[0] += brightness
        sums[1] += brightness * brightness
        flat = np.sqrt(flat_square)
        slope = z / max(flat, np.float32(1e-3))
        if slope >= SLOPE_MIN and slope < SLOPE_MAX:
            fine_bin = min(int((slope - SLOPE_MIN) * fine_scale), NUM_FINE_BINS - 1)
            fine[np.uintp(fine_bin)] += 1
        sector = sector_of(x, y)
        sectors[sector] += 1
        reach[sector] += np.int64(min(flat, np.float32(100.0)) * np.float32(100.0))
        all_slopes[k] = slope
        all_sectors[k] = sector
        if abs(x) < 20.0 and abs(y) < 20.0 and z > -4.0 and z < 1.0:
            # The sum rounds: a point just below 20 m comes to 40 m, past the last cell.
            row = min(int((y + np.float32(20.0)) * 2.0), 79)
            column = min(int((x + np.float32(20.0)) * 2.0), 79)
            cell = np.uintp(row * 80 + column)
            height = np.int64(math.floor(z * 1000.0))
            cells[cell, 0] += 1
            cells[cell, 1] += height
            cells[cell, 2] += height * height
            cells[cell, 3] += brightness
            cells[cell, 4] += brightness * brightness
            cells[cell, 5] = min(cells[cell, 5], height)
            cells[cell, 6] = max(cells[cell, 6], height)
    slopes = fine.reshape(NUM_SLOPE_BINS, -1).sum(axis=1)  # (16, 14) -> (16,)
    envelope = _lowest_slopes(all_slopes, all_sectors)
    return ranges, heights, slopes, fine, intensities, sectors, reach, envelope, sums, cells


@njit
def _empty_cells():  # type: ignore[no-untyped-def]
    """Cells of half a metre within 20 m, (6400, 7).

    Count, sums of z and z² [mm], of intensity and its square [1/1000], extremes of z [mm].
    """
    cells = np.zeros((80 * 80, 7), np.int64)
    cells[:, 5] = 1 << 40
    cells[:, 6] = -(1 << 40)
    return cells


@njit
def _lowest_slopes(slopes, sectors):  # type: ignore[no-untyped-def]
    """The k-th lowest slope of each sector."""
    lowest = np.full((NUM_SECTORS, _LOWEST_RANK), _NO_RING, np.float32)
    # In strides: a sensor that lists its rings from top to bottom would have every one of its
    # points pose as the lowest so far.
    for first in range(_STRIDE):
        for i in range(first, len(slopes), _STRIDE):
            sector, slope = sectors[i], slopes[i]
            if slope < lowest[sector, _LOWEST_RANK - 1]:
                rank = _LOWEST_RANK - 1
                while rank > 0 and lowest[sector, rank - 1] > slope:
                    lowest[sector, rank] = lowest[sector, rank - 1]
                    rank -= 1
                lowest[sector, rank] = slope
    return lowest[:, _LOWEST_RANK - 1].astype(np.float64)


@njit
def _ring_readings(fine):  # type: ignore[no-untyped-def]
    """Gaps and unevenness of the fine elevation histogram, between its outermost full bins."""
    out = np.zeros(2)
    total = fine.sum()
    if total == 0:
        return out
    floor = 0.0005 * total
    first, last = 0, len(fine) - 1
    while first < last and fine[first] < floor:
        first += 1
    while last > first and fine[last] < floor:
        last -= 1
    num_gaps, uneven = 0, 0.0
    for i in range(first, last + 1):
        # The neighbourhood of a degree tells what a bin would hold with all beams alive.
        low, high = max(first, i - 4), min(last, i + 4)
        mean = fine[low : high + 1].mean()
        num_gaps += fine[i] < 0.1 * mean
        if i > first:
            uneven += abs(fine[i] - fine[i - 1])
    width = last - first + 1
    out[0] = num_gaps / width
    out[1] = math.log((uneven + 1.0) / (total + 1.0))
    return out


@njit
def _sector_readings(sectors, reach):  # type: ignore[no-untyped-def]
    """Evenness of the sectors, where the points lie, and how far each side reaches."""
    out = np.zeros(10)
    total = sectors.sum()
    mean = (total + 1.0) / len(sectors)
    ordered = np.sort(sectors)
    quarter = len(sectors) // 4
    for k, index in enumerate((0, quarter, len(sectors) - 1 - quarter, len(sectors) - 1)):
        out[k] = math.log((ordered[index] + 0.02 * mean) / mean)
    for k in range(len(sectors)):
        angle = 2.0 * math.pi * (k + 0.5) / len(sectors)
        out[4] += math.cos(angle) * sectors[k] / (total + 1.0)
        out[5] += math.sin(angle) * sectors[k] / (total + 1.0)
    # Quadrants around +x, +y, -x, -y: mean range [cm] as a logarithm.
    half = len(sectors) // 8
    for quadrant in range(4):
        centre = quadrant * len(sectors) // 4
        num, distance = 0, 0
        for k in range(centre - half, centre + half):
            num += sectors[k % len(sectors)]
            distance += reach[k % len(sectors)]
        out[6 + quadrant] = math.log((distance + 100.0) / (num + 1.0))
    return out
