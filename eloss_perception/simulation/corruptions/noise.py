# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Noise on coordinates and intensity, and points that never arrive.

The severities of noise are those of Dong et al., *Benchmarking Robustness of 3D Object Detection to
Common Corruptions* (CVPR 2023).
"""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit
from eloss_perception.simulation.corruptions.scan import (
    MIN_REFLECTIVITY,
    NOISE_FLOOR,
    BoolArray,
    PointArray,
    Rng,
    azimuths,
    ranges,
)

NOISE_SIGMA_M = (0.02, 0.04, 0.06, 0.08, 0.10)
NOISE_HALF_WIDTH_M = (0.02, 0.04, 0.06, 0.08, 0.10)
IMPULSE_FRACTION = (1 / 30, 1 / 25, 1 / 20, 1 / 15, 1 / 10)
# Where a receiver blinded by sunlight may fire: anywhere it listens [m].
IMPULSE_RANGES_M = (1.0, 100.0)
INTENSITY_SIGMA = (0.02, 0.05, 0.10, 0.20, 0.30)

DROPOUT_FRACTION = (0.1, 0.25, 0.4, 0.55, 0.7)

NUM_HOLES = (5, 10, 20, 40, 80)
HOLE_RADIUS_M = 2.0

FIELD_OF_VIEW_DEG = (180.0, 120.0, 90.0, 60.0, 40.0)

NUM_BLOTCHES = (2, 4, 6, 9, 12)
# Share of the light that the middle of a blotch takes, on each way.
DIRT_OPACITY = (0.7, 0.9, 0.97, 0.99, 1.0)
# Half width of a blotch as seen from inside: 1 to 3.5 cm of mud on a cover 10 cm from the axis, up
# and down smeared out by the height of the optics.
BLOTCH_WIDTH_DEG, BLOTCH_HEIGHT_DEG = (5.0, 20.0), (8.0, 25.0)
# Elevations that the blotches' centres are spread over [degrees].
_ELEVATIONS_DEG = (-25.0, 3.0)
_BIN_DEG = 1.0


def gaussian_noise(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Sigma 2, 4, 6, 8, 10 cm on each coordinate."""
    noisy: PointArray = points.copy()
    noise = rng.standard_normal((len(points), 3), dtype=np.float32)
    noisy[:, :3] += np.float32(NOISE_SIGMA_M[severity - 1]) * noise
    return noisy


