# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the sensor is: a position and three angles as a matrix."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def sensor_pose(
    x: float, y: float, z: float, roll: float, pitch: float, yaw: float
) -> NDArray[np.float64]:
    """(4, 4) float64 world from LiDAR; angles in radians about x, y, z, applied in that order."""
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
