# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The anchor head's maps to boxes: residuals against the anchor that stands in every cell.

The eight channels of an anchor (SECOND, Yan et al. 2018, section 3.3; PointPillars, section 3.1),
with d the diagonal of the anchor's footprint, and their inverse in :func:`encode_residuals`:

    0, 1  (x - x_a) / d, (y - y_a) / d
    2     (z - z_a) / h_a
    3-5   log(l / l_a), log(w / w_a), log(h / h_a)
    6     yaw - yaw_a, learned through its sine, which cannot tell a box's front from its back
    7     logit of "yaw is in [π/4, 5π/4)", which can; the limits stay clear of the two directions
          that traffic mostly keeps
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import wrap_angle
from eloss_perception.detection.compiled import njit
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import (
    MAX_SIZE,
    MIN_SIZE,
    AnchorHead,
    count_from,
    least_logit,
    probability,
)

NUM_ANCHOR_CHANNELS = 8

# Start of the half turn that channel 7 marks.
_HEADING_START = math.pi / 4

# Candidates per class that enter NMS: a few dozen anchors around every road user in view.
_MAX_CANDIDATES = 1024


def encode_residuals(
    boxes: npt.NDArray[np.floating], anchors: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Targets of the head for boxes at the anchors that match them.

    Args:
        boxes: (N, 7) boxes.
        anchors: (N, 7) an anchor for each, as a box.

    Returns:
        (N, 8) float32; column 7 holds the target probability of its logit.
    """
    boxes, anchors = boxes.astype(np.float64), anchors.astype(np.float64)
    diagonal = np.hypot(anchors[:, 3], anchors[:, 4])  # (N,)
    scale = np.stack([diagonal, diagonal, anchors[:, 5]], axis=1)  # (N, 3)
    heading = (boxes[:, 6] - _HEADING_START) % (2.0 * math.pi) < math.pi
    return np.concatenate(
        [
            (boxes[:, :3] - anchors[:, :3]) / scale,
            np.log(np.clip(boxes[:, 3:6], MIN_SIZE, MAX_SIZE) / anchors[:, 3:6]),
            (boxes[:, 6] - anchors[:, 6])[:, None],
            heading[:, None],
        ],
        axis=1,
    ).astype(np.float32)  # (N, 8)


def anchor_boxes(
    head: AnchorHead, grid: PillarGrid, anchor: int, cells: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """One anchor's boxes (N, 7) at the given flat indices of head cells."""
    kind = head.anchors[anchor]
    width = grid.num_x // head.stride
    x_min, y_min = grid.point_cloud_range[:2]
    boxes = np.empty((len(cells), 7), np.float64)
    boxes[:, 0] = x_min + (cells % width + 0.5) * grid.voxel_size[0] * head.stride
    boxes[:, 1] = y_min + (cells // width + 0.5) * grid.voxel_size[1] * head.stride
    boxes[:, 2:] = (kind.z, *kind.size, kind.yaw)
    return boxes


def anchor_candidates(
    class_logits: npt.NDArray[np.float32],
    box_regression: npt.NDArray[np.float32],
    head: AnchorHead,
    grid: PillarGrid,
    score_thresholds: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes whose anchor's probability reaches its class's threshold, the best of a class first.

    Ties keep the order of the anchors, then of the cells.

    Args:
        class_logits: (A, H, W) logits of each anchor's class.
        box_regression: (A * 8, H, W) residuals.
        head: The head.
        grid: The pillar grid.
        score_thresholds: (num_classes,) least probability per class.

    Returns:
        Finite boxes (N, 7), their scores (N,) and labels (N,), class by class.
    """
    found = [
        _best_anchors(class_logits, head, label, threshold)
        for label, threshold in enumerate(score_thresholds)
    ]
    owners, cells, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    labels = np.repeat(np.arange(len(found)), [len(of_class) for of_class, _, _ in found])
    residuals = box_regression.reshape(len(head.anchors), NUM_ANCHOR_CHANNELS, -1)
    values = residuals[owners, :, cells].astype(np.float64)  # (N, 8)
    anchors = np.empty((len(cells), 7), np.float64)
    for index in range(len(head.anchors)):
        anchors[owners == index] = anchor_boxes(head, grid, index, cells[owners == index])
    boxes, finite = _decode_residuals(values, anchors)
    return boxes[finite], scores[finite], labels[finite]


def _best_anchors(
    class_logits: npt.NDArray[np.float32], head: AnchorHead, label: int, threshold: np.float32
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Anchors, cells and probabilities of one class's best candidates, best first."""
    own = [index for index, anchor in enumerate(head.anchors) if anchor.label == label]
    found = [_find_scores(class_logits[index], threshold) for index in own]
    owners = np.repeat(own, [len(cells) for cells, _ in found])
    cells = np.concatenate([cells for cells, _ in found])
    scores = np.concatenate([values for _, values in found])
    best = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    return owners[best], cells[best], scores[best]


@njit
def _find_scores(logits: Any, threshold: Any) -> Any:
    """Flat indices and probabilities of the (H, W) logits that reach the threshold."""
    least = least_logit(threshold)
    num_candidates = count_from(logits, least)
    cells = np.empty(num_candidates, np.int64)
    scores = np.empty(num_candidates, np.float32)
    count = 0
    for row in range(logits.shape[0]):
        for column in range(logits.shape[1]):
            value = logits[row, column]
            if not value >= least:  # also refuses NaN
                continue
            score = probability(value)
            if score >= threshold:
                cells[count] = row * logits.shape[1] + column
                scores[count] = score
                count += 1
    return cells[:count], scores[:count]


def _decode_residuals(
    values: npt.NDArray[np.float64], anchors: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Boxes (N, 7) of residuals (N, 8) at anchors (N, 7), and which are finite throughout."""
    diagonal = np.hypot(anchors[:, 3], anchors[:, 4])  # (N,)
    scale = np.stack([diagonal, diagonal, anchors[:, 5]], axis=1)  # (N, 3)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite boxes are refused below
        centers = anchors[:, :3] + values[:, :3] * scale
        log_sizes = np.log(anchors[:, 3:6]) + values[:, 3:6]
        sizes = np.exp(np.clip(log_sizes, np.log(MIN_SIZE), np.log(MAX_SIZE)))
        # The axis, moved by half turns into [π/4, 5π/4); the heading may then turn it around.
        axis = (anchors[:, 6] + values[:, 6] - _HEADING_START) % math.pi + _HEADING_START
        yaw = np.where(values[:, 7] >= 0.0, axis, axis + math.pi)
        boxes = np.concatenate([centers, sizes, yaw[:, None]], axis=1).astype(np.float32)
    finite = np.asarray(np.isfinite(values).all(axis=1) & np.isfinite(boxes).all(axis=1))
    boxes[finite, 6] = wrap_angle(boxes[finite, 6])
    return boxes, finite
