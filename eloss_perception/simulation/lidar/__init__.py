# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A spinning LiDAR in a scene: its rays, what they hit, what it reports of that."""

from eloss_perception.detection.sensors import LIDARS, LidarModel, lidar_model
from eloss_perception.simulation.lidar.render import SimulatedScan

__all__ = ["LIDARS", "LidarModel", "SimulatedScan", "lidar_model"]
