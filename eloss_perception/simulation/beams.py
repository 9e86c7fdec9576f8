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
# A line that does not go all around jumps back by at least this much where it ends [rad].
MIN_RETURN_STEP = 0.5
# Neighbouring beams are a third of a degree apart; neighbours in one line a hundredth.
MIN_SEAM_JUMP = np.radians(0.1)
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
    rows = _rows_in_storage_order(np.arctan2(y, x), elevation)
    if rows is not None and _row_spread(rows, elevation) < MAX_ROW_ELEVATION_SPREAD:
        return rows
    midpoints = (HDL64E_ELEVATION[1:] + HDL64E_ELEVATION[:-1]) / 2.0
    return np.searchsorted(-midpoints, -elevation)


def _rows_in_storage_order(
    azimuth: npt.NDArray[np.float32], elevation: npt.NDArray[np.float32]
) -> npt.NDArray[np.intp] | None:
    """Numbers scan lines by the seams between turns; None if not stored line by line."""
    if len(azimuth) < MIN_POINTS_PER_ROW:
        return None
    step = np.diff(azimuth)
    is_wrap = np.abs(step) >= np.pi
    sense = 1.0 if np.median(step) >= 0.0 else -1.0
    # A line starts behind, where atan2 wraps; straight ahead (KITTI); or where the view begins.
    wraps = is_wrap
    ahead = ((azimuth[:-1] < 0) != (azimuth[1:] < 0)) & (sense * step > 0) & ~is_wrap
    returns = (sense * step < -MIN_RETURN_STEP) & ~is_wrap
    best, best_jump = None, MIN_SEAM_JUMP
    for is_seam in (wraps, ahead, returns):
        seams = np.flatnonzero(is_seam) + 1
        seams = seams[np.diff(seams, prepend=-MIN_POINTS_PER_ROW) >= MIN_POINTS_PER_ROW]
        if not 7 <= len(seams) < 160:
            continue
        # At a true seam the next beam begins; in the middle of a line elevation goes on.
        jump = float(np.median(np.abs(elevation[seams] - elevation[seams - 1])))
        if jump > best_jump:
            best, best_jump = seams, jump
    if best is None:
        return None
    is_first = np.zeros(len(azimuth), dtype=np.intp)
    is_first[best] = 1
    rows: npt.NDArray[np.intp] = np.cumsum(is_first)
    return rows


def _row_spread(rows: npt.NDArray[np.intp], elevation: npt.NDArray[np.float32]) -> float:
    """Median over the rows of the elevation's standard deviation [rad]."""
    count = np.maximum(np.bincount(rows), 1)
    mean = np.bincount(rows, elevation) / count
    variance = np.bincount(rows, elevation.astype(np.float64) ** 2) / count - mean**2
    return float(np.median(np.sqrt(np.maximum(variance, 0.0))))
