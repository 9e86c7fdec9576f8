# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Exact overlap of rotated boxes: bird's-eye-view IoU, 3D IoU and non-maximum suppression.

One box of a pair is moved into the other's own frame, where the other is axis-aligned. Clipping a
convex polygon against four axis-aligned half-planes needs no tolerance: a crossing is computed only
for an edge whose ends lie strictly on opposite sides, so that no division is by zero (Sutherland
and Hodgman, "Reentrant polygon clipping", 1974).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eloss_perception.detection.compiled import njit

# A rectangle has four corners, and each of the four half-planes can add one: eight. But rounding
# may bend the sides of a very thin one, and such a cut adds half as many as there are: 4, 6, 9, 13.
_MAX_CORNERS = 19


def bev_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Returns the intersection over union of every pair of boxes seen from above.

    Args:
        a: (N, 7) boxes x, y, z, length, width, height, yaw; metres and radians, LiDAR frame.
        b: (M, 7) boxes, the same.

    Returns:
        (N, M) float64 in [0, 1]; 0 for a pair that only touches or where a box has no area.

    Raises:
        ValueError: If a shape is wrong, a value is not finite or a size is negative.
    """
    iou: NDArray[np.float64] = _pairwise_iou(check_boxes(a), check_boxes(b), False)
    return iou


def iou_3d(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Returns the intersection over union of the volumes of every pair of upright boxes.

    Args:
        a: (N, 7) boxes x, y, z, length, width, height, yaw; metres and radians, LiDAR frame.
        b: (M, 7) boxes, the same.

    Returns:
        (N, M) float64 in [0, 1]; 0 for a pair that only touches or where a box has no volume.

    Raises:
        ValueError: If a shape is wrong, a value is not finite or a size is negative.
    """
    iou: NDArray[np.float64] = _pairwise_iou(check_boxes(a), check_boxes(b), True)
    return iou


