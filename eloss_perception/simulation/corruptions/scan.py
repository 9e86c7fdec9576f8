# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What several corruptions share: directions and ranges, the receiver's limits, the road.

The receiver is the HDL-64E's. The power of an echo is written as reflectivity / range^2 [1/m^2]:
that of a diffuse target which fills the beam, up to a constant of the sensor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.sensors import NETWORK_SENSOR_HEIGHT

PointArray = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Rng = np.random.Generator

# No automotive LiDAR reaches this far [m]; what lies beyond, or is not finite, is no return.
MAX_RETURN_M = 10_000.0

# Whatever was returned in clear air was above the receiver's floor: the echo of 5 % at 100 m, and
# an intensity of 0 is rounding, not darkness (HDL-64E's data sheet: 50 m on a 10 % target, 120 m on
# 80 %; its scans reach 80 m on asphalt).
MIN_REFLECTIVITY = 0.05
NOISE_FLOOR = MIN_REFLECTIVITY / 100.0**2
# Emitter and receiver sit side by side: the receiver sees nothing of the beam before the first, all
# of it from the second range on [m]. The second is fitted so that in fog of 50 m visibility the
# view ends near 25 m: in a fog chamber LiDARs lose targets well before the eye does (Bijelic et
# al., *A Benchmark for Lidar Sensors in Fog*, IV 2018).
OVERLAP_START_M, OVERLAP_FULL_M = 2.0, 10.0
# Beam diameter at the cover [m] and divergence [rad] (HDL-64E's data sheet: 2 mrad).
BEAM_DIAMETER_M, BEAM_DIVERGENCE = 0.01, 0.002
# One revolution at 10 Hz [s].
SWEEP_S = 0.1

# Farthest point [m] and greatest distance from the plane [m] of each pass: near the vehicle a wrong
# slope matters little, so the plane is found there first.
_PASSES = ((12.0, 0.7), (20.0, 0.3), (30.0, 0.15))
_MIN_POINTS = 60
_MAX_POINTS = 8192
# What belongs to the road: roughness, and its curvature farther out [m, m/m].
_TOLERANCE_M, _TOLERANCE_SLOPE = 0.12, 0.004


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


def fit_road(points: PointArray) -> FloatArray:
    """Fits z = a x + b y + c to the road.

    Returns:
        (3,) a, b, c [m/m, m/m, m]; the network frame's level ground where there is no road to see.
    """
    plane = np.array([0.0, 0.0, -NETWORK_SENSOR_HEIGHT])
    distance = np.hypot(points[:, 0], points[:, 1])
    near = points[(distance < _PASSES[-1][0]) & (distance > 2.0) & (points[:, 2] < 0.0)]
    near = near[:: max(1, len(near) // _MAX_POINTS)].astype(np.float64)
    design = np.column_stack([near[:, :2], np.ones(len(near))])
    reach = np.hypot(near[:, 0], near[:, 1])
    for farthest, gate in _PASSES:
        inliers = (np.abs(near[:, 2] - design @ plane) < gate) & (reach < farthest)
        if int(inliers.sum()) < _MIN_POINTS:
            break
        plane = np.linalg.lstsq(design[inliers], near[inliers, 2], rcond=None)[0]
    return plane


def heights_over_road(points: PointArray) -> tuple[PointArray, FloatArray]:
    """Returns (N,) float32 heights over the fitted road [m] and its plane."""
    plane = fit_road(points)
    a, b, c = (np.float32(value) for value in plane)
    height: PointArray = points[:, 2] - (a * points[:, 0] + b * points[:, 1] + c)
    return height, plane


def is_road(points: PointArray, height: PointArray) -> BoolArray:
    """Which points lie on the road, given their heights over it [m]."""
    distance = np.hypot(points[:, 0], points[:, 1])
    flat: BoolArray = np.abs(height) < _TOLERANCE_M + _TOLERANCE_SLOPE * distance
    return flat
