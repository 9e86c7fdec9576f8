# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A drawing surface with smooth edges: shapes are drawn enlarged and reduced, then text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from eloss_perception.plots.style import Colour, Picture, font

Pixel: TypeAlias = tuple[float, float]

# Pillow's built-in font holds Latin-1 without these; a plain sign is better than an empty box.
_PLAIN_SIGNS = str.maketrans(
    {
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{RIGHTWARDS ARROW}": ">",
    }
)


class Area(NamedTuple):
    """A rectangle of a picture in pixels, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Right minus left [px]."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Bottom minus top [px]."""
        return self.bottom - self.top


class Canvas:
    """Shapes at `scale` times the size of the picture (Pillow draws no smooth edges itself).

    All coordinates are pixels of the finished picture and may be fractions. Text is kept aside and
    drawn at its true size on the reduced picture, because reduced text is blurred text.
    """

    def __init__(self, width: int, height: int, background: Colour, scale: int = 3) -> None:
        self.width = width
        self.height = height
        self._scale = scale
        self._image = Image.new("RGB", (width * scale, height * scale), background)
        # In RGBA mode Pillow blends what is drawn, so that shapes can be translucent.
        self._draw = ImageDraw.Draw(self._image, "RGBA")
        self._texts: list[tuple[Pixel, str, int, Colour, str]] = []

    def _scaled(self, points: Sequence[Pixel]) -> list[Pixel]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def line(self, points: Sequence[Pixel], colour: Colour, width: float = 1.0) -> None:
        """Draw a polyline."""
        pixels = max(1, round(width * self._scale))
        self._draw.line(self._scaled(points), fill=colour, width=pixels, joint="curve")

    def dashed_line(
        self, start: Pixel, end: Pixel, colour: Colour, width: float = 1.0, dash: float = 5.0
    ) -> None:
        """Draw a line of dashes as long as the gaps between them."""
        for a, b in dashes(start, end, dash):
            self.line([a, b], colour, width)

    def polygon(self, points: Sequence[Pixel], colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._scaled(points), fill=(*colour, round(255 * opacity)))

    def rectangle(
        self, area: Area, colour: Colour, opacity: float = 1.0, radius: float = 0.0
    ) -> None:
        """Fill a rectangle, with round corners where `radius` is given."""
        left, top, right, bottom = (edge * self._scale for edge in area)
        if right - left < 1 or bottom - top < 1:
            return
        fill = (*colour, round(255 * opacity))
        box = (left, top, right - 1, bottom - 1)
        self._draw.rounded_rectangle(box, radius=radius * self._scale, fill=fill)

    def disc(self, centre: Pixel, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        (x, y), r = self._scaled([centre])[0], radius * self._scale
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def circle(self, centre: Pixel, radius: float, colour: Colour, width: float = 1.0) -> None:
        """Draw the outline of a circle."""
        (x, y), r = self._scaled([centre])[0], radius * self._scale
        pixels = max(1, round(width * self._scale))
        self._draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=pixels)

    def text(self, at: Pixel, text: str, size: int, colour: Colour, anchor: str = "la") -> None:
        """Write `text`; `anchor` is Pillow's (horizontal l, m, r; vertical a, m, s, d)."""
        self._texts.append((at, text, size, colour, anchor))

    def finish(self) -> Image.Image:
        """Return the picture as an RGB image of `width` x `height` pixels."""
        image = self._image.reduce(self._scale) if self._scale > 1 else self._image.copy()
        draw = ImageDraw.Draw(image)
        for at, text, size, colour, anchor in self._texts:
            draw_text(draw, at, text, size, colour, anchor)
        return image

    def picture(self) -> Picture:
        """Return the picture as (height, width, 3) uint8 RGB."""
        return np.asarray(self.finish(), dtype=np.uint8)


def draw_text(
    draw: ImageDraw.ImageDraw, at: Pixel, text: str, size: int, colour: Colour, anchor: str = "la"
) -> None:
    """Write one line of text straight into a picture."""
    face, text = font(size), text.translate(_PLAIN_SIGNS)
    try:
        draw.text(at, text, fill=colour, font=face, anchor=anchor)
    except ValueError:  # A bitmap font (see `style.font`) knows no anchors.
        draw.text(at, text, fill=colour, font=face)


def text_width(text: str, size: int) -> float:
    """Return the width of one line of text in pixels."""
    return float(font(size).getlength(text.translate(_PLAIN_SIGNS)))


def shorten(text: str, size: int, max_width: float) -> str:
    """Return `text`, its end replaced by an ellipsis where it is wider than `max_width` pixels."""
    if text_width(text, size) <= max_width:
        return text
    while text and text_width(text + "...", size) > max_width:
        text = text[:-1]
    return text.rstrip() + "..."


def dashes(start: Pixel, end: Pixel, dash: float) -> list[tuple[Pixel, Pixel]]:
    """Cut a line into dashes of `dash` pixels with gaps as long; both ends fall on a dash."""
    (x0, y0), (x1, y1) = start, end
    length = float(np.hypot(x1 - x0, y1 - y0))
    # An odd number of equal parts starts and ends with a dash, so corners stay closed.
    parts = max(1, 2 * int(length / (2 * dash)) + 1)
    steps = np.linspace(0.0, 1.0, parts + 1)
    xs, ys = x0 + (x1 - x0) * steps, y0 + (y1 - y0) * steps
    return [
        ((float(xs[i]), float(ys[i])), (float(xs[i + 1]), float(ys[i + 1])))
        for i in range(0, parts, 2)
    ]
