# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Single scans of random streets, drives along one street, and their labels as KITTI's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.convert import boxes_to_kitti
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.detection.sensors import lidar_model
from eloss_perception.errors import ConfigError
from eloss_perception.interrupts import check_interrupt
from eloss_perception.simulation.lidar.rays import sensor_pose
from eloss_perception.simulation.lidar.render import SceneArrays, SimulatedScan, render
from eloss_perception.simulation.lidar.response import SensorResponse
from eloss_perception.simulation.street.street import Street, make_street

START_NS = 1_700_000_000_000_000_000
"""Stamp of the first frame: any plausible time that is the same in every run."""


# An object of fewer returns cannot be found: "unknown" occlusion keeps it out of all difficulties.
_MIN_RETURNS = 5
_VISIBLE, _OCCLUSION_UNKNOWN = 0, 3


def simulate_scan(
    seed: int, lidar: str = "hdl64e", azimuth_limits_deg: tuple[float, float] = (-180.0, 180.0)
) -> SimulatedScan:
    """Draws a street and scans it once. The same arguments give the same scan.

    Args:
        seed: Any non-negative integer.
        lidar: Key of `LIDARS`.
        azimuth_limits_deg: Azimuths to scan, ccw from +x; (-90, 90) is the front half.

    Raises:
        ConfigError: Unknown sensor or impossible limits.
    """
    check_interrupt()  # many scans take long
    model = lidar_model(lidar)
    rng = np.random.default_rng([seed, 1])
    behind = 75.0 if max(abs(limit) for limit in azimuth_limits_deg) > 90.0 else 8.0
    street = make_street(rng, -behind, 82.0)
    ground = street.ground
    y = ground.centre_at(0.0) + street.ego_lane + float(rng.normal(0.0, 0.3))
    grade = ground.grade_at(0.0, y)
    # KITTI's vehicle carries its sensor nose down by 0.4 deg on average; that and the other
    # spreads come from robust planes through the road ahead (4 to 16 m) in the 44 scans of our
    # training list from KITTI's object data set.
    pose = sensor_pose(
        0.0,
        y,
        ground.height_at(0.0, y) + model.height + float(rng.normal(0.0, 0.025)),
        math.radians(float(rng.normal(0.0, 0.6))),
        math.radians(float(rng.normal(0.35, 0.5))) - grade,
        ground.heading_at(0.0) + math.radians(float(rng.normal(0.0, 2.0))),
    )
    scene = SceneArrays.from_builder(street.builder, ground)
    response = SensorResponse.sample(rng, model)
    scan, _ = render(scene, pose, model, seed, response, azimuth_limits_deg)
    return scan


@dataclass(frozen=True)
class DriveFrame:
    """One scan of a drive.

    Attributes:
        scan: Points and boxes in the LiDAR frame.
        ego_pose: (4, 4) float64, LiDAR frame to world frame.
        track_ids: (M,) int64 identity of each box, the same in all frames.
        stamp_ns: Time of the scan in nanoseconds.
    """

    scan: SimulatedScan
    ego_pose: NDArray[np.float64]
    track_ids: NDArray[np.int64]
    stamp_ns: int


def _objects_at(street: Street, time: float) -> NDArray[np.float64]:
    """(O, 4) world x, y, z, yaw of every object after `time` seconds."""
    ground, builder = street.ground, street.builder
    objects = np.array(builder.poses, dtype=np.float64).reshape(-1, 4)
    for i, motion in enumerate(builder.motions):
        if motion.speed == 0.0:
            continue
        x, y, _, yaw = objects[i]
        if motion.lane is None:
            x += motion.speed * time * math.cos(yaw)
            y += motion.speed * time * math.sin(yaw)
        else:
            x_old = x
            x += motion.speed * time
            y = ground.centre_at(x) + motion.lane
            yaw += ground.heading_at(x) - ground.heading_at(x_old)
        objects[i] = (x, y, ground.height_at(x, y), yaw)
    return objects


def simulate_drive(
    seed: int, num_frames: int, rate_hz: float = 10.0, lidar: str = "hdl64e"
) -> Iterator[DriveFrame]:
    """Drives down a street at 8 to 12 m/s and scans it at a fixed rate.

    The street, its surfaces and the sensor's response stay the same; cars, cyclists and
    pedestrians move on. A scan is instantaneous: there is no motion distortion.

    Args:
        seed: Any non-negative integer; the same arguments give the same drive.
        num_frames: Scans to yield.
        rate_hz: Scans per second.
        lidar: Key of `LIDARS`.

    Raises:
        ConfigError: Unknown sensor, negative count or rate out of range; raised at once.
    """
    model = lidar_model(lidar)
    if num_frames < 0:
        raise ConfigError(f"num_frames {num_frames} must not be negative")
    if not 0.1 <= rate_hz <= 100.0:
        raise ConfigError(f"rate_hz {rate_hz} must lie in 0.1 to 100")

    def frames() -> Iterator[DriveFrame]:
        rng = np.random.default_rng([seed, 2])
        speed = float(rng.uniform(8.0, 12.0))
        street = make_street(rng, -80.0, speed * num_frames / rate_hz + 110.0, ego_speed=speed)
        ground = street.ground
        response = SensorResponse.sample(rng, model)
        initial = SceneArrays.from_builder(street.builder, ground)
        sway = rng.uniform(0.0, 2.0 * math.pi, 3)
        for k in range(num_frames):
            check_interrupt()
            time = k / rate_hz
            x = speed * time
            y = ground.centre_at(x) + street.ego_lane
            # The body sways on its springs at about 1 Hz by a few tenths of a degree.
            pose = sensor_pose(
                x,
                y,
                ground.height_at(x, y) + model.height + 0.012 * math.sin(7.0 * time + sway[0]),
                math.radians(0.35) * math.sin(5.0 * time + sway[1]),
                math.radians(0.4) * math.sin(6.0 * time + sway[2]) - ground.grade_at(x, y),
                ground.heading_at(x),
            )
            scene = replace(initial, objects=_objects_at(street, time))
            scan, tracks = render(scene, pose, model, seed * 100_003 + k, response)
            yield DriveFrame(scan, pose, tracks, START_NS + round(k * 1e9 / rate_hz))

    return frames()


def kitti_labels(scan: SimulatedScan, calibration: Calibration) -> list[KittiObject]:
    """The scan's objects that the camera sees, in its frame."""
    occlusion = [_VISIBLE if n >= _MIN_RETURNS else _OCCLUSION_UNKNOWN for n in scan.num_points]
    return boxes_to_kitti(scan.boxes, scan.names, calibration, occlusion=occlusion)
