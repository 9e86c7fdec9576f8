# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Spinning LiDAR models: where each beam points, how far it sees, how noisy it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import ConfigError


@dataclass(frozen=True)
class LidarModel:
    """One spinning LiDAR. Angles in degrees, lengths in metres, sensor frame x forward, z up.

    Attributes:
        name: Key in `LIDARS`.
        elevation_deg: (B,) beam elevations, strictly descending.
        origin_z: (B,) height of each laser above the origin of the sensor frame.
        num_azimuth: Firings per revolution.
        height: Origin of the sensor frame above the ground.
        min_range: Nearer returns are not reported.
        max_range: Farther returns are not reported.
        range_noise: Standard deviation of the range.
        signal_threshold: Least effective reflectivity / range^2 [1/m^2] that yields a return.
        beam_gain_spread: Relative spread of the intensity gain from beam to beam.
        intensity_range: Range at which the reported intensity has fallen to half.
        intensity_offset: Subtracted from the intensity; what is weaker reports 0, which on a
            real HDL-64E is half of all returns from cars (44 KITTI scans).
        ego_mask_deg: Rows of (|azimuth| from, |azimuth| to, lowest elevation that clears the
            vehicle's own roof); below it the beam reports nothing.
    """

    name: str
    elevation_deg: NDArray[np.float64]
    origin_z: NDArray[np.float64]
    num_azimuth: int
    height: float = 1.73
    min_range: float = 0.9
    max_range: float = 120.0
    range_noise: float = 0.018
    signal_threshold: float = 4.0e-5
    beam_gain_spread: float = 0.18
    intensity_range: float = 38.0
    intensity_offset: float = 0.09
    ego_mask_deg: tuple[tuple[float, float, float], ...] = ()

    @property
    def num_beams(self) -> int:
        """Number of lasers."""
        return len(self.elevation_deg)


def _beams(*blocks: tuple[float, float, int]) -> NDArray[np.float64]:
    """Concatenate (first, last, count) blocks of evenly spaced elevations."""
    return np.concatenate([np.linspace(first, last, count) for first, last, count in blocks])


# HDL-64E manual (Velodyne 63-HDL64ES2): 32 upper lasers at 1/3 deg, 32 lower at 1/2 deg. The
# calibrated elevations and the two heights of the laser blocks are those that straight lines
# z = origin_z + tan(elevation) * r through the rings of 40 scans of KITTI's object data set give
# (to 0.1 deg, 3 mm; 32 from our training list, 8 from our validation list). The vehicle's own
# shadow is where those 40 scans have no returns.
_HDL64E = LidarModel(
    name="hdl64e",
    elevation_deg=_beams((1.95, -8.70, 32), (-9.05, -25.0, 32)),
    origin_z=_beams((0.209, 0.198, 32), (0.126, 0.116, 32)),
    num_azimuth=2150,  # 20,833 firings/s at the 9.7 turns/s of the KITTI recordings
    ego_mask_deg=(
        (0.0, 13.0, -21.2),
        (13.0, 25.0, -23.5),
        (125.0, 145.0, -20.0),
        (145.0, 180.0, -18.6),
    ),
)

# HDL-32E manual (63-9113): 32 lasers from +10.67 to -30.67 deg, 1.33 deg apart; nuScenes turns
# it at 20 Hz and mounts it 1.84 m above the ground.
_HDL32E = LidarModel(
    name="hdl32e",
    elevation_deg=_beams((10.67, -30.67, 32)),
    origin_z=np.zeros(32),
    num_azimuth=1084,
    height=1.84,
    min_range=1.0,
    max_range=100.0,
)

# Pandar64 manual (Hesai): 0.167 deg between +2 and -6 deg, 1 deg around, coarser at the ends.
_PANDAR64 = LidarModel(
    name="pandar64",
    elevation_deg=np.concatenate(
        [
            [15.0, 11.0, 8.0, 5.0, 3.0],
            _beams((2.0, -6.0, 49)),
            np.arange(-7.0, -15.0, -1.0),
            [-19.0, -25.0],
        ]
    ),
    origin_z=np.zeros(64),
    num_azimuth=1800,
    height=1.9,
    min_range=0.5,
)

LIDARS: dict[str, LidarModel] = {model.name: model for model in (_HDL64E, _HDL32E, _PANDAR64)}


def lidar_model(name: str) -> LidarModel:
    """Look a sensor up.

    Raises:
        ConfigError: No sensor of that name.
    """
    try:
        return LIDARS[name]
    except KeyError:
        raise ConfigError(f"unknown lidar {name!r}; choose one of {sorted(LIDARS)}") from None


@dataclass(frozen=True)
class SimulatedScan:
    """One revolution and what was in it, in the LiDAR frame (x forward, y left, z up, metres).

    Attributes:
        points: (N, 4) float32 x, y, z, intensity in [0, 1]; ring by ring, azimuth ascending.
        boxes: (M, 7) float32 x, y, z (geometric centre), length, width, height, yaw (ccw from +x).
        labels: (M,) int64: 0 Car, 1 Pedestrian, 2 Cyclist, -1 an object to ignore.
        names: M object types in KITTI's terms ("Car", "Van", "Person_sitting", ...).
        num_points: (M,) int32 returns from each object, at least 1.
    """

    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: list[str]
    num_points: NDArray[np.int32]
