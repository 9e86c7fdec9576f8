# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every corruption needs to know of a scan: ranges, azimuths, and which rows are returns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PointArray = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# No automotive LiDAR reaches this far [m]; what lies beyond, or is not finite, is no return.
MAX_RETURN_M = 10_000.0


def ranges(points: PointArray) -> PointArray:
    """(N,) float32 distances from the sensor [m]."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    distance: PointArray = np.sqrt(x * x + y * y + z * z)
    return distance


def azimuths(points: PointArray) -> PointArray:
    """(N,) float32 directions from above [rad], counter-clockwise from x, in [-pi, pi]."""
    azimuth: PointArray = np.arctan2(points[:, 1], points[:, 0])
    return azimuth


def is_in_half(points: PointArray, start: float) -> BoolArray:
    """Which points lie in the half turn that begins at this azimuth [rad] and goes on ccw."""
    # Left of the line from the sensor towards `start`: no angles needed.
    is_left: BoolArray = points[:, 1] * np.cos(start) - points[:, 0] * np.sin(start) >= 0.0
    return is_left


def is_return(points: PointArray) -> BoolArray:
    """Which rows a sensor can have measured: finite, and not beyond `MAX_RETURN_M`.

    Drivers of organised clouds write NaN where nothing came back.
    """
    # Comparisons with NaN are false; all rows are tested, because testing four columns is slower.
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points[:, :4]) <= MAX_RETURN_M).all(axis=1), dtype=np.bool_)
