# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes of the LiDAR frame to KITTI objects of the camera frame, and back.

The heading is carried over by the rotation between the frames, not by the usual shortcut
`rotation_y = -yaw - pi/2`, which ignores up to a degree of mounting angle. Both directions solve
the same two equations, so that a round trip returns the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.detection.boxes import (
    BOX_EDGES,
    CLASS_NAMES,
    IGNORED,
    Boxes3D,
    corners_3d,
    wrap_angle,
)
from eloss_perception.errors import DataError, printable

# Nearer than this [m] an edge is cut before projection: the image plane's own depth has no image.
_NEAR_PLANE = 0.1

# Far more metres than any sensor reports, and far less than float32 can hold.
_MAX_VALUE = 1e6

# Column values of a 2D box that is not known.
_NO_BBOX2D = (-1.0, -1.0, -1.0, -1.0)

# A label's 2D box that overlaps its projected 3D box less is a placeholder.
_MIN_LABEL_OVERLAP = 0.05

_EDGES = np.array(BOX_EDGES)


def boxes_to_kitti(
    boxes: ArrayLike,
    types: Sequence[str],
    calibration: Calibration,
    image_size: tuple[int, int] | None = None,
    scores: ArrayLike | None = None,
    occlusion: Sequence[int] | None = None,
    keep_unseen: bool = False,
) -> list[KittiObject]:
    """Returns boxes as KITTI objects, leaving out those the image does not show.

    The 2D box encloses the projected corners, clipped to the image; truncation is the share of its
    area that the clipping removed. Without a camera nothing is left out, and the 2D box is -1.

    Args:
        boxes: (N, 7) boxes, LiDAR frame.
        types: N KITTI type names.
        calibration: The frame's calibration.
        image_size: Width and height [px]; without it the calibration's.
        scores: (N,) scores; given for results, not for labels.
        occlusion: N occlusion levels 0 to 3; without it 0 for labels and -1 for results.
        keep_unseen: Keep what the image does not show, with a 2D box of -1 and truncation 1: lower
            than any difficulty asks for, it does not count in KITTI's evaluation.

    Returns:
        At most N objects, in the order of the boxes.

    Raises:
        ValueError: If the lengths disagree or a box is not finite or of negative size.
    """
    array = np.asarray(boxes, dtype=np.float64)
    score_list = None if scores is None else np.asarray(scores, dtype=np.float64).tolist()
    for name, values in (("types", types), ("scores", score_list), ("occlusion", occlusion)):
        if values is not None and len(values) != len(array):
            raise ValueError(f"{len(values)} {name} for {len(array)} boxes")
    size = calibration.image_size if image_size is None else image_size
    corners = corners_3d(array)  # (N, 8, 3)
    bottoms = array[:, :3].copy()
    bottoms[:, 2] -= 0.5 * array[:, 5]
    locations = calibration.lidar_to_camera(bottoms)
    rotations = _yaw_to_rotation_y(array[:, 6], calibration)
    objects = []
    for i, type_name in enumerate(types):
        visible = _image_box(calibration.lidar_to_camera(corners[i]), calibration, size)
        if visible is None and calibration.has_camera and not keep_unseen:
            continue
        unseen = 1.0 if calibration.has_camera else (0.0 if scores is None else -1.0)
        bbox2d, truncation = visible or (_NO_BBOX2D, unseen)
        x, y, z = (float(value) for value in locations[i])
        length, width, height = (float(value) for value in array[i, 3:6])
        objects.append(
            KittiObject(
                type=type_name,
                truncation=truncation,
                occlusion=occlusion[i] if occlusion is not None else (0 if scores is None else -1),
                alpha=wrap_angle(float(rotations[i]) - math.atan2(x, z)),
                bbox2d=bbox2d,
                dimensions=(height, width, length),
                location=(x, y, z),
                rotation_y=float(rotations[i]),
                score=None if score_list is None else float(score_list[i]),
            )
        )
    return objects


def kitti_to_boxes(objects: Sequence[KittiObject], calibration: Calibration) -> NDArray[np.float32]:
    """Returns the boxes of KITTI objects in the LiDAR frame.

    Args:
        objects: N labels or results, each with a 3D box: `DontCare` regions left out.
        calibration: The frame's calibration.

    Returns:
        (N, 7) float32 boxes, in the order of the objects.

    Raises:
        DataError: If an object has no 3D box.
    """
    for item in objects:
        if not item.has_box:
            raise DataError(f"a {printable(item.type)} of size {item.dimensions} has no 3D box")
        if max(*map(abs, item.location), *item.dimensions, abs(item.rotation_y)) > _MAX_VALUE:
            raise DataError(
                f"a {printable(item.type)} has a size of {item.dimensions}, a location of "
                f"{item.location} and a rotation of {item.rotation_y:g}; must be metres and radians"
            )
    boxes = np.zeros((len(objects), 7))
    if len(objects):
        locations = np.array([item.location for item in objects])
        rotations = np.array([item.rotation_y for item in objects])
        boxes[:, :3] = calibration.camera_to_lidar(locations)
        boxes[:, 3:6] = np.array([item.dimensions for item in objects])[:, ::-1]  # hwl -> lwh
        boxes[:, 2] += 0.5 * boxes[:, 5]
        boxes[:, 6] = _rotation_y_to_yaw(rotations, calibration)
    narrow = boxes.astype(np.float32)
    narrow[:, 6] = wrap_angle(narrow[:, 6])
    return narrow


