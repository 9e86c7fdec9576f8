# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rays of one revolution: when each beam fires and where it points in the world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.errors import ConfigError
from eloss_perception.simulation.lidar import LidarModel


@dataclass(frozen=True)
class RayGrid:
    """B beams at A azimuths each, from one sensor pose; angles in radians.

    Attributes:
        position: (3,) sensor in the world. rotation: (3, 3) world from sensor.
        elevation: (B,) descending. origin_z: (B,) laser heights in the sensor frame [m].
        azimuth: (B, A) in the sensor frame, ascending.
        directions: (B, A, 3) unit vectors in the world.
        start: Azimuth of column 0. step: From column to column.
        num_turn: Columns of a whole turn, A or more.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    elevation: NDArray[np.float64]
    origin_z: NDArray[np.float64]
    azimuth: NDArray[np.float64]
    directions: NDArray[np.float64]
    start: float
    step: float
    num_turn: int

    @classmethod
    def fire(
        cls,
        model: LidarModel,
        pose: NDArray[np.float64],
        azimuth_limits_deg: tuple[float, float],
        rng: np.random.Generator,
    ) -> RayGrid:
        """Fire all beams of a sensor at a (4, 4) pose, world from LiDAR.

        Raises:
            ConfigError: Limits are not ascending or span more than a turn.
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
            num_turn=model.num_azimuth,
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
