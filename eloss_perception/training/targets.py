# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the head should have said of a frame, and where it is not judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import IGNORED, points_in_boxes
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import AnchorHead, CenterHead
from eloss_perception.training.anchor_targets import make_anchor_targets
from eloss_perception.training.center_targets import make_center_targets
from eloss_perception.training.data.frames import Frame

# Fewer returns than this and nobody, the annotator included, can tell what the object is.
MIN_POINTS = 5

# Arrays of one frame by name; every frame's have the same shapes, so that they stack.
Targets = dict[str, npt.NDArray[Any]]


def make_targets(
    frame: Frame, grid: PillarGrid, head: CenterHead | AnchorHead, num_classes: int
) -> Targets:
    """Draws the targets of a frame.

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