def labelled_boxes(
    objects: Sequence[KittiObject],
    calibration: Calibration,
    class_names: Sequence[str] = CLASS_NAMES,
) -> Boxes3D:
    """Returns the objects of a frame that have a 3D box, with class labels.

    Args:
        objects: Labels (score 1) or results.
        calibration: The frame's calibration.
        class_names: Names whose index is the label, compared without case as KITTI's program
            does; every other type is -1, to be ignored.

    Returns:
        The boxes in the order of the objects, `DontCare` regions left out.

    Raises:
        DataError: If a score is outside [0, 1].
    """
    kept = [item for item in objects if item.has_box]
    labels = {name.lower(): label for label, name in enumerate(class_names)}
    scores = [1.0 if item.score is None else item.score for item in kept]
    try:
        return Boxes3D(
            boxes=kitti_to_boxes(kept, calibration),
            scores=np.array(scores, np.float32),
            labels=np.array([labels.get(item.type.lower(), IGNORED) for item in kept], np.int64),
        )
    except ValueError as error:
        raise DataError(f"KITTI results that are no boxes: {error}") from None


def complete_bbox2d(objects: Sequence[KittiObject], calibration: Calibration) -> list[KittiObject]:
    """Returns labels with the projection of their 3D box in place of a 2D box that is none.

    Sets that were labelled in the scan alone have zeros, -1 or the same placeholder everywhere. An
    object that the image does not show gets no 2D box, so that it counts at no difficulty. Nothing
    changes where there is no camera.
    """
    completed = list(objects)
    if not calibration.has_camera:
        return completed
    with_box = [i for i, item in enumerate(objects) if item.has_box]
    corners = corners_3d(kitti_to_boxes([objects[i] for i in with_box], calibration))  # (N, 8, 3)
    for i, own_corners in zip(with_box, corners, strict=True):
        camera = calibration.lidar_to_camera(own_corners)
        visible = _image_box(camera, calibration, calibration.image_size)
        projected = _NO_BBOX2D if visible is None else visible[0]
        own = objects[i].bbox2d
        if not objects[i].has_bbox2d or _overlap(own, projected) < _MIN_LABEL_OVERLAP:
            completed[i] = replace(objects[i], bbox2d=projected)
    return completed


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Returns the IoU of two 2D boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def camera_boxes(objects: Sequence[KittiObject]) -> NDArray[np.float64]:
    """Returns objects as boxes of the camera frame with its axes renamed forward, left, up.

    The official evaluation measures overlap in the camera frame, whose ground plane is tilted
    against the LiDAR's; this puts its boxes in the layout of `Boxes3D` without rotating them.

    Returns:
        (N, 7) float64; an object without a 3D box has size 0, which overlaps nothing.
    """
    boxes = np.zeros((len(objects), 7))
    for box, item in zip(boxes, objects, strict=True):
        if not item.has_box:
            continue
        x, y, z = item.location
        height, width, length = item.dimensions
        box[:] = z, -x, -y + 0.5 * height, length, width, height, -item.rotation_y - 0.5 * math.pi
    return boxes


def _yaw_to_rotation_y(yaw: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """Turns yaw about the LiDAR's up axis into rotation about the camera's down axis."""
    plane = calibration.lidar_to_camera_matrix[np.ix_([0, 2], [0, 1])]
    heading = plane @ np.stack([np.cos(yaw), np.sin(yaw)])  # (2, N) x right, z forward
    rotation_y: NDArray[np.float64] = np.arctan2(-heading[1], heading[0])
    return wrap_angle(rotation_y)


def _rotation_y_to_yaw(
    rotation_y: NDArray[np.float64], calibration: Calibration
) -> NDArray[np.float64]:
    """Inverts `_yaw_to_rotation_y`."""
    plane = calibration.lidar_to_camera_matrix[np.ix_([0, 2], [0, 1])]
    heading = np.linalg.solve(plane, np.stack([np.cos(rotation_y), -np.sin(rotation_y)]))  # (2, N)
    yaw: NDArray[np.float64] = np.arctan2(heading[1], heading[0])
    return wrap_angle(yaw)


def _image_box(
    corners: NDArray[np.float64], calibration: Calibration, image_size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], float] | None:
    """Returns the clipped 2D box and the truncation of (8, 3) camera corners, or None if unseen."""
    if not calibration.has_camera:
        return None
    starts, ends = corners[_EDGES[:, 0]], corners[_EDGES[:, 1]]
    crossing = (starts[:, 2] - _NEAR_PLANE) * (ends[:, 2] - _NEAR_PLANE) < 0.0
    starts, ends = starts[crossing], ends[crossing]
    fraction = (_NEAR_PLANE - starts[:, 2]) / (ends[:, 2] - starts[:, 2])
    cuts = starts + fraction[:, None] * (ends - starts)
    in_front = np.concatenate([corners[corners[:, 2] >= _NEAR_PLANE], cuts])
    if not len(in_front):
        return None
    uv, _ = calibration.camera_to_image(in_front)
    left, top = (float(value) for value in uv.min(axis=0))
    right, bottom = (float(value) for value in uv.max(axis=0))
    # KITTI's own 2D boxes end at the last pixel.
    last_x, last_y = image_size[0] - 1.0, image_size[1] - 1.0
    clipped = (max(left, 0.0), max(top, 0.0), min(right, last_x), min(bottom, last_y))
    area = (right - left) * (bottom - top)
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1] or area <= 0.0:
        return None
    visible = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1])
    return clipped, min(max(1.0 - visible / area, 0.0), 1.0)
