# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes in pictures: outlines, heading ticks and scores from above, 3D boxes in a camera image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eloss_perception.detection.boxes import BOX_EDGES, Boxes3D, bev_corners, corners_3d
from eloss_perception.plots.style import (
    BACKGROUND,
    GROUND_TRUTH,
    OTHER_CLASS,
    Colour,
    Picture,
    class_colour,
    draw_text,
    text_width,
)

ToPixels: TypeAlias = Callable[[NDArray[np.floating]], NDArray[np.float64]]
# (N, 3) LiDAR x, y, z [m] -> (N, 2) column, row [px] and (N,) depth along the optical axis [m].
Projection: TypeAlias = Callable[
    [NDArray[np.float64]], tuple[NDArray[np.floating], NDArray[np.floating]]
]

# Pillow draws no smooth edges itself: lines are drawn this much larger and reduced.
_SCALE = 4
_LABEL_PX = 11
_OUTLINE_PX = 1.6
_FILL_OPACITY = 0.16
_TICK_M = 1.0
_DASH_PX = 3.0
_NEAREST_M = 0.3
# Pairs of indices into `corners_3d`: the box's edges and a cross on its front face.
_EDGES = np.array([*BOX_EDGES, (0, 7), (3, 4)])


def draw_boxes(
    image: Image.Image,
    to_pixels: ToPixels,
    boxes: Boxes3D,
    class_names: Sequence[str],
    with_scores: bool = True,
) -> None:
    """Draws detections from above, the highest score last, so that it lies on top."""
    corners = to_pixels(bev_corners(boxes.boxes))  # (N, 4, 2)
    ticks = to_pixels(_heading_ticks(boxes.boxes))  # (N, 2, 2)
    order = np.argsort(boxes.scores, kind="stable")
    colours = [_label_colour(int(label), class_names) for label in boxes.labels]
    for i in order:
        segments = np.concatenate([outline(corners[i]), ticks[i : i + 1]])
        draw_segments(image, segments, colours[i], _OUTLINE_PX, fill=corners[i])
    if with_scores:
        taken: list[tuple[float, float, float, float]] = []
        for i in order[::-1]:
            _draw_score(image, corners[i], f"{boxes.scores[i]:.2f}", colours[i], taken)


def draw_ground_truth(image: Image.Image, to_pixels: ToPixels, boxes: NDArray[np.floating]) -> None:
    """Draws annotated boxes, (M, 7) in the LiDAR frame, dashed and white."""
    checked = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    for box in to_pixels(bev_corners(checked)):
        draw_segments(image, dashed(outline(box)), GROUND_TRUTH, 1.2)


def render_camera(
    image: Picture, boxes: Boxes3D, class_names: Sequence[str], project: Projection
) -> Picture:
    """Draws boxes into a camera image, the front face crossed, nearer boxes over farther ones.

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
        colour = _label_colour(int(boxes.labels[i]), class_names)
        draw_segments(picture, pixels[i][_EDGES], colour, _OUTLINE_PX)
    return np.asarray(picture, dtype=np.uint8)


def outline(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the sides of a closed polygon: (N, 2) corners to (N, 2, 2) ends of segments [px]."""
    return np.stack([np.roll(corners, 1, axis=0), corners], axis=1)


def dashed(segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cuts (N, 2, 2) segments into dashes with gaps as long; both ends fall on a dash."""
    dashes = []
    for start, end in segments:
        length = float(np.hypot(*(end - start)))
        # An odd number of equal parts starts and ends with a dash, so corners stay closed.
        num_parts = 2 * int(length / (2 * _DASH_PX)) + 1 if np.isfinite(length) else 1
        stops = start + np.linspace(0.0, 1.0, num_parts + 1)[:, None] * (end - start)
        dashes.append(np.stack([stops[:-1:2], stops[1::2]], axis=1))
    return np.concatenate(dashes)


def draw_segments(
    image: Image.Image,
    segments: NDArray[np.float64],
    colour: Colour,
    width: float,
    fill: NDArray[np.float64] | None = None,
) -> None:
    """Draws line segments with smooth edges.

    Args:
        image: Where to draw.
        segments: (N, 2, 2) start and end, each column and row [px].
        colour: Of the lines.
        width: Of the lines [px].
        fill: (M, 2) corners of a polygon to tint, or None.
    """
    ends = segments.reshape(-1, 2)
    if not np.isfinite(ends).all():
        return
    left, top = np.floor(ends.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(ends.max(axis=0)).astype(int) + 3
    if right <= 0 or bottom <= 0 or left >= image.width or top >= image.height:
        return
    if (right - left) * (bottom - top) > 4 * image.width * image.height:
        return  # So near or so large that its outline is no longer a box in the picture.
    # Enlarged in a patch that just holds them.
    mask = Image.new("L", ((right - left) * _SCALE, (bottom - top) * _SCALE), 0)
    draw = ImageDraw.Draw(mask)
    offset = np.array([left, top])
    if fill is not None:
        draw.polygon(_pairs((fill - offset) * _SCALE), fill=round(255 * _FILL_OPACITY))
    for segment in (segments - offset) * _SCALE:
        draw.line(_pairs(segment), fill=255, width=round(width * _SCALE))
    image.paste(colour, (int(left), int(top)), mask.reduce(_SCALE))


def _pairs(points: Iterable[NDArray[np.float64]]) -> list[tuple[float, float]]:
    return [(float(u), float(v)) for u, v in points]


def _heading_ticks(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns (N, 2, 2) x, y [m]: from the middle of the front a little way ahead."""
    yaw = np.asarray(boxes[:, 6], dtype=np.float64)
    ahead = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)  # (N, 2)
    half = 0.5 * np.asarray(boxes[:, 3], dtype=np.float64)[:, None]
    front = np.asarray(boxes[:, :2], dtype=np.float64) + ahead * half
    return np.stack([front, front + ahead * _TICK_M], axis=1)


def _draw_score(
    image: Image.Image,
    corners: NDArray[np.float64],
    text: str,
    colour: Colour,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Writes a score beside its box where nothing is written yet; leaves it out if all is full."""
    half_width, half_height = 0.5 * text_width(text, _LABEL_PX) + 2, 0.5 * _LABEL_PX + 1
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    x, y = 0.5 * (left + right), 0.5 * (top + bottom)
    places = [
        (right + half_width + 3, y),
        (left - half_width - 3, y),
        (x, bottom + half_height + 4),
        (x, top - half_height - 8),
    ]
    for u, v in places:
        spot = (u - half_width, v - half_height, u + half_width, v + half_height)
        fits = spot[0] >= 0 and spot[1] >= 0 and spot[2] < image.width and spot[3] < image.height
        if not fits or any(
            spot[0] < b[2] and b[0] < spot[2] and spot[1] < b[3] and b[1] < spot[3] for b in taken
        ):
            continue
        taken.append(spot)
        draw = ImageDraw.Draw(image, "RGBA")
        draw.rounded_rectangle(spot, 3, fill=(*BACKGROUND, 170))
        draw_text(draw, (u, v), text, _LABEL_PX, colour, "mm")
        return


def _label_colour(label: int, class_names: Sequence[str]) -> Colour:
    return class_colour(class_names[label]) if 0 <= label < len(class_names) else OTHER_CLASS
