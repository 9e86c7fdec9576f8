# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clean scans as another unit of the sensor on another vehicle would deliver them.

A shipped health reference does not know the sensor it will be used with: how it is mounted, how its
intensity is calibrated, how noisy it is, what of its own vehicle it sees. So its spread of clean
readings has to include all of that, until it is recalibrated on the vehicle's own scans.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# Standard deviations of mountings after a careful installation by hand.
_TILT_DEG = 0.7
_HEIGHT_M = 0.05
# Factors between units and firmwares: gain and exponent of intensity, as logarithms.
_GAIN, _EXPONENT = 0.25, 0.15
_INTENSITY_NOISE = 0.03
# Up to: range noise [m], share of missing returns.
_RANGE_NOISE_M = 0.015
_MISSING = 0.10
# The vehicle's roof hides the lowest beams in sectors of this half width [rad], up to this slope.
_ROOF_WIDTH, _ROOF_SLOPE = 0.5, (-0.44, -0.28)


def sensor_variant(points: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """A scan as another unit of the sensor would have delivered it.

    Args:
        points: (N, 4) float32 x, y, z [m] and intensity in [0, 1].
        seed: Of the unit; the same seed is the same unit.

    Returns:
        (M, 4) float32, M <= N.
    """
    rng = np.random.default_rng(seed)
    missing = rng.uniform(0.0, _MISSING)
    noise = rng.uniform(0.0, _RANGE_NOISE_M)
    pitch, roll = np.radians(rng.normal(0.0, _TILT_DEG, 2))
    height = rng.normal(0.0, _HEIGHT_M)
    gain, exponent = np.exp(rng.normal(0.0, (_GAIN, _EXPONENT)))
    azimuth, slope = rng.uniform(-math.pi, math.pi, 2), rng.uniform(*_ROOF_SLOPE, 2)

    kept = rng.random(len(points)) >= missing
    flat = np.hypot(points[:, 0], points[:, 1])
    for centre, edge in zip(azimuth, slope, strict=True):
        turned = np.angle(np.exp(1j * (np.arctan2(points[:, 1], points[:, 0]) - centre)))
        kept &= ~((np.abs(turned) < _ROOF_WIDTH) & (points[:, 2] < edge * flat))
    variant = points[kept].astype(np.float64)
    distance = np.maximum(np.linalg.norm(variant[:, :3], axis=1, keepdims=True), 1e-3)
    variant[:, :3] *= 1.0 + rng.normal(0.0, noise, (len(variant), 1)) / distance
    variant[:, :3] = variant[:, :3] @ _tilt(pitch, roll).T
    variant[:, 2] += height
    intensity = gain * np.clip(variant[:, 3], 0.0, 1.0) ** exponent
    intensity += rng.normal(0.0, _INTENSITY_NOISE, len(variant)) * (intensity > 0.0)
    variant[:, 3] = np.clip(intensity, 0.0, 1.0)
    return variant.astype(np.float32)


def _tilt(pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """Rotation about y, then about x."""
    cos_pitch, sin_pitch = math.cos(pitch), math.sin(pitch)
    cos_roll, sin_roll = math.cos(roll), math.sin(roll)
    about_y = np.array([[cos_pitch, 0, sin_pitch], [0, 1, 0], [-sin_pitch, 0, cos_pitch]])
    about_x = np.array([[1, 0, 0], [0, cos_roll, -sin_roll], [0, sin_roll, cos_roll]])
    return np.asarray(about_x @ about_y)