def uniform_noise(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Up to 2, 4, 6, 8, 10 cm either way on each coordinate."""
    noisy: PointArray = points.copy()
    noise = 2.0 * rng.random((len(points), 3), dtype=np.float32) - 1.0
    noisy[:, :3] += np.float32(NOISE_HALF_WIDTH_M[severity - 1]) * noise
    return noisy


def impulse_noise(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """3.3, 4, 5, 6.7, 10 % of the points are at a random range along their own ray."""
    noisy: PointArray = points.copy()
    is_hit = rng.random(len(points), dtype=np.float32) < IMPULSE_FRACTION[severity - 1]
    hit = np.flatnonzero(is_hit & (ranges(points) > 0.0))
    low, high = IMPULSE_RANGES_M
    wrong = low + (high - low) * rng.random(len(hit), dtype=np.float32)
    noisy[hit, :3] *= (wrong / ranges(points[hit]))[:, None]
    return noisy


def intensity_noise(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Sigma 0.02, 0.05, 0.1, 0.2, 0.3 on the intensity, clipped to [0, 1]."""
    noisy: PointArray = points.copy()
    noise = rng.standard_normal(len(points), dtype=np.float32)
    noisy[:, 3] += np.float32(INTENSITY_SIGMA[severity - 1]) * noise
    np.clip(noisy[:, 3], 0.0, 1.0, out=noisy[:, 3])
    return noisy


def point_dropout(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """10, 25, 40, 55, 70 % of the points are lost, anywhere."""
    keep = rng.random(len(points), dtype=np.float32) >= DROPOUT_FRACTION[severity - 1]
    survivors: PointArray = points[keep]
    return survivors


@njit
def _is_outside_balls(points: PointArray, centres: PointArray, radius: float) -> BoolArray:
    """Which points are farther than `radius` from every centre."""
    outside = np.ones(points.shape[0], dtype=np.bool_)
    squared = radius * radius
    for i in range(points.shape[0]):
        for k in range(centres.shape[0]):
            dx = points[i, 0] - centres[k, 0]
            dy = points[i, 1] - centres[k, 1]
            dz = points[i, 2] - centres[k, 2]
            if dx * dx + dy * dy + dz * dz < squared:
                outside[i] = False
                break
    return outside


def local_dropout(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """5, 10, 20, 40, 80 holes of 2 m radius.

    Their centres are points of the scan, drawn with the square of their range as weight: a road's
    points per square metre fall with its cube, so that holes are as likely far away as near.
    """
    weights = np.cumsum(points[:, 0] ** 2 + points[:, 1] ** 2, dtype=np.float64)
    draws = rng.random(NUM_HOLES[severity - 1])
    total = float(weights[-1]) if len(weights) else 0.0
    chosen = np.searchsorted(weights, draws * total) if total > 0.0 else np.zeros(0, dtype=np.intp)
    survivors: PointArray = points[_is_outside_balls(points, points[chosen], HOLE_RADIUS_M)]
    return survivors


def field_of_view(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Only a sector straight ahead is left: 180, 120, 90, 60, 40 degrees wide."""
    half = np.radians(0.5 * FIELD_OF_VIEW_DEG[severity - 1])
    survivors: PointArray = points[np.abs(azimuths(points)) <= half]
    return survivors


def dirt(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """2, 4, 6, 9, 12 soft-edged blotches on the cover, 70 to 100 % opaque in the middle.

    The beam crosses the dirt twice; a target is lost where its echo falls below the floor.
    """
    transmission = _cover(NUM_BLOTCHES[severity - 1], DIRT_OPACITY[severity - 1], rng)
    azimuth = np.degrees(azimuths(points)) + 180.0
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))) + 90.0
    row = np.minimum(elevation / _BIN_DEG, transmission.shape[0] - 1).astype(np.intp)
    column = np.minimum(azimuth / _BIN_DEG, transmission.shape[1] - 1).astype(np.intp)
    gain = transmission[row, column] ** 2
    distance = np.maximum(ranges(points), np.float32(1e-3))
    power = np.maximum(points[:, 3], MIN_REFLECTIVITY) * gain / distance**2
    dirty: PointArray = points.copy()
    dirty[:, 3] *= gain
    survivors: PointArray = dirty[power >= NOISE_FLOOR]
    return survivors


def _cover(num_blotches: int, opacity: float, rng: Rng) -> PointArray:
    """Transmission on one way by direction: (elevation, azimuth) float32, a degree a bin."""
    elevations = np.arange(-90.0, 90.0, _BIN_DEG) + 0.5 * _BIN_DEG
    azimuth = np.arange(-180.0, 180.0, _BIN_DEG) + 0.5 * _BIN_DEG
    transmission = np.ones((len(elevations), len(azimuth)))
    for _ in range(num_blotches):
        off = (azimuth - rng.uniform(-180.0, 180.0) + 180.0) % 360.0 - 180.0
        up = elevations - rng.uniform(*_ELEVATIONS_DEG)
        across = (off / rng.uniform(*BLOTCH_WIDTH_DEG)) ** 2
        along = (up / rng.uniform(*BLOTCH_HEIGHT_DEG)) ** 2
        # Flat in the middle, soft at the edge: the beam is as wide as the edge.
        transmission *= 1.0 - opacity * np.exp(-((along[:, None] + across) ** 2))
    return transmission.astype(np.float32)
