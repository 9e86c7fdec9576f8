# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye views: points from above, range rings and oriented boxes; forward is up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.plots.boxes import draw_boxes, draw_ground_truth
from eloss_perception.plots.style import (
    AXIS,
    BACKGROUND,
    EGO,
    GRID,
    GROUND_TRUTH,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    Picture,
    Pixel,
    class_colour,
    draw_text,
    mix,
    point_ramp,
    shorten,
    text_width,
)

Extent: TypeAlias = tuple[float, float, float, float]

# x_min, y_min, x_max, y_max [m]: what the shipped network sees, and a little of what is behind.
DEFAULT_EXTENT: Extent = (-8.0, -40.0, 60.0, 40.0)
# Heights [m] over the sensor that the ramp spans: from below the road to well above the roofs.
HEIGHT_RANGE = (-2.0, 1.2)
HEADER_PX = 38
FOOTER_PX = 32
_RING_STEPS_M = (5.0, 10.0, 20.0, 25.0, 50.0, 100.0)
_RING_SPACING_PX = 70.0
_EGO_SIZE_M = (4.2, 1.8)
_MARGIN_PX = 14
# Pillow draws no smooth edges itself: the background is drawn this much larger and reduced.
_SCALE = 3
# Brightness of the glow by that of the blurred points: brighter than the blur, at most half.
_GLOW = np.minimum(np.arange(256) * 1.25, 127.0).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class BevView:
    """The mapping between metres and pixels of one bird's-eye view.

    The whole `extent` is visible, centred and at equal scales; where the picture has another shape,
    it shows more of the surroundings instead of blank margins.

    Attributes:
        extent: x_min, y_min, x_max, y_max [m], LiDAR frame (x forward is up, y left is left).
        width: Width of the picture [px].
        height: Height of the picture [px].
    """

    extent: Extent
    width: int
    height: int

    def __post_init__(self) -> None:
        x_min, y_min, x_max, y_max = self.extent
        if not (x_max > x_min and y_max > y_min):
            raise ValueError(f"extent {self.extent} must be x_min, y_min, x_max, y_max")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture of {self.width} x {self.height} pixels is empty")

    @property
    def pixels_per_metre(self) -> float:
        """The scale, equal along both axes."""
        x_min, y_min, x_max, y_max = self.extent
        return min(self.width / (y_max - y_min), self.height / (x_max - x_min))

    def to_pixels(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns (..., 2) column, row [px] of (..., >= 2) x, y [m]; outside points lie outside."""
        x_min, y_min, x_max, y_max = self.extent
        scale = self.pixels_per_metre
        pixels = np.empty((*xy.shape[:-1], 2))
        pixels[..., 0] = 0.5 * self.width - (xy[..., 1] - 0.5 * (y_min + y_max)) * scale
        pixels[..., 1] = 0.5 * self.height - (xy[..., 0] - 0.5 * (x_min + x_max)) * scale
        return pixels


def render_bev(
    points: NDArray[np.float32],
    boxes: Boxes3D,
    class_names: Sequence[str],
    ground_truth: NDArray[np.floating] | None = None,
    *,
    extent: Extent = DEFAULT_EXTENT,
    size: tuple[int, int] = (800, 720),
    title: str = "",
    subtitle: str = "",
    colour_by: Literal["height", "intensity"] = "height",
    height_range: tuple[float, float] = HEIGHT_RANGE,
    frame: bool = True,
    with_scores: bool = True,
) -> Picture:
    """Draws one scan from above with its boxes.

    Args:
        points: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame. Non-finite points are
            left out.
        boxes: Detections in the same frame; drawn solid, coloured by class, with a heading tick and
            the score.
        class_names: Name of each label; a label outside is drawn in the colour of other objects.
        ground_truth: (M, 7) annotated boxes, drawn dashed and white, or None.
        extent: x_min, y_min, x_max, y_max [m] that must be visible.
        size: Width and height [px].
        title: Text at the top left.
        subtitle: Quieter text at the top right.
        colour_by: What the colour of a point shows.
        height_range: Heights [m] at the two ends of the colour ramp.
        frame: Whether to draw header and footer (title, legend, colour scale).
        with_scores: Whether to write the score beside each box.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If the extent or the size is empty.
    """
    width, height = size
    view = BevView(extent, width, height - (HEADER_PX + FOOTER_PX if frame else 0))
    image = Image.fromarray(rasterise_points(points, view, colour_by, height_range))
    _draw_ring_labels(image, view)
    if ground_truth is not None:
        draw_ground_truth(image, view.to_pixels, ground_truth)
    draw_boxes(image, view.to_pixels, boxes, class_names, with_scores)
    if not frame:
        return np.asarray(image, dtype=np.uint8)
    counts = np.bincount(boxes.labels[boxes.labels >= 0], minlength=len(class_names))
    legend = [(f"{name} {counts[i]}", class_colour(name)) for i, name in enumerate(class_names)]
    if num_others := int((boxes.labels < 0).sum()):
        legend.append((f"Other {num_others}", class_colour("Other")))
    picture = framed(image, title, subtitle)
    right = _draw_colour_scale(picture, colour_by, height_range)
    x = draw_legend(picture, legend, right)
    if ground_truth is not None and x + 28 + text_width("Annotated", 13) < right:
        draw, middle = ImageDraw.Draw(picture), height - FOOTER_PX / 2
        for start in (x, x + 8, x + 16):
            draw.line((start, middle, start + 4, middle), fill=GROUND_TRUTH, width=2)
        draw_text(draw, (x + 28, middle), "Annotated", 13, TEXT)
    return np.asarray(picture, dtype=np.uint8)


def rasterise_points(
    points: NDArray[np.float32],
    view: BevView,
    colour_by: Literal["height", "intensity"] = "height",
    height_range: tuple[float, float] = HEIGHT_RANGE,
) -> Picture:
    """Returns the grid with the points on it: (view.height, view.width, 3) uint8 RGB.

    The highest (or brightest) point of a pixel decides its colour, so the result does not depend
    on the order of the points.
    """
    u, v = np.moveaxis(view.to_pixels(points), -1, 0)
    with np.errstate(invalid="ignore"):
        inside = (u >= 0) & (u < view.width) & (v >= 0) & (v < view.height)
    inside &= np.isfinite(points[:, 2])
    flat = v[inside].astype(np.int64) * view.width + u[inside].astype(np.int64)
    if colour_by == "height":
        low, high = height_range
        shade = (points[inside, 2] - low) / (high - low)
    else:  # Most returns are dim; the square root spreads them over the ramp.
        shade = np.sqrt(np.clip(np.nan_to_num(points[inside, 3]), 0.0, 1.0))
    index = (np.clip(shade, 0.0, 1.0) * 255).astype(np.uint8)
    # One byte a key: numpy sorts these by counting, far faster than floats; the last write wins.
    order = np.argsort(index, kind="stable")
    dots = np.zeros((view.height * view.width, 3), np.uint8)
    dots[flat[order]] = point_ramp()[index[order]]
    layer = dots.reshape(view.height, view.width, 3)
    # A faint glow joins the dots of distant, sparse surfaces.
    glow = np.asarray(Image.fromarray(layer).filter(ImageFilter.BoxBlur(1)))
    picture: Picture = np.maximum(np.maximum(layer, _GLOW[glow]), _grid(view))
    return picture


@lru_cache(maxsize=8)
def _grid(view: BevView) -> Picture:
    """Returns the background of a view: range rings, the axes and the ego vehicle."""
    scaled = BevView(view.extent, view.width * _SCALE, view.height * _SCALE)
    image = Image.new("RGB", (scaled.width, scaled.height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    x, y = _pixel(scaled, 0.0, 0.0)
    for radius in _rings(view):
        reach = radius * scaled.pixels_per_metre
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=GRID, width=_SCALE)
    faint = mix(BACKGROUND, GRID, 0.7)
    draw.line([(0.0, y), (scaled.width, y)], fill=faint, width=_SCALE)
    draw.line([(x, 0.0), (x, scaled.height)], fill=faint, width=_SCALE)
    length, width = _EGO_SIZE_M
    corners = [(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)]
    body = [_pixel(scaled, length * a, width * b) for a, b in corners]
    draw.polygon(body, fill=mix(BACKGROUND, EGO, 0.35), outline=EGO, width=_SCALE)
    nose = [(0.42, 0.0), (0.05, 0.34), (0.05, -0.34)]
    draw.polygon([_pixel(scaled, length * a, width * b) for a, b in nose], fill=EGO)
    return np.asarray(image.reduce(_SCALE), dtype=np.uint8)


def _pixel(view: BevView, x: float, y: float) -> Pixel:
    u, v = view.to_pixels(np.array([x, y]))
    return float(u), float(v)


def _rings(view: BevView) -> list[float]:
    """Returns the radii [m] of the range rings: round numbers, apart enough to be read."""
    spacing = _RING_SPACING_PX / view.pixels_per_metre
    step = next((s for s in _RING_STEPS_M if s >= spacing), _RING_STEPS_M[-1])
    furthest = max(abs(edge) for edge in view.extent) * 1.5
    return [step * i for i in range(1, int(furthest / step) + 1)]


def _draw_ring_labels(image: Image.Image, view: BevView) -> None:
    """Writes the radius of each ring to the right of straight ahead, over the points."""
    draw = ImageDraw.Draw(image, "RGBA")
    for radius in _rings(view):
        u, v = _pixel(view, radius * np.cos(np.pi / 4), -radius * np.sin(np.pi / 4))
        text = f"{radius:g} m"
        half = 0.5 * text_width(text, 11) + 4
        if not (half < u < view.width - half and 9 < v < view.height - 9):
            continue
        draw.rounded_rectangle((u - half, v - 8, u + half, v + 8), 4, fill=(*BACKGROUND, 190))
        draw_text(draw, (u, v), text, 11, MUTED, "mm")


def framed(image: Image.Image, title: str, subtitle: str) -> Image.Image:
    """Returns the image between a header with title and subtitle and an empty footer."""
    picture = Image.new("RGB", (image.width, image.height + HEADER_PX + FOOTER_PX), PANEL)
    picture.paste(image, (0, HEADER_PX))
    draw = ImageDraw.Draw(picture)
    width = picture.width - 2 * _MARGIN_PX
    subtitle = shorten(subtitle, 13, 0.6 * width)
    title = shorten(title, 16, width - text_width(subtitle, 13) - 16)
    draw_text(draw, (_MARGIN_PX, HEADER_PX / 2), title, 16, TEXT)
    draw_text(draw, (picture.width - _MARGIN_PX, HEADER_PX / 2), subtitle, 13, MUTED, "rm")
    top = picture.height - FOOTER_PX
    draw.line((0, top, picture.width, top), fill=mix(PANEL, AXIS, 0.5))
    return picture


def draw_legend(picture: Image.Image, entries: Sequence[tuple[str, Colour]], right: float) -> float:
    """Writes coloured entries into the footer, as far as `right`; returns where they end [px]."""
    draw = ImageDraw.Draw(picture)
    x, y = float(_MARGIN_PX), picture.height - FOOTER_PX / 2
    for text, colour in entries:
        if x + 16 + text_width(text, 13) > right:
            break
        draw.rounded_rectangle((x, y - 5, x + 10, y + 5), 2, fill=colour)
        draw_text(draw, (x + 16, y), text, 13, TEXT)
        x += 16 + text_width(text, 13) + 18
    return x


def _draw_colour_scale(
    picture: Image.Image, colour_by: str, height_range: tuple[float, float]
) -> float:
    """Draws what the points' colours mean at the right of the footer; returns its left edge."""
    low, high = "Intensity 0", "1"
    if colour_by == "height":
        low, high = f"Height {height_range[0]:+.1f}", f"{height_range[1]:+.1f} m"
    draw, y, right = (
        ImageDraw.Draw(picture),
        picture.height - FOOTER_PX / 2,
        picture.width - _MARGIN_PX,
    )
    draw_text(draw, (right, y), high, 12, MUTED, "rm")
    left = round(right - text_width(high, 12) - 8 - 90)
    ramp = Image.fromarray(np.repeat(point_ramp()[None], 8, axis=0)).resize((90, 8))
    picture.paste(ramp, (left, round(y) - 4))
    draw_text(draw, (left - 8, y), low, 12, MUTED, "rm")
    return left - 8 - text_width(low, 12) - 10
