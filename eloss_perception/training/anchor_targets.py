# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Targets of an anchor head: which anchors belong to an object, and their residuals.

The assignment of PointPillars (section 4.2, after SECOND and SSD). An anchor and an object of its
class are compared by the bird's-eye IoU of their *nearest axis-aligned* footprints: each box is
turned to the multiple of 90° nearest to its yaw. An anchor is an object's where that IoU reaches
the anchor's positive limit, or where no anchor fits the object better; background where it stays
below the negative limit with every object; in between it is not judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import IGNORED
from eloss_perception.detection.compiled import njit
from eloss_perception.detection.decode_anchors import (
    NUM_ANCHOR_CHANNELS,
    anchor_boxes,
    encode_residuals,
)
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import AnchorHead
from eloss_perception.training.data.frames import Frame

# Positives are listed, not drawn as a map: a map of residuals would be ten megabytes of zeros per
# frame. A crowded sweep (100 objects) has about a thousand; beyond the limit the worst are dropped.
MAX_POSITIVES = 2048

_BACKGROUND, _NOT_JUDGED = -1, -2


def make_anchor_targets(
    frame: Frame, not_judged: npt.NDArray[np.bool_], grid: PillarGrid, head: AnchorHead
) -> dict[str, npt.NDArray[Any]]:
    """Assigns the anchors of a frame.

    Args:
        frame: The labelled scan.
        not_judged: (N,) objects that are neither positive nor negative: anchors of their class, of
            every class for label -1, whose centre they cover are not judged.
        grid: The pillar grid.
        head: The head with A anchors a cell, H × W cells.

    Returns:
        ``anchor_class`` (A, H, W) int8: 1 an object's anchor, 0 background, -1 not judged;
        ``positives`` (M,) int64: flat indices of the objects' anchors into (A, H, W), ascending;
        free places hold -1; M is ``MAX_POSITIVES``;
        ``residuals`` (M, 8) float32: theirs, see ``detection/decode_anchors.py``.
    """
    height, width = grid.num_y // head.stride, grid.num_x // head.stride
    kinds = head.anchors
    boxes = frame.boxes.astype(np.float64).reshape(-1, 7)
    footprints = _axis_aligned(boxes[:, 3:5], boxes[:, 6])
    anchor_footprints = _axis_aligned(
        np.array([k.size[:2] for k in kinds], np.float64),
        np.array([k.yaw for k in kinds], np.float64),
    )
    x_min, y_min, _, x_max, y_max, _ = grid.point_cloud_range
    in_grid = (
        (x_min <= boxes[:, 0]) & (boxes[:, 0] < x_max)
        & (y_min <= boxes[:, 1]) & (boxes[:, 1] < y_max)
    )  # fmt: skip
    anchor_labels = np.array([k.label for k in kinds], np.int64)
    origin = np.array([x_min, y_min], np.float64)
    cell = np.array(grid.voxel_size, np.float64) * head.stride
    owners, ious = _assign(
        boxes,
        footprints,
        frame.labels.astype(np.int64),
        in_grid & ~not_judged,
        anchor_footprints,
        anchor_labels,
        np.array([[k.negative_iou, k.positive_iou] for k in kinds], np.float64),
        origin,
        cell,
        height,
        width,
    )
    _hide(owners, boxes[not_judged], frame.labels[not_judged], anchor_labels, origin, cell)
    return _listed(owners, ious, boxes, head, grid)


def _listed(
    owners: npt.NDArray[np.int32],
    ious: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float64],
    head: AnchorHead,
    grid: PillarGrid,
) -> dict[str, npt.NDArray[Any]]:
    """The targets of :func:`make_anchor_targets`, from the (A, H, W) owner of each anchor."""
    shape, num_cells = owners.shape, owners[0].size
    owners = owners.ravel()
    positives = np.flatnonzero(owners >= 0)
    if len(positives) > MAX_POSITIVES:
        order = np.argsort(-ious.ravel()[positives], kind="stable")
        owners[positives[order[MAX_POSITIVES:]]] = _NOT_JUDGED
        positives = np.sort(positives[order[:MAX_POSITIVES]])
    listed = np.full(MAX_POSITIVES, -1, np.int64)
    listed[: len(positives)] = positives
    residuals = np.zeros((MAX_POSITIVES, NUM_ANCHOR_CHANNELS), np.float32)
    anchors, cells = np.divmod(positives, num_cells)
    for index in range(len(head.anchors)):
        own = np.flatnonzero(anchors == index)
        residuals[own] = encode_residuals(
            boxes[owners[positives[own]]], anchor_boxes(head, grid, index, cells[own])
        )
    anchor_class = np.where(owners >= 0, 1, np.where(owners == _BACKGROUND, 0, -1))
    return {
        "anchor_class": anchor_class.astype(np.int8).reshape(shape),
        "positives": listed,
        "residuals": residuals,
    }


