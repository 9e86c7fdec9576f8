# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Targets of a frame: what each head should have predicted, and where it is not judged.

Those of the anchor head are in ``training/anchor_targets.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import IGNORED, points_in_boxes
from eloss_perception.detection.decode_center import NUM_BOX_CHANNELS, encode_box
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import AnchorHead, CenterHead
from eloss_perception.training.anchor_targets import make_anchor_targets
from eloss_perception.training.data.frames import Frame

# Fewer returns than this and nobody, the annotator included, can tell what the object is.
MIN_POINTS = 5

# A cell learns the box of the nearest object where that object's Gaussian exceeds this.
_MIN_BOX_WEIGHT = 0.4

# Arrays of one frame by name; every frame's have the same shapes, so that they stack.
Targets = dict[str, npt.NDArray[Any]]


def make_targets(
    frame: Frame, grid: PillarGrid, head: CenterHead | AnchorHead, num_classes: int
) -> Targets:
    """Draws the targets of a frame for either head.

    Objects with fewer than five returns and objects labelled -1 are neither positive nor negative:
    the head is not judged where they stand.

    Args:
        frame: The labelled scan.
        grid: The pillar grid.
        head: The network's head.
        num_classes: Number of classes.

    Returns:
        What :func:`make_center_targets` or :func:`make_anchor_targets` says.
    """
    owners = points_in_boxes(frame.points, frame.boxes)
    num_points = np.bincount(owners[owners >= 0], minlength=len(frame.boxes))
    not_judged = (frame.labels == IGNORED) | (num_points < MIN_POINTS)
    if isinstance(head, CenterHead):
        return make_center_targets(frame, not_judged, grid, head, num_classes)
    return make_anchor_targets(frame, not_judged, grid, head)


def make_center_targets(
    frame: Frame,
    not_judged: npt.NDArray[np.bool_],
    grid: PillarGrid,
    head: CenterHead,
    num_classes: int,
) -> Targets:
    """Draws the targets of a centre head: heatmap and box parameters.

    Args:
        frame: The labelled scan.
        not_judged: (N,) objects over whose footprint the heatmap is not judged.
        grid: The pillar grid.
        head: The head, on whose (H, W) grid the targets lie.
        num_classes: Number of classes.

    Returns:
        All float32:
        ``heatmap`` (num_classes, H, W), 1 at an object's cell, a Gaussian around it, else 0;
        ``heatmap_weight`` (num_classes, H, W), 0 where an object is not judged, else 1;
        ``boxes`` (9, H, W), box parameters (``detection/decode_center.py``), ``box_weight`` > 0;
        ``box_weight`` (H, W), weight of the box parameters.
    """
    stride = head.stride
    height, width = grid.num_y // stride, grid.num_x // stride
    cell_x, cell_y = grid.voxel_size[0] * stride, grid.voxel_size[1] * stride
    x_min, y_min = grid.point_cloud_range[:2]
    center_x = x_min + (np.arange(width, dtype=np.float32) + 0.5) * cell_x
    center_y = y_min + (np.arange(height, dtype=np.float32) + 0.5) * cell_y
    heatmap = np.zeros((num_classes, height, width), np.float32)
    heatmap_weight = np.ones_like(heatmap)
    boxes = np.zeros((NUM_BOX_CHANNELS, height, width), np.float32)
    box_weight = np.zeros((height, width), np.float32)

    for box, label, hidden in zip(frame.boxes, frame.labels, not_judged, strict=True):
        column = int((box[0] - x_min) // cell_x)
        row = int((box[1] - y_min) // cell_y)
        reach = int(np.ceil(0.5 * np.hypot(box[3], box[4]) / min(cell_x, cell_y))) + 3
        rows, columns = _around(row, reach, height), _around(column, reach, width)
        dx = center_x[columns][None, :] - box[0]
        dy = center_y[rows][:, None] - box[1]
        if hidden:
            footprint = _inside(dx, dy, box, margin=0.5 * cell_x)
            affected = slice(None) if label == IGNORED else slice(label, label + 1)
            heatmap_weight[affected, rows, columns][:, footprint] = 0.0
            continue
        if not (0 <= row < height and 0 <= column < width):
            continue
        gaussian = _oriented_gaussian(dx, dy, box, min(cell_x, cell_y))
        region = heatmap[label, rows, columns]
        np.maximum(region, gaussian, out=region)
        claimed = (gaussian > _MIN_BOX_WEIGHT) & (gaussian > box_weight[rows, columns])
        claimed[row - rows.start, column - columns.start] = True
        r, c = np.nonzero(claimed)
        box_weight[rows, columns][r, c] = gaussian[r, c]
        r, c = r + rows.start, c + columns.start
        cell_centers = np.stack([center_x[c], center_y[r]], axis=1)  # (cells, 2)
        boxes[:, r, c] = encode_box(box, cell_centers, (cell_x, cell_y))
        heatmap[label, row, column] = 1.0
        box_weight[row, column] = 1.0
    # An object outweighs the ignored one that it stands beside.
    heatmap_weight[heatmap > _MIN_BOX_WEIGHT] = 1.0
    maps = {"heatmap": heatmap, "heatmap_weight": heatmap_weight}
    return maps | {"boxes": boxes, "box_weight": box_weight}


def _around(index: int, reach: int, count: int) -> slice:
    """The cells within reach of one, cut to the grid."""
    return slice(max(index - reach, 0), max(min(index + reach + 1, count), 0))


def _to_box_axes(
    dx: npt.NDArray[np.float32], dy: npt.NDArray[np.float32], box: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Offsets from the box's centre along its length and its width."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    return dx * cos + dy * sin, -dx * sin + dy * cos


def _inside(
    dx: npt.NDArray[np.float32],
    dy: npt.NDArray[np.float32],
    box: npt.NDArray[np.float32],
    margin: float,
) -> npt.NDArray[np.bool_]:
    """Cells whose centre lies in the box's footprint grown by ``margin``."""
    along, across = _to_box_axes(dx, dy, box)
    return (np.abs(along) < box[3] / 2 + margin) & (np.abs(across) < box[4] / 2 + margin)


def _oriented_gaussian(
    dx: npt.NDArray[np.float32],
    dy: npt.NDArray[np.float32],
    box: npt.NDArray[np.float32],
    cell_size: float,
) -> npt.NDArray[np.float32]:
    """A Gaussian in the shape of the box, at least 0.7 cells wide so that its peak is sampled."""
    along, across = _to_box_axes(dx, dy, box)
    sigma_along = max(box[3] / 5.0, 0.7 * cell_size)
    sigma_across = max(box[4] / 5.0, 0.7 * cell_size)
    gaussian = np.exp(-0.5 * ((along / sigma_along) ** 2 + (across / sigma_across) ** 2))
    # Below 1 everywhere: 1 marks the centre's own cell, which the focal loss treats apart.
    return np.minimum(gaussian, 0.95).astype(np.float32)
