# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which laser measured a point, where the point cloud does not say so itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Nominal elevation of the HDL-64E's lasers [rad], highest first: 32 of 1/3 degree, 32 of 1/2 degree
# (user's manual).
HDL64E_ELEVATION = np.radians(
    np.concatenate([2.0 - np.arange(32) / 3.0, -8.83 - 0.5 * np.arange(32)])
)
# A scan line of fewer points is jitter at the seam between two turns.
MIN_POINTS_PER_ROW = 32
# Within one scan line the elevation of neighbours is nearly constant; unordered points spread over
# degrees.
MAX_ROW_ELEVATION_SPREAD = np.radians(0.6)


def beam_indices(points: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Recovers the beam of every point of a spinning LiDAR's scan.

    Scans stored one scan line after another (KITTI's are) show a seam where the azimuth passes its
    start; counting seams gives exact rows. In any other order the nearest nominal elevation of the
    HDL-64E has to do: near the sensor it is off by a row or two, because the real lasers do not
    start from one point.

    Args:
        points: (N, >=3) float32 x, y, z [m, LiDAR frame].

    Returns:
        (N,) indices from 0, highest beam first.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    elevation = np.arctan2(z, np.hypot(x, y))
    rows = _rows_in_storage_order(np.arctan2(y, x))
    if rows is not None and _row_spread(rows, elevation) < MAX_ROW_ELEVATION_SPREAD:
        return rows
    midpoints = (HDL64E_ELEVATION[1:] + HDL64E_ELEVATION[:-1]) / 2.0
    return np.searchsorted(-midpoints, -elevation)


def _rows_in_storage_order(
    azimuth: npt.NDArray[np.float32],
) -> npt.NDArray[np.intp] | None:
    """Numbers scan lines by the seams between turns; None if not stored line by line."""
    step = np.diff(azimuth)
    # The seam is where a line starts: straight ahead (KITTI), or where atan2 wraps.
    ahead = np.flatnonzero((azimuth[:-1] < 0) & (azimuth[1:] >= 0) & (step < np.pi)) + 1
    wraps = np.flatnonzero(np.abs(step) >= np.pi) + 1
    backwards = np.flatnonzero((np.abs(step) < np.pi) & (np.abs(step) > 0.5)) + 1
    for seams in (ahead, wraps, backwards):
        seams = seams[np.diff(seams, prepend=-MIN_POINTS_PER_ROW) >= MIN_POINTS_PER_ROW]
        if not 7 <= len(seams) < 160:
            continue
        is_first = np.zeros(len(azimuth), dtype=np.intp)
        is_first[seams] = 1
        rows: npt.NDArray[np.intp] = np.cumsum(is_first)
        return rows
    return None


def _row_spread(rows: npt.NDArray[np.intp], elevation: npt.NDArray[np.float32]) -> float:
    """Median over the rows of the elevation's standard deviation [rad]."""
    count = np.maximum(np.bincount(rows), 1)
    mean = np.bincount(rows, elevation) / count
    variance = np.bincount(rows, elevation.astype(np.float64) ** 2) / count - mean**2
    return float(np.median(np.sqrt(np.maximum(variance, 0.0))))
