# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labels of a simulated scan as KITTI would write them."""

from __future__ import annotations

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.convert import boxes_to_kitti
from eloss_perception.datasets.kitti.objects import KittiObject
from eloss_perception.simulation.lidar import SimulatedScan

# An object of fewer returns cannot be found: "unknown" occlusion keeps it out of all difficulties.
_MIN_RETURNS = 5
_VISIBLE, _OCCLUSION_UNKNOWN = 0, 3


def kitti_labels(scan: SimulatedScan, calibration: Calibration) -> list[KittiObject]:
    """The scan's objects that the camera sees, in its frame."""
    occlusion = [_VISIBLE if n >= _MIN_RETURNS else _OCCLUSION_UNKNOWN for n in scan.num_points]
    return boxes_to_kitti(scan.boxes, scan.names, calibration, occlusion=occlusion)
