# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI folders in and out; the only home of the camera frame."""

from eloss_perception.datasets.kitti.calibration import (
    DEFAULT_IMAGE_SIZE,
    Calibration,
    camera_view_mask,
)
from eloss_perception.datasets.kitti.check import check_split, refuse_shared_frames
from eloss_perception.datasets.kitti.convert import (
    boxes_to_kitti,
    camera_boxes,
    complete_bbox2d,
    kitti_to_boxes,
    labelled_boxes,
)
from eloss_perception.datasets.kitti.dataset import (
    KittiDataset,
    KittiFrames,
    KittiSequence,
    read_points,
    write_image_set,
    write_kitti_frame,
)
from eloss_perception.datasets.kitti.labels import KittiObject, read_labels, write_labels
from eloss_perception.datasets.kitti.layout import find_layout, read_calibration, read_image_set

__all__ = [
    "DEFAULT_IMAGE_SIZE",
    "Calibration",
    "KittiDataset",
    "KittiFrames",
    "KittiObject",
    "KittiSequence",
    "boxes_to_kitti",
    "camera_boxes",
    "camera_view_mask",
    "check_split",
    "complete_bbox2d",
    "find_layout",
    "kitti_to_boxes",
    "labelled_boxes",
    "read_calibration",
    "read_image_set",
    "read_labels",
    "read_points",
    "refuse_shared_frames",
    "write_image_set",
    "write_kitti_frame",
    "write_labels",
]
