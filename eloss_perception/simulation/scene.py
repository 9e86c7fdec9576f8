# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a seed to a labelled scan: a street, a sensor on it, what the sensor reports."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.interrupts import check_interrupt
from eloss_perception.simulation.lidar import SimulatedScan, lidar_model
from eloss_perception.simulation.render import render
from eloss_perception.simulation.scene_arrays import SceneArrays
from eloss_perception.simulation.sensor_pose import sensor_pose
from eloss_perception.simulation.sensor_response import SensorResponse
from eloss_perception.simulation.street import make_street


def simulate_scan(
    seed: int, lidar: str = "hdl64e", azimuth_limits_deg: tuple[float, float] = (-180.0, 180.0)
) -> SimulatedScan:
    """Draw a street and scan it once. The same arguments give the same scan.

    Args:
        seed: Any non-negative integer.
        lidar: Key of `LIDARS`.
        azimuth_limits_deg: Azimuths to scan, ccw from +x; (-90, 90) is the front half.

    Raises:
        ConfigError: Unknown sensor or impossible limits.
    """
    check_interrupt()  # whoever simulates many should be able to stop
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
