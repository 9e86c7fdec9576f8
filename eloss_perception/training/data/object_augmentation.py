# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of single objects: pasted from other scans, or moved on their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import IGNORED, points_in_boxes, wrap_angle
from eloss_perception.detection.compiled import njit
from eloss_perception.training.data.frames import Frame
from eloss_perception.training.data.object_database import ObjectDatabase, local_ground

# A place whose ground lies this much [m] above or below the object's own is a roof or a ditch.
_MAX_STEP = 1.5

# Moves drawn for each box, the first that collides with nothing is made.
_NUM_TRIES = 10


def paste_objects(
    frame: Frame,
    objects: ObjectDatabase,
    num_wanted: Sequence[int],
    min_points: int,
    on_ground: bool,
    rng: np.random.Generator,
) -> Frame:
    """Ground-truth sampling: fills every class of a frame (SECOND, Yan et al. 2018, section 3.2).

    An object keeps the place relative to the sensor that it had in its own scan, so that its points
    are as dense as they should be. It is left out where its footprint overlaps another box,
    ignored ones included. Points of the scene inside a pasted box are removed.

    Args:
        frame: The scan; not changed.
        objects: What to paste.
        num_wanted: Objects wanted of each class; a class that has them already gets none.
        min_points: Objects with fewer are not pasted.
        on_ground: Raise or lower an object by the difference between the ground here and there.
        rng: Draws the objects.
    """
    drawn = []
    for label, wanted in enumerate(num_wanted):
        known = objects.of_class(label, min_points)
        missing = min(wanted - int((frame.labels == label).sum()), len(known))
        if missing > 0:
            drawn.append(rng.choice(known, missing, replace=False))
    if not drawn:
        return frame
    # In random order, so that no class gets the free places first.
    candidates = rng.permutation(np.concatenate(drawn))
    boxes = objects.boxes[candidates]  # (K, 7)
    rise = np.zeros(len(boxes), np.float32)
    if on_ground:
        rise = local_ground(frame.points, boxes) - objects.ground[candidates]
        rise[np.isnan(rise)] = 0.0
    level = np.abs(rise) <= _MAX_STEP
    candidates, boxes, rise = candidates[level], boxes[level], rise[level]
    free = accept_in_order(frame.boxes.astype(np.float64), boxes.astype(np.float64))
    candidates, boxes, rise = candidates[free], boxes[free], rise[free]
    boxes[:, 2] += rise
    scene = frame.points[points_in_boxes(frame.points, boxes) < 0]
    pasted = [scene]
    for index, height in zip(candidates, rise, strict=True):
        points = objects.points_of(index).copy()
        points[:, 2] += height
        pasted.append(points)
    return Frame(
        np.concatenate(pasted),
        np.concatenate([frame.boxes, boxes]),
        np.concatenate([frame.labels, objects.labels[candidates]]),
    )


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
        rotation_deg: Rotations about the own vertical axis are uniform in ± this [deg].
        translation: Standard deviations of the shifts along x, y and z [m].
        rng: Draws the moves.
    """
    num_boxes = len(frame.boxes)
    limit = math.radians(rotation_deg)
    rotations = rng.uniform(-limit, limit, (num_boxes, _NUM_TRIES))
    shifts = rng.normal(0.0, 1.0, (num_boxes, _NUM_TRIES, 3)) * np.array(translation)
    boxes = frame.boxes.astype(np.float64)
    chosen = move_in_order(boxes, frame.labels != IGNORED, shifts, rotations)
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


@njit
def overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    """Whether the footprints of two (7,) boxes share area, up to rounding ``bev_iou(a, b) > 0``.

    By separating axes (Gottschalk et al., "OBBTree", SIGGRAPH 1996, section 5). Touching is no
    overlap, and a box without size has none.
    """
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
    """Which candidates collide neither with those present nor with those accepted before.

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
    rotations: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Gives each box the first of its moves after which it overlaps no other box.

    A box that overlaps another one to begin with stays: its points may be the other's.

    Args:
        boxes: (M, 7) float64; moved in place.
        movable: (M,) which may move.
        shifts: (M, T, 3) moves of the centre [m].
        rotations: (M, T) rotations about the own centre [rad].

    Returns:
        (M,) index of the move, -1 for a box that stays.
    """
    num_boxes, num_tries = rotations.shape
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
            moved[6] += rotations[i, attempt]
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
