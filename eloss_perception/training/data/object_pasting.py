# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground-truth sampling: objects of other scans pasted where they were (SECOND, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eloss_perception.detection.boxes import points_in_boxes
from eloss_perception.training.data.collisions import accept_in_order
from eloss_perception.training.data.frames import Frame
from eloss_perception.training.data.local_ground import local_ground
from eloss_perception.training.data.object_database import ObjectDatabase

# A place whose ground lies this much [m] above or below the object's own is a roof or a ditch.
_MAX_STEP = 1.5


def paste_objects(
    frame: Frame,
    objects: ObjectDatabase,
    num_wanted: Sequence[int],
    min_points: int,
    on_ground: bool,
    rng: np.random.Generator,
) -> Frame:
    """Fills every class of a frame up to a number of objects.

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
