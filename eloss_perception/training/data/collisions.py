# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether boxes overlap seen from above, as compiled loops may ask.

The answers equal ``core.boxes.bev_iou(...) > 0`` up to rounding; the area itself is not needed
here, and the separating axes of two rectangles tell without it (Gottschalk et al., "OBBTree",
SIGGRAPH 1996, section 5).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit


@njit
def overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    """Whether two (7,) boxes share area; touching is none, and neither is a box without size."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length_a, width_a, length_b, width_b = 0.5 * a[3], 0.5 * a[4], 0.5 * b[3], 0.5 * b[4]
    reach = math.hypot(length_a, width_a) + math.hypot(length_b, width_b)
    if dx * dx + dy * dy >= reach * reach or min(length_a, width_a, length_b, width_b) <= 0.0:
        return False
    cos_a, sin_a = math.cos(a[6]), math.sin(a[6])
    cos_b, sin_b = math.cos(b[6]), math.sin(b[6])
    cos, sin = abs(math.cos(b[6] - a[6])), abs(math.sin(b[6] - a[6]))
    return (
        abs(dx * cos_a + dy * sin_a) < length_a + length_b * cos + width_b * sin
        and abs(dy * cos_a - dx * sin_a) < width_a + length_b * sin + width_b * cos
        and abs(dx * cos_b + dy * sin_b) < length_b + length_a * cos + width_a * sin
        and abs(dy * cos_b - dx * sin_b) < width_b + length_a * sin + width_a * cos
    )


@njit
def accept_in_order(
    present: npt.NDArray[np.float64], candidates: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Which candidates fit beside those present and the candidates accepted before.

    Args:
        present: (M, 7) float64 boxes that stay.
        candidates: (K, 7) float64 boxes to add.

    Returns:
        (K,) bool.
    """
    accepted = np.zeros(len(candidates), np.bool_)
    for k in range(len(candidates)):
        free = True
        for j in range(len(present)):
            if overlap(candidates[k], present[j]):
                free = False
                break
        for j in range(k):
            if free and accepted[j] and overlap(candidates[k], candidates[j]):
                free = False
        accepted[k] = free
    return accepted


@njit
def move_in_order(
    boxes: npt.NDArray[np.float64],
    movable: npt.NDArray[np.bool_],
    shifts: npt.NDArray[np.float64],
    turns: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Give each box the first of its moves that collides with no other box where it then is.

    A box that overlaps another one to begin with stays: whose points are whose is not known.

    Args:
        boxes: (M, 7) float64; moved in place.
        movable: (M,) which may move.
        shifts: (M, T, 3) moves of the centre [m].
        turns: (M, T) turns about the own centre [rad].

    Returns:
        (M,) index of the move, -1 for a box that stays.
    """
    num_boxes, num_tries = turns.shape
    chosen = np.full(num_boxes, -1, np.int64)
    crowded = np.zeros(num_boxes, np.bool_)
    for i in range(num_boxes):
        for j in range(i + 1, num_boxes):
            if overlap(boxes[i], boxes[j]):
                crowded[i] = crowded[j] = True
    for i in range(num_boxes):
        if crowded[i] or not movable[i]:
            continue
        for attempt in range(num_tries):
            moved = boxes[i].copy()
            moved[:3] += shifts[i, attempt]
            moved[6] += turns[i, attempt]
            free = True
            for j in range(num_boxes):
                if j != i and overlap(moved, boxes[j]):
                    free = False
                    break
            if free:
                boxes[i] = moved
                chosen[i] = attempt
                break
    return chosen