def nms_bev(
    boxes: ArrayLike,
    scores: ArrayLike,
    iou_threshold: float,
    max_num: int,
    labels: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Keeps the best-scored boxes that do not overlap a better one by more than a threshold.

    Args:
        boxes: (N, 7) boxes x, y, z, length, width, height, yaw; metres and radians, LiDAR frame.
        scores: (N,) scores; equal scores are taken in the order of their index.
        iou_threshold: A box is dropped when its bird's-eye-view IoU with a kept one exceeds this.
        max_num: Stop after so many boxes.
        labels: (N,) integers: boxes of different labels do not compete; none is one label for all.

    Returns:
        (K,) int64 indices into `boxes` by descending score, K <= max_num.

    Raises:
        ValueError: If a shape is wrong, a value is not finite, a size or `max_num` is negative or
            the threshold is outside [0, 1].
    """
    checked = check_boxes(boxes)
    checked_scores = np.asarray(scores, dtype=np.float64)
    if checked_scores.shape != (len(checked),):
        raise ValueError(f"scores of shape {checked_scores.shape} for {len(checked)} boxes")
    checked_labels = np.zeros(len(checked)) if labels is None else np.asarray(labels)
    checked_labels = checked_labels.astype(np.int64)
    if checked_labels.shape != (len(checked),):
        raise ValueError(f"labels of shape {checked_labels.shape} for {len(checked)} boxes")
    if not np.isfinite(checked_scores).all():
        raise ValueError("scores hold a value that is not finite")
    if not 0.0 <= iou_threshold <= 1.0:
        raise ValueError(f"iou_threshold is {iou_threshold}, must be in [0, 1]")
    if max_num < 0:
        raise ValueError(f"max_num is {max_num}, must not be negative")
    order: NDArray[np.int64] = np.argsort(-checked_scores, kind="stable").astype(np.int64)
    kept: NDArray[np.int64] = _suppress(
        checked[order], checked_labels[order], float(iou_threshold), int(max_num)
    )
    return order[kept]


def check_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Returns boxes as a contiguous (N, 7) float64 array, refusing what the geometry cannot bear.

    Raises:
        ValueError: If the shape is wrong, a value is not finite or a size is negative.
    """
    array = np.ascontiguousarray(boxes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 7:
        raise ValueError(f"boxes have the shape {array.shape}, must be (N, 7)")
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise ValueError(f"box {row} is not finite: {array[row].tolist()}")
    if array.size and array[:, 3:6].min() < 0.0:
        row = int(np.flatnonzero((array[:, 3:6] < 0.0).any(axis=1))[0])
        raise ValueError(f"box {row} has a negative size: {array[row, 3:6].tolist()}")
    return array


@njit
def _pairwise_iou(
    a: NDArray[np.float64], b: NDArray[np.float64], use_height: bool
) -> NDArray[np.float64]:
    """Fill the (N, M) matrix of IoU over areas, or over volumes with `use_height`."""
    iou = np.zeros((a.shape[0], b.shape[0]))
    buffer = np.empty((2, _MAX_CORNERS, 2))
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            overlap = _intersection_area(a[i], b[j], buffer)
            size_a = a[i, 3] * a[i, 4]
            size_b = b[j, 3] * b[j, 4]
            if use_height:
                top = min(a[i, 2] + 0.5 * a[i, 5], b[j, 2] + 0.5 * b[j, 5])
                bottom = max(a[i, 2] - 0.5 * a[i, 5], b[j, 2] - 0.5 * b[j, 5])
                # Rounding of the ends must not make the overlap exceed a box's own height.
                overlap *= min(max(top - bottom, 0.0), a[i, 5], b[j, 5])
                size_a *= a[i, 5]
                size_b *= b[j, 5]
            union = size_a + size_b - overlap
            if union > 0.0:
                iou[i, j] = min(overlap / union, 1.0)
    return iou


@njit
def _suppress(
    boxes: NDArray[np.float64], labels: NDArray[np.int64], iou_threshold: float, max_num: int
) -> NDArray[np.int64]:
    """Returns the indices that survive greedy suppression of boxes sorted by descending score."""
    num_boxes = boxes.shape[0]
    suppressed = np.zeros(num_boxes, dtype=np.bool_)
    kept = np.empty(min(num_boxes, max_num), dtype=np.int64)
    buffer = np.empty((2, _MAX_CORNERS, 2))
    areas = boxes[:, 3] * boxes[:, 4]
    radii = 0.5 * np.sqrt(boxes[:, 3] ** 2 + boxes[:, 4] ** 2)
    num_kept = 0
    for i in range(num_boxes):
        if num_kept == kept.shape[0]:
            break
        if suppressed[i]:
            continue
        kept[num_kept] = i
        num_kept += 1
        for j in range(i + 1, num_boxes):
            if suppressed[j] or labels[j] != labels[i]:
                continue
            dx, dy, reach = (
                boxes[j, 0] - boxes[i, 0],
                boxes[j, 1] - boxes[i, 1],
                radii[i] + radii[j],
            )
            if dx * dx + dy * dy >= reach * reach:
                continue
            # The smaller area over the larger bounds the IoU: the unequal need no clipping.
            if min(areas[i], areas[j]) <= iou_threshold * max(areas[i], areas[j]):
                continue
            overlap = _intersection_area(boxes[i], boxes[j], buffer)
            if overlap > iou_threshold * (areas[i] + areas[j] - overlap):
                suppressed[j] = True
    return kept[:num_kept]


@njit
def _intersection_area(
    a: NDArray[np.float64], b: NDArray[np.float64], buffer: NDArray[np.float64]
) -> float:
    """Returns the area that two boxes share seen from above; `buffer` is (2, 19, 2) scratch."""
    dx = b[0] - a[0]
    dy = b[1] - a[1]
    half_length_a, half_width_a = 0.5 * a[3], 0.5 * a[4]
    half_length_b, half_width_b = 0.5 * b[3], 0.5 * b[4]
    reach = math.hypot(half_length_a, half_width_a) + math.hypot(half_length_b, half_width_b)
    if dx * dx + dy * dy >= reach * reach:
        return 0.0

    cos_a, sin_a = math.cos(a[6]), math.sin(a[6])
    centre_x = cos_a * dx + sin_a * dy
    centre_y = cos_a * dy - sin_a * dx
    relative_yaw = b[6] - a[6]
    cos_b, sin_b = math.cos(relative_yaw), math.sin(relative_yaw)
    for k in range(4):
        # Corners counter-clockwise from the front left one.
        u = half_length_b if k == 0 or k == 3 else -half_length_b
        v = half_width_b if k < 2 else -half_width_b
        buffer[0, k, 0] = centre_x + cos_b * u - sin_b * v
        buffer[0, k, 1] = centre_y + sin_b * u + cos_b * v

    count = _clip(buffer[0], 4, 0, half_length_a, buffer[1])
    count = _clip(buffer[1], count, 0, -half_length_a, buffer[0])
    count = _clip(buffer[0], count, 1, half_width_a, buffer[1])
    count = _clip(buffer[1], count, 1, -half_width_a, buffer[0])

    doubled = 0.0
    for k in range(1, count - 1):
        # Relative to the first corner, so that a far polygon loses no digits.
        doubled += (buffer[0, k, 0] - buffer[0, 0, 0]) * (buffer[0, k + 1, 1] - buffer[0, 0, 1]) - (
            buffer[0, k + 1, 0] - buffer[0, 0, 0]
        ) * (buffer[0, k, 1] - buffer[0, 0, 1])
    area: float = min(max(0.5 * doubled, 0.0), a[3] * a[4], b[3] * b[4])
    return area


@njit
def _clip(
    polygon: NDArray[np.float64], count: int, axis: int, limit: float, clipped: NDArray[np.float64]
) -> int:
    """Cut a polygon at `axis` <= limit (limit >= 0, upper side) or >= limit (lower side).

    A zero limit serves both sides of a box without size, whose area is zero either way.
    """
    sign = 1.0 if limit >= 0.0 else -1.0
    bound = abs(limit)
    other = 1 - axis
    num_clipped = 0
    for k in range(count):
        following = k + 1 if k + 1 < count else 0
        here = sign * polygon[k, axis]
        there = sign * polygon[following, axis]
        if here <= bound:
            clipped[num_clipped, 0] = polygon[k, 0]
            clipped[num_clipped, 1] = polygon[k, 1]
            num_clipped += 1
        if (here < bound and there > bound) or (here > bound and there < bound):
            fraction = (bound - here) / (there - here)
            start = polygon[k, other]
            clipped[num_clipped, axis] = sign * bound
            clipped[num_clipped, other] = start + fraction * (polygon[following, other] - start)
            num_clipped += 1
    return num_clipped
