# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A sensor that sits otherwise than its calibration says: tilted, or higher, or lower.

The published cloud is turned about the sensor's origin, as by a wrong extrinsic calibration. Dong
et al. (CVPR 2023) call it spatial misalignment; half a degree is what careful calibration leaves,
some degrees are a bent bracket.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.corruptions.scan import PointArray

TILT_DEG = (0.5, 1.0, 1.5, 2.0, 3.0)
HEIGHT_M = (0.1, 0.2, 0.3, 0.4, 0.5)


def pitch(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """0.5, 1, 1.5, 2, 3 degrees about y, nose up or down as the seed has it."""
    return _turned(points, _sign(rng) * TILT_DEG[severity - 1], axis=0)


def roll(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """0.5, 1, 1.5, 2, 3 degrees about x, to the left or right as the seed has it."""
    return _turned(points, _sign(rng) * TILT_DEG[severity - 1], axis=1)


def height_offset(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """10 to 50 cm too high or too low, as the seed has it."""
    moved: PointArray = points.copy()
    moved[:, 2] += np.float32(_sign(rng) * HEIGHT_M[severity - 1])
    return moved


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _turned(points: PointArray, degrees: float, axis: int) -> PointArray:
    """Turns in the plane of a horizontal axis and z; a positive angle lifts the axis."""
    cos = np.float32(np.cos(np.radians(degrees)))
    sin = np.float32(np.sin(np.radians(degrees)))
    turned: PointArray = points.copy()
    turned[:, axis] = cos * points[:, axis] - sin * points[:, 2]
    turned[:, 2] = sin * points[:, axis] + cos * points[:, 2]
    return turned
