# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rays of one revolution, the random numbers that belong to them, and what each hits first.

The random numbers are compiled into their callers, whose machine code numba keeps until their own
file changes: after a change of `hash_uniform` delete `__pycache__`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.detection.sensors import LidarModel
from eloss_perception.errors import ConfigError

# Owners that are no object.
NO_HIT, GROUND = -2, -1


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


class RayGrid(NamedTuple):
    """B beams at A azimuths each, from one sensor pose; angles in radians.

    Attributes:
        position: (3,) sensor in the world. rotation: (3, 3) world from sensor.
        elevation: (B,) descending. origin_z: (B,) laser heights in the sensor frame [m].
        azimuth: (B, A) in the sensor frame, ascending.
        directions: (B, A, 3) unit vectors in the world.
        start: Azimuth of column 0. step: From column to column.
        num_columns: Columns of a whole revolution, A or more.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    elevation: NDArray[np.float64]
    origin_z: NDArray[np.float64]
    azimuth: NDArray[np.float64]
    directions: NDArray[np.float64]
    start: float
    step: float
    num_columns: int

    @classmethod
    def fire(
        cls,
        model: LidarModel,
        pose: NDArray[np.float64],
        azimuth_limits_deg: tuple[float, float],
        rng: np.random.Generator,
    ) -> RayGrid:
        """Fires all beams of a sensor at a (4, 4) pose, world from LiDAR.

        Raises:
            ConfigError: Limits are not ascending or span more than 360 degrees.
        """
        low, high = azimuth_limits_deg
        if not -360.0 <= low < high <= 360.0 or high - low > 360.0:
            raise ConfigError(
                f"azimuth_limits_deg {azimuth_limits_deg} must ascend and span at most 360"
            )
        step = 2.0 * math.pi / model.num_azimuth
        num_azimuth = min(max(int(round(math.radians(high - low) / step)), 1), model.num_azimuth)
        start = math.radians(low)
        # Beams fire one after another, so their azimuths interleave; the encoder adds jitter.
        phase = np.random.default_rng(64).uniform(0.0, 1.0, model.num_beams)
        jitter = rng.random((model.num_beams, num_azimuth), dtype=np.float32)
        azimuth = start + step * (np.arange(num_azimuth) + phase[:, None] + 0.3 * jitter)
        elevation = np.radians(model.elevation_deg)
        rotation = np.ascontiguousarray(pose[:3, :3])
        return cls(
            position=np.ascontiguousarray(pose[:3, 3]),
            rotation=rotation,
            elevation=elevation,
            origin_z=model.origin_z,
            azimuth=azimuth,
            directions=_directions(elevation, azimuth, rotation),
            start=start,
            step=step,
            num_columns=model.num_azimuth,
        )


@njit
def _directions(elevation, azimuth, rotation):  # type: ignore[no-untyped-def]
    """World directions (B, A, 3) of beams (B,) at azimuths (B, A) [rad] for a sensor rotation."""
    num_beams, num_azimuth = azimuth.shape
    directions = np.empty((num_beams, num_azimuth, 3))
    for b in range(num_beams):
        ce, se = math.cos(elevation[b]), math.sin(elevation[b])
        for j in range(num_azimuth):
            x, y = ce * math.cos(azimuth[b, j]), ce * math.sin(azimuth[b, j])
            for k in range(3):
                directions[b, j, k] = rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2] * se
    return directions


class DepthBuffer(NamedTuple):
    """The nearest hit of every ray so far: B beams, A azimuths; the casts write into its arrays.

    Attributes:
        depth: (B, A) float64 range [m]; far beyond any sensor where nothing was hit.
        signal: (B, A) float64 effective reflectivity.
        owner: (B, A) int32 index of the object hit, `GROUND` or `NO_HIT`.
    """

    depth: NDArray[np.float64]
    signal: NDArray[np.float64]
    owner: NDArray[np.int32]

    @classmethod
    def clear(cls, shape: tuple[int, ...]) -> DepthBuffer:
        """A buffer without hits."""
        return cls(np.full(shape, 1e9), np.zeros(shape), np.full(shape, NO_HIT, np.int32))


@njit(inline="always")
def _mix(x):  # type: ignore[no-untyped-def]
    """Finaliser of splitmix64 (Steele et al., OOPSLA 2014) to a float in [0, 1)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.float64(x >> np.uint64(11)) * 1.1102230246251565e-16


@njit
def hash_uniform(a, b, c):  # type: ignore[no-untyped-def]
    """Uniform [0, 1) from three integers."""
    x = (
        np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
        ^ (np.uint64(b) + np.uint64(0x632BE59BD9B4E019)) * np.uint64(0xD1B54A32D192ED03)
        ^ (np.uint64(c) + np.uint64(0x2545F4914F6CDD1D)) * np.uint64(0x8CB92BA72F3D8DD7)
    )
    return _mix(x)
