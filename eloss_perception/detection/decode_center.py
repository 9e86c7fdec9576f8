# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The centre head's maps to boxes: peaks of the heatmap and their box parameters.

The box parameters of a cell, and their inverse in :func:`encode_box`:

    0, 1  centre minus the cell's centre, in head cells (x, y)
    2     z of the centre [m]
    3-5   log of length, width, height [log m]
    6, 7  sin 2·yaw, cos 2·yaw: the axis of the box, equal for both headings, so that an object
          whose front cannot be told from its back still has a sharp axis
    8     logit of "the heading is the axis angle in (-π/2, π/2]"
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import wrap_angle
from eloss_perception.detection.compiled import njit
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import (
    MAX_SIZE,
    MIN_SIZE,
    CenterHead,
    count_from,
    least_logit,
    probability,
)

NUM_BOX_CHANNELS = 9

# Candidates per class that enter NMS; far above the number of road users in view.
_MAX_CANDIDATES = 256


def encode_box(
    box: npt.NDArray[np.floating],
    cell_centers: npt.NDArray[np.floating],
    cell_size: tuple[float, float],
) -> npt.NDArray[np.float32]:
    """Box parameters of one box for head cells.

    Args:
        box: (7,) x, y, z, length, width, height [m], yaw [rad].
        cell_centers: (N, 2) x, y of the cells' centres [m].
        cell_size: (x, y) edge lengths of a head cell [m].

    Returns:
        (9, N) float32; channel 8 holds the target probability of its logit.
    """
    x, y, z, length, width, height, yaw = (float(v) for v in box)
    parameters = np.empty((NUM_BOX_CHANNELS, len(cell_centers)), np.float32)
    parameters[0] = (x - cell_centers[:, 0]) / cell_size[0]
    parameters[1] = (y - cell_centers[:, 1]) / cell_size[1]
    parameters[2] = z
    sizes = np.clip([length, width, height], MIN_SIZE, MAX_SIZE)
    parameters[3:6] = np.log(sizes)[:, None]
    parameters[6], parameters[7] = np.sin(2.0 * yaw), np.cos(2.0 * yaw)
    parameters[8] = np.cos(yaw) > 0.0 or (np.cos(yaw) == 0.0 and np.sin(yaw) > 0.0)
    return parameters


def center_candidates(
    class_logits: npt.NDArray[np.float32],
    box_regression: npt.NDArray[np.float32],
    head: CenterHead,
    grid: PillarGrid,
    score_thresholds: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes that the head proposes, class by class, the best of each first.

    A box is proposed where the class's logit is the largest of its 3 × 3 neighbourhood (the earlier
    cell wins a tie) and its probability reaches the threshold.

    Args:
        class_logits: (num_classes, H, W) logits.
        box_regression: (9, H, W) box parameters.
        head: The head.
        grid: The pillar grid.
        score_thresholds: (num_classes,) least probability per class.

    Returns:
        Finite boxes (N, 7), their scores (N,) and labels (N,).
    """
    found = [_best_peaks(*pair) for pair in zip(class_logits, score_thresholds, strict=True)]
    cells, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    labels = np.repeat(np.arange(len(found)), [len(class_cells) for class_cells, _ in found])
    x_min, y_min = grid.point_cloud_range[:2]
    cell_x, cell_y = grid.voxel_size[0] * head.stride, grid.voxel_size[1] * head.stride
    boxes, finite = _decode_cells(box_regression, cells, x_min, y_min, cell_x, cell_y)
    return boxes[finite], scores[finite], labels[finite]


def _best_peaks(
    logits: npt.NDArray[np.float32], threshold: np.float32
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Flat indices and probabilities of one class's best peaks, best first."""
    cells, scores = _find_peaks(logits, threshold)
    best = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    return cells[best], scores[best]


@njit
def _find_peaks(logits: Any, threshold: Any) -> Any:
    """Flat indices and probabilities of the local maxima that reach the threshold."""
    height, width = logits.shape
    least = least_logit(threshold)
    num_candidates = count_from(logits, least)
    cells = np.empty(num_candidates, np.int64)
    scores = np.empty(num_candidates, np.float32)
    count = 0
    for row in range(height):
        for column in range(width):
            value = logits[row, column]
            if not value >= least:  # also refuses NaN
                continue
            score = probability(value)
            if not score >= threshold:
                continue
            is_peak = True
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(column - 1, 0), min(column + 2, width)):
                    earlier = r < row or (r == row and c < column)
                    other = logits[r, c]
                    if other > value or (earlier and other == value):
                        is_peak = False
            if is_peak:
                cells[count] = row * width + column
                scores[count] = score
                count += 1
    return cells[:count], scores[:count]


def _decode_cells(
    box_regression: npt.NDArray[np.float32],
    cells: npt.NDArray[np.int64],
    x_min: float,
    y_min: float,
    cell_x: float,
    cell_y: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Boxes (N, 7) of the given head cells and which of them are finite throughout."""
    width = box_regression.shape[2]
    values = box_regression.reshape(NUM_BOX_CHANNELS, -1)[:, cells].astype(np.float64)  # (9, N)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite boxes are refused below
        x = x_min + (cells % width + 0.5 + values[0]) * cell_x
        y = y_min + (cells // width + 0.5 + values[1]) * cell_y
        sizes = np.exp(np.clip(values[3:6], np.log(MIN_SIZE), np.log(MAX_SIZE)))  # (3, N)
        axis = 0.5 * np.arctan2(values[6], values[7])  # in (-π/2, π/2]
        yaw = np.where(values[8] >= 0.0, axis, axis + np.pi)
        boxes = np.stack([x, y, values[2], *sizes, yaw], axis=1).astype(np.float32)  # (N, 7)
    finite = np.asarray(np.isfinite(values).all(axis=0) & np.isfinite(boxes).all(axis=1))
    boxes[finite, 6] = wrap_angle(boxes[finite, 6])
    return boxes, finite
