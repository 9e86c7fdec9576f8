# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Per-object noise: every box turned and shifted on its own, with the points inside it."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.detection.boxes import IGNORED, points_in_boxes, wrap_angle
from eloss_perception.detection.compiled import njit
from eloss_perception.training.data.collisions import move_in_order
from eloss_perception.training.data.frames import Frame

# Moves drawn for each box, the first that collides with nothing is made.
_NUM_TRIES = 10


def move_objects(
    frame: Frame,
    rotation_deg: float,
    translation: tuple[float, float, float],
    rng: np.random.Generator,
) -> Frame:
    """Moves objects a little, as VoxelNet does (Zhou and Tuzel 2018, section 3.2).

    A box takes its points along and no others; points of the scene that lie where it ends up are
    removed. Boxes never come to overlap; a box that overlaps another one already, one that finds no
    free place and one that is ignored stay.

    Args:
        frame: The scan; not changed.
        rotation_deg: Turns about the own vertical axis are uniform in ± this [deg].
        translation: Standard deviations of the shifts along x, y and z [m].
        rng: Draws the moves.
    """
    num_boxes = len(frame.boxes)
    limit = math.radians(rotation_deg)
    turns = rng.uniform(-limit, limit, (num_boxes, _NUM_TRIES))
    shifts = rng.normal(0.0, 1.0, (num_boxes, _NUM_TRIES, 3)) * np.array(translation)
    boxes = frame.boxes.astype(np.float64)
    chosen = move_in_order(boxes, frame.labels != IGNORED, shifts, turns)
    moved = chosen >= 0
    if not moved.any():
        return frame
    points = frame.points.copy()
    owners = points_in_boxes(points, frame.boxes)
    _move_points(points, owners, moved, frame.boxes.astype(np.float64), boxes)
    # The scene is cleared after the move; a moved box holds none but its own points then.
    keep = owners >= 0
    rest = np.flatnonzero(~keep)
    keep[rest] = points_in_boxes(points[rest], boxes[moved]) < 0
    narrow = boxes.astype(np.float32)
    narrow[:, 6] = wrap_angle(narrow[:, 6])
    return Frame(points[keep], narrow, frame.labels)


@njit
def _move_points(points, owners, moved, before, after):  # type: ignore[no-untyped-def]
    """Moves the points of moved boxes with them, in place."""
    cos, sin = np.cos(after[:, 6] - before[:, 6]), np.sin(after[:, 6] - before[:, 6])
    for i in range(len(points)):
        k = owners[i]
        if k < 0 or not moved[k]:
            continue
        dx, dy = points[i, 0] - before[k, 0], points[i, 1] - before[k, 1]
        points[i, 0] = after[k, 0] + cos[k] * dx - sin[k] * dy
        points[i, 1] = after[k, 1] + sin[k] * dx + cos[k] * dy
        points[i, 2] += after[k, 2] - before[k, 2]
