# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The road in a scan: a plane through what lies about where a road should be."""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.sensors import NETWORK_SENSOR_HEIGHT
from eloss_perception.simulation.corruptions.scan import BoolArray, FloatArray, PointArray

# Farthest point [m] and greatest distance from the plane [m] of each pass: near the vehicle a wrong
# slope matters little, so the plane is found there first.
_PASSES = ((12.0, 0.7), (20.0, 0.3), (30.0, 0.15))
_MIN_POINTS = 60
_MAX_POINTS = 8192
# What belongs to the road: roughness, and its curvature farther out [m, m/m].
_TOLERANCE_M, _TOLERANCE_SLOPE = 0.12, 0.004


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
