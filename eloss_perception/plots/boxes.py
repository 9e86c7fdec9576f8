# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes from above: outline, heading tick and score, each in a small enlarged patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eloss_perception.detection.boxes import Boxes3D, bev_corners
from eloss_perception.plots.canvas import Pixel, dashes, draw_text, text_width
from eloss_perception.plots.style import BACKGROUND, GROUND_TRUTH, OTHER_CLASS, Colour, class_colour

ToPixels: TypeAlias = Callable[[NDArray[np.floating]], NDArray[np.float64]]
Segment: TypeAlias = tuple[Pixel, Pixel]

_SCALE = 4
_LABEL_PX = 11
_OUTLINE_PX = 1.6
_FILL_OPACITY = 0.16
_TICK_M = 1.0


def draw_boxes(
    image: Image.Image,
    to_pixels: ToPixels,
    boxes: Boxes3D,
    class_names: Sequence[str],
    with_scores: bool = True,
) -> None:
    """Draw detections into a picture, the surest last, so that it lies on top."""
    corners = to_pixels(bev_corners(boxes.boxes))  # (N, 4, 2)
    ticks = to_pixels(_heading_ticks(boxes.boxes))  # (N, 2, 2)
    order = np.argsort(boxes.scores, kind="stable")
    for i in order:
        outline = _closed(corners[i])
        colour = label_colour(int(boxes.labels[i]), class_names)
        tick = (_pixel(ticks[i, 0]), _pixel(ticks[i, 1]))
        draw_segments(image, [*outline, tick], colour, _OUTLINE_PX, fill=corners[i])
    if not with_scores:
        return
    taken: list[tuple[float, float, float, float]] = []
    for i in order[::-1]:
        colour = label_colour(int(boxes.labels[i]), class_names)
        _draw_score(image, corners[i], f"{boxes.scores[i]:.2f}", colour, taken)


def draw_ground_truth(image: Image.Image, to_pixels: ToPixels, boxes: NDArray[np.floating]) -> None:
    """Draw annotated boxes, (M, 7) in the LiDAR frame, dashed and white."""
    checked = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    corners = to_pixels(bev_corners(checked))
    for box in corners:
        segments = [dash for a, b in _closed(box) for dash in dashes(a, b, 3.0)]
        draw_segments(image, segments, GROUND_TRUTH, 1.2, fill=None)


def _heading_ticks(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (N, 2, 2) x, y [m]: from the middle of the front a little way ahead."""
    yaw = np.asarray(boxes[:, 6], dtype=np.float64)
    ahead = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)  # (N, 2)
    half = 0.5 * np.asarray(boxes[:, 3], dtype=np.float64)[:, None]
    front = np.asarray(boxes[:, :2], dtype=np.float64) + ahead * half
    return np.stack([front, front + ahead * _TICK_M], axis=1)


def draw_segments(
    image: Image.Image,
    segments: Sequence[Segment],
    colour: Colour,
    width: float,
    fill: NDArray[np.float64] | None,
) -> None:
    """Draw line segments with smooth edges, enlarged in a patch that just holds them."""
    ends = np.array(segments).reshape(-1, 2)
    if not np.isfinite(ends).all():
        return
    left, top = np.floor(ends.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(ends.max(axis=0)).astype(int) + 3
    if right <= 0 or bottom <= 0 or left >= image.width or top >= image.height:
        return
    if (right - left) * (bottom - top) > 4 * image.width * image.height:
        return  # So near or so large that its outline is no longer a box in the picture.
    mask = Image.new("L", ((right - left) * _SCALE, (bottom - top) * _SCALE), 0)
    draw = ImageDraw.Draw(mask)
    offset = np.array([left, top])
    if fill is not None:
        inner = [_pixel(corner) for corner in (fill - offset) * _SCALE]
        draw.polygon(inner, fill=round(255 * _FILL_OPACITY))
    for a, b in segments:
        start, end = (
            _pixel((np.array(a) - offset) * _SCALE),
            _pixel((np.array(b) - offset) * _SCALE),
        )
        draw.line([start, end], fill=255, width=round(width * _SCALE))
    image.paste(colour, (int(left), int(top)), mask.reduce(_SCALE))


def _draw_score(
    image: Image.Image,
    corners: NDArray[np.float64],
    text: str,
    colour: Colour,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write a score beside its box where nothing is written yet; leave it out where all is full."""
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
        if not fits or any(_overlap(spot, other) for other in taken):
            continue
        taken.append(spot)
        draw = ImageDraw.Draw(image, "RGBA")
        draw.rounded_rectangle(spot, 3, fill=(*BACKGROUND, 170))
        draw_text(draw, (u, v), text, _LABEL_PX, colour, "mm")
        return


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _closed(corners: NDArray[np.float64]) -> list[Segment]:
    return [(_pixel(corners[i - 1]), _pixel(corners[i])) for i in range(len(corners))]


def _pixel(at: NDArray[np.float64]) -> Pixel:
    return float(at[0]), float(at[1])


def label_colour(label: int, class_names: Sequence[str]) -> Colour:
    """Return the colour of a label; one without a name is another, ignored object."""
    return class_colour(class_names[label]) if 0 <= label < len(class_names) else OTHER_CLASS
