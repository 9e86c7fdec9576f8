# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""3D boxes in the LiDAR frame: the container, corners, yaw and the points inside.

A box is `(x, y, z, length, width, height, yaw)`: metres and radians in a frame with x forward, y
left and z up (REP-103), the geometric centre, yaw counter-clockwise from +x in [-pi, pi).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.detection.iou import bev_iou, check_boxes, iou_3d, nms_bev

__all__ = [
    "BOX_EDGES",
    "CLASS_NAMES",
    "IGNORED",
    "Boxes3D",
    "bev_corners",
    "bev_iou",
    "corners_3d",
    "iou_3d",
    "nms_bev",
    "points_in_boxes",
    "wrap_angle",
]

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")
"""The classes that the shipped networks tell apart; a label is an index into them."""

IGNORED = -1
"""Label of an object that is neither to be found nor background (a van, a tram)."""

BOX_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)
)  # fmt: skip
"""The twelve edges between the corners of `corners_3d`: bottom, top, uprights."""

_Float = TypeVar("_Float", bound=np.floating[Any])

# Single-precision pi lies just outside [-pi, pi), and a sum of two angles may round there.
_YAW_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Boxes3D:
    """Detected or annotated boxes of one scan; a length of 0 is a normal value.

    Attributes:
        boxes: (N, 7) float32 x, y, z, length, width, height, yaw; LiDAR frame.
        scores: (N,) float32 in [0, 1].
        labels: (N,) int64 index of the class name; -1 is an object to ignore.

    Raises:
        ValueError: If shapes disagree, a value is not finite, a size is negative, a yaw is outside
            [-pi, pi), a score outside [0, 1], or labels are not integers of at least -1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        boxes = np.ascontiguousarray(self.boxes, dtype=np.float32)
        scores = np.ascontiguousarray(self.scores, dtype=np.float32)
        check_boxes(boxes)
        if boxes.size and np.abs(boxes[:, 6]).max() > math.pi + _YAW_TOLERANCE:
            worst = float(boxes[np.abs(boxes[:, 6]).argmax(), 6])
            raise ValueError(f"a yaw is {worst}, must be in [-pi, pi): apply wrap_angle")
        if scores.shape != (len(boxes),):
            raise ValueError(f"scores of shape {scores.shape} for {len(boxes)} boxes")
        if scores.size and not ((scores >= 0.0) & (scores <= 1.0)).all():
            raise ValueError("a score is outside [0, 1]")
        labels = np.asarray(self.labels)
        if labels.shape != (len(boxes),):
            raise ValueError(f"labels of shape {labels.shape} for {len(boxes)} boxes")
        if labels.size and labels.dtype.kind not in "iu":
            raise ValueError(f"labels are {labels.dtype}, must be integers")
        labels = np.ascontiguousarray(labels, dtype=np.int64)
        if labels.size and labels.min() < -1:
            raise ValueError(f"a label is {labels.min()}, must be at least -1")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", labels)

    @classmethod
    def empty(cls) -> Boxes3D:
        """Returns the value for a scan without boxes."""
        return cls(np.zeros((0, 7), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: NDArray[np.integer[Any]] | NDArray[np.bool_] | slice) -> Boxes3D:
        """Returns the boxes that an index array, a boolean mask or a slice names, in its order."""
        return Boxes3D(self.boxes[index], self.scores[index], self.labels[index])


@overload
def wrap_angle(yaw: float) -> float: ...
@overload
def wrap_angle(yaw: NDArray[_Float]) -> NDArray[_Float]: ...
def wrap_angle(yaw: float | NDArray[_Float]) -> float | NDArray[_Float]:
    """Returns the angle in [-pi, pi) [rad]; a value already there is returned unchanged.

    An array keeps its floating dtype, and its result lies in the half-open interval in that dtype
    as well: the single-precision number nearest to pi is larger than pi and is never returned.
    """
    angle = np.asarray(yaw, dtype=np.float64)
    wrapped = np.mod(angle + math.pi, 2.0 * math.pi) - math.pi
    wrapped = np.where((angle >= -math.pi) & (angle < math.pi), angle, wrapped)
    if not isinstance(yaw, np.ndarray):
        return min(float(wrapped), math.nextafter(math.pi, 0.0))
    nearest_pi = yaw.dtype.type(math.pi)
    upper = np.nextafter(nearest_pi, yaw.dtype.type(0))
    lower = -nearest_pi if float(nearest_pi) <= math.pi else -upper
    return np.clip(wrapped.astype(yaw.dtype), lower, upper)


def bev_corners(boxes: ArrayLike) -> NDArray[np.float64]:
    """Returns the corners of boxes seen from above.

    Args:
        boxes: (N, 7) boxes in the LiDAR frame.

    Returns:
        (N, 4, 2) float64 x, y [m]: counter-clockwise from the front left one.

    Raises:
        ValueError: If the shape is wrong, a value is not finite or a size is negative.
    """
    checked = check_boxes(boxes)
    signs = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    local = signs[None] * checked[:, None, 3:5]  # (N, 4, 2)
    cos, sin = np.cos(checked[:, 6]), np.sin(checked[:, 6])
    turned = np.empty_like(local)
    turned[..., 0] = local[..., 0] * cos[:, None] - local[..., 1] * sin[:, None]
    turned[..., 1] = local[..., 0] * sin[:, None] + local[..., 1] * cos[:, None]
    return turned + checked[:, None, :2]


def corners_3d(boxes: ArrayLike) -> NDArray[np.float64]:
    """Returns the eight corners of boxes.

    Args:
        boxes: (N, 7) boxes in the LiDAR frame.

    Returns:
        (N, 8, 3) float64 x, y, z [m]: the four of `bev_corners` at the bottom, then at the top.

    Raises:
        ValueError: If the shape is wrong, a value is not finite or a size is negative.
    """
    checked = check_boxes(boxes)
    corners = np.empty((len(checked), 8, 3))
    corners[:, :4, :2] = corners[:, 4:, :2] = bev_corners(checked)
    corners[:, :4, 2] = (checked[:, 2] - 0.5 * checked[:, 5])[:, None]
    corners[:, 4:, 2] = (checked[:, 2] + 0.5 * checked[:, 5])[:, None]
    return corners


def points_in_boxes(points: ArrayLike, boxes: ArrayLike) -> NDArray[np.int32]:
    """Returns for each point the first box that holds it, faces included.

    Args:
        points: (N, 3 or more) x, y, z [m], LiDAR frame; a non-finite point is in no box.
        boxes: (M, 7) boxes in the same frame.

    Returns:
        (N,) int32 index of a box, or -1.

    Raises:
        ValueError: If a shape is wrong, or a box is not finite or of negative size.
    """
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"points have the shape {array.shape}, must be (N, 3) or wider")
    xyz = np.ascontiguousarray(array[:, :3], dtype=np.float64)
    index: NDArray[np.int32] = _first_box(xyz, check_boxes(boxes))
    return index


@njit
def _first_box(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.int32]:
    """Returns the (N,) int32 index of the first box that holds each point, or -1."""
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    index = np.full(points.shape[0], -1, dtype=np.int32)
    for i in range(points.shape[0]):
        for j in range(boxes.shape[0]):
            if not abs(points[i, 2] - boxes[j, 2]) <= 0.5 * boxes[j, 5]:
                continue
            dx = points[i, 0] - boxes[j, 0]
            dy = points[i, 1] - boxes[j, 1]
            along = cos[j] * dx + sin[j] * dy
            across = cos[j] * dy - sin[j] * dx
            if abs(along) <= 0.5 * boxes[j, 3] and abs(across) <= 0.5 * boxes[j, 4]:
                index[i] = j
                break
    return index
