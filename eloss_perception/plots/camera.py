# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""3D boxes drawn into a camera image; the projection is the caller's (for example KITTI's)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eloss_perception.detection.boxes import Boxes3D, corners_3d
from eloss_perception.plots.boxes import Segment, draw_segments, label_colour
from eloss_perception.plots.style import Picture

# (N, 3) LiDAR x, y, z [m] -> (N, 2) column, row [px] and (N,) depth along the optical axis [m].
Projection: TypeAlias = Callable[
    [NDArray[np.float64]], tuple[NDArray[np.floating], NDArray[np.floating]]
]

# Indices into `corners_3d`: bottom ring, top ring, uprights, and a cross on the front face.
_EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
    *((0, 7), (3, 4)),
)
_NEAREST_M = 0.3


def render_camera(
    image: Picture, boxes: Boxes3D, class_names: Sequence[str], project: Projection
) -> Picture:
    """Draw boxes into a camera image, the front face crossed, nearer boxes over farther ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: Boxes in the LiDAR frame; those that reach behind the camera are left out.
        class_names: Name of each label.
        project: Takes LiDAR points to pixels and depths.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    picture = Image.fromarray(image)
    if len(boxes) == 0:
        return np.array(picture, dtype=np.uint8)
    uv, depth = project(corners_3d(boxes.boxes).reshape(-1, 3))
    pixels = np.asarray(uv, dtype=np.float64).reshape(-1, 8, 2)
    depths = np.asarray(depth, dtype=np.float64).reshape(-1, 8)
    # A corner beside or behind the camera has no pixel, and the lines to it would be wrong.
    visible = np.flatnonzero(depths.min(axis=1) > _NEAREST_M)
    for i in visible[np.argsort(-depths[visible].mean(axis=1), kind="stable")]:
        corners = [(float(u), float(v)) for u, v in pixels[i]]
        edges: list[Segment] = [(corners[a], corners[b]) for a, b in _EDGES]
        colour = label_colour(int(boxes.labels[i]), class_names)
        draw_segments(picture, edges, colour, 1.6, fill=None)
    return np.asarray(picture, dtype=np.uint8)
