# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Noise on coordinates and intensity.

The severities of Dong et al., *Benchmarking Robustness of 3D Object Detection to Common
Corruptions* (CVPR 2023).
"""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.corruptions.scan import PointArray, ranges

NOISE_SIGMA_M = (0.02, 0.04, 0.06, 0.08, 0.10)
NOISE_HALF_WIDTH_M = (0.02, 0.04, 0.06, 0.08, 0.10)
IMPULSE_FRACTION = (1 / 30, 1 / 25, 1 / 20, 1 / 15, 1 / 10)
# Where a receiver blinded by sunlight may fire: anywhere it listens [m].
IMPULSE_RANGES_M = (1.0, 100.0)
INTENSITY_SIGMA = (0.02, 0.05, 0.10, 0.20, 0.30)


def gaussian_noise(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Sigma 2, 4, 6, 8, 10 cm on each coordinate."""
    noisy: PointArray = points.copy()
    noise = rng.standard_normal((len(points), 3), dtype=np.float32)
    noisy[:, :3] += np.float32(NOISE_SIGMA_M[severity - 1]) * noise
    return noisy


def uniform_noise(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Up to 2, 4, 6, 8, 10 cm either way on each coordinate."""
    noisy: PointArray = points.copy()
    noise = 2.0 * rng.random((len(points), 3), dtype=np.float32) - 1.0
    noisy[:, :3] += np.float32(NOISE_HALF_WIDTH_M[severity - 1]) * noise
    return noisy


def impulse_noise(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """3.3, 4, 5, 6.7, 10 % of the points are at a random range along their own ray."""
    noisy: PointArray = points.copy()
    is_hit = rng.random(len(points), dtype=np.float32) < IMPULSE_FRACTION[severity - 1]
    hit = np.flatnonzero(is_hit & (ranges(points) > 0.0))
    low, high = IMPULSE_RANGES_M
    wrong = low + (high - low) * rng.random(len(hit), dtype=np.float32)
    noisy[hit, :3] *= (wrong / ranges(points[hit]))[:, None]
    return noisy


def intensity_noise(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Sigma 0.02, 0.05, 0.1, 0.2, 0.3 on the intensity, clipped to [0, 1]."""
    noisy: PointArray = points.copy()
    noise = rng.standard_normal(len(points), dtype=np.float32)
    noisy[:, 3] += np.float32(INTENSITY_SIGMA[severity - 1]) * noise
    np.clip(noisy[:, 3], 0.0, 1.0, out=noisy[:, 3])
    return noisy