def _axis_aligned(
    sizes: npt.NDArray[np.float64], yaw: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Extents (N, 2) along x and y after turning each box to the nearest multiple of 90°."""
    across = np.abs(np.sin(yaw)) > np.abs(np.cos(yaw))
    return np.where(across[:, None], sizes[:, ::-1], sizes)


@njit
def _assign(
    boxes: Any,
    footprints: Any,
    labels: Any,
    wanted: Any,
    anchor_footprints: Any,
    anchor_labels: Any,
    limits: Any,
    origin: Any,
    cell: Any,
    height: int,
    width: int,
) -> Any:
    """Index of the object of every anchor, or background or not judged, and the IoU with it."""
    num_anchors = len(anchor_footprints)
    owners = np.full((num_anchors, height, width), _BACKGROUND, np.int32)
    ious = np.zeros((num_anchors, height, width), np.float32)
    # Each object in turn; an anchor goes to the object that it fits best, the first of equals.
    best_of_object = np.zeros(len(boxes), np.float32)
    for pass_number in range(2):
        for i in range(len(boxes)):
            if not wanted[i]:
                continue
            for a in range(num_anchors):
                if anchor_labels[a] != labels[i]:
                    continue
                reach_x = 0.5 * (footprints[i, 0] + anchor_footprints[a, 0])
                reach_y = 0.5 * (footprints[i, 1] + anchor_footprints[a, 1])
                columns = _window(boxes[i, 0] - origin[0], reach_x, cell[0], width)
                rows = _window(boxes[i, 1] - origin[1], reach_y, cell[1], height)
                for row in range(rows[0], rows[1]):
                    for column in range(columns[0], columns[1]):
                        iou = _aligned_iou(
                            origin[0] + (column + 0.5) * cell[0] - boxes[i, 0],
                            origin[1] + (row + 0.5) * cell[1] - boxes[i, 1],
                            footprints[i],
                            anchor_footprints[a],
                        )
                        if pass_number == 0:
                            best_of_object[i] = max(best_of_object[i], iou)
                            if iou > ious[a, row, column]:
                                ious[a, row, column] = iou
                                if iou >= limits[a, 1]:
                                    owners[a, row, column] = i
                                elif iou >= limits[a, 0]:
                                    owners[a, row, column] = _NOT_JUDGED
                        # No object goes without: its best anchors are its own in any case, of
                        # equals those of the later object.
                        elif iou > 0.0 and iou == best_of_object[i]:
                            owners[a, row, column] = i
                            ious[a, row, column] = iou
    return owners, ious


@njit
def _hide(owners: Any, boxes: Any, labels: Any, anchor_labels: Any, origin: Any, cell: Any) -> None:
    """Marks anchors at ignored objects, which no other object owns, as not judged."""
    num_anchors, height, width = owners.shape
    for i in range(len(boxes)):
        cos, sin = np.cos(boxes[i, 6]), np.sin(boxes[i, 6])
        reach = 0.5 * np.hypot(boxes[i, 3], boxes[i, 4])
        columns = _window(boxes[i, 0] - origin[0], reach, cell[0], width)
        rows = _window(boxes[i, 1] - origin[1], reach, cell[1], height)
        for row in range(rows[0], rows[1]):
            for column in range(columns[0], columns[1]):
                dx = origin[0] + (column + 0.5) * cell[0] - boxes[i, 0]
                dy = origin[1] + (row + 0.5) * cell[1] - boxes[i, 1]
                along, across = dx * cos + dy * sin, dy * cos - dx * sin
                if abs(along) > 0.5 * boxes[i, 3] or abs(across) > 0.5 * boxes[i, 4]:
                    continue
                for a in range(num_anchors):
                    # An object outweighs the ignored one that it stands beside.
                    if owners[a, row, column] < 0 and (
                        labels[i] == IGNORED or labels[i] == anchor_labels[a]
                    ):
                        owners[a, row, column] = _NOT_JUDGED


@njit
def _window(offset: float, reach: float, cell: float, count: int) -> Any:
    """First and last + 1 index of the cells whose centre may lie within reach, cut to the grid."""
    # Cut before they become integers, which the window of a box of any size may not fit.
    first = min(max(0.0, np.floor((offset - reach) / cell - 0.5)), count)
    last = min(max(0.0, np.ceil((offset + reach) / cell - 0.5) + 1.0), count)
    return int(first), int(last)


@njit
def _aligned_iou(dx: float, dy: float, a: Any, b: Any) -> Any:
    """IoU of two axis-aligned rectangles of extents a and b, their centres (dx, dy) apart."""
    overlap_x = min(min(a[0], b[0]), 0.5 * (a[0] + b[0]) - abs(dx))
    overlap_y = min(min(a[1], b[1]), 0.5 * (a[1] + b[1]) - abs(dy))
    if overlap_x <= 0.0 or overlap_y <= 0.0:
        return np.float32(0.0)
    overlap = overlap_x * overlap_y
    return np.float32(overlap / (a[0] * a[1] + b[0] * b[1] - overlap))
