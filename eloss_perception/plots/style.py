# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every picture shares: colours, fonts, text, and the style of the charts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eloss_perception.files import new_file

Colour: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Picture: TypeAlias = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB."""
Pixel: TypeAlias = tuple[float, float]
"""Column, row [px]; fractions are allowed."""

BACKGROUND: Colour = (11, 14, 20)
PANEL: Colour = (17, 22, 30)
GRID: Colour = (40, 48, 60)
AXIS: Colour = (72, 82, 97)
TEXT: Colour = (226, 232, 240)
MUTED: Colour = (150, 161, 177)
BAND: Colour = (38, 66, 84)
BAND_EDGE: Colour = (74, 124, 150)
EGO: Colour = (226, 232, 240)
GROUND_TRUTH: Colour = (255, 255, 255)
OTHER_CLASS: Colour = (186, 150, 255)

# Keys are lower case, so that "Car" (KITTI) and "car" (vision_msgs) get one colour.
CLASS_COLOURS: dict[str, Colour] = {
    "car": (255, 166, 48),
    "pedestrian": (255, 94, 148),
    "cyclist": (154, 230, 92),
}

# Keys are the values of diagnostic_msgs/DiagnosticStatus, which HealthLevel repeats.
LEVEL_COLOURS: dict[int, Colour] = {
    0: (52, 199, 123),
    1: (250, 204, 21),
    2: (244, 76, 76),
    3: (138, 132, 168),
}
LEVEL_NAMES: dict[int, str] = {0: "OK", 1: "WARN", 2: "ERROR", 3: "STALE"}

# Cool hues only: the warm ones belong to the boxes, which have to stand out from the points.
_RAMP_STOPS = (0.00, 0.18, 0.40, 0.65, 0.85, 1.00)
_RAMP_COLOURS = (
    (46, 66, 142),
    (48, 96, 176),
    (42, 142, 190),
    (78, 196, 190),
    (160, 228, 200),
    (238, 250, 232),
)

# Pillow's built-in font is Latin-1 without these; a plain sign is better than an empty box.
_PLAIN_SIGNS = str.maketrans(
    {
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{RIGHTWARDS ARROW}": ">",
    }
)


def save_png(path: Path, picture: Picture) -> None:
    """Writes (H, W, 3) uint8 RGB as PNG, creating the folder.

    Raises:
        DataError: If the file cannot be written.
    """
    with new_file(path) as file:
        Image.fromarray(picture).save(file, "PNG", optimize=True)


def hex_colour(colour: Colour) -> str:
    """Returns a colour as matplotlib takes it, such as #0b0e14."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


CHART_STYLE: dict[str, Any] = {
    "figure.facecolor": hex_colour(BACKGROUND),
    "figure.dpi": 100,
    "axes.facecolor": hex_colour(PANEL),
    "axes.edgecolor": hex_colour(AXIS),
    "axes.labelcolor": hex_colour(MUTED),
    "axes.titlecolor": hex_colour(TEXT),
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "font.family": "DejaVu Sans",  # which comes with matplotlib
    "font.size": 9,
    "grid.color": hex_colour(GRID),
    "grid.linewidth": 0.7,
    "legend.facecolor": hex_colour(PANEL),
    "legend.edgecolor": hex_colour(AXIS),
    "legend.fontsize": 8.5,
    "legend.labelcolor": hex_colour(TEXT),
    "text.color": hex_colour(TEXT),
    "xtick.color": hex_colour(AXIS),
    "ytick.color": hex_colour(AXIS),
    "xtick.labelcolor": hex_colour(MUTED),
    "ytick.labelcolor": hex_colour(MUTED),
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
"""matplotlib's rcParams."""


@lru_cache(maxsize=1)
def point_ramp() -> NDArray[np.uint8]:
    """Returns the colours of the points, low to high: (256, 3) uint8 RGB."""
    at = np.linspace(0.0, 1.0, 256)
    channels = np.array(_RAMP_COLOURS, dtype=np.float64).T  # (3, stops)
    ramp = np.stack([np.interp(at, _RAMP_STOPS, values) for values in channels], axis=1)
    return np.round(ramp).astype(np.uint8)


def class_colour(name: str) -> Colour:
    """Returns the colour of a class by its name, whatever its case."""
    return CLASS_COLOURS.get(name.lower(), OTHER_CLASS)


def mix(a: Colour, b: Colour, share_of_b: float) -> Colour:
    """Returns the colour between `a` (0.0) and `b` (1.0)."""
    red, green, blue = (round(x + (y - x) * share_of_b) for x, y in zip(a, b, strict=True))
    return red, green, blue


@lru_cache(maxsize=32)
def font(size: int) -> Font:
    """Returns a proportional font of `size` pixels, the same on every machine where possible."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 (apt on Ubuntu 22.04) carries a bitmap font only.
        try:
            return ImageFont.truetype("DejaVuSans.ttf", size)
        except OSError:
            return ImageFont.load_default()


def draw_text(
    draw: ImageDraw.ImageDraw, at: Pixel, text: str, size: int, colour: Colour, anchor: str = "lm"
) -> None:
    """Writes one line; `anchor` is Pillow's (horizontal l, m, r; vertical a, m, s, d)."""
    face, text = font(size), text.translate(_PLAIN_SIGNS)
    try:
        draw.text(at, text, fill=colour, font=face, anchor=anchor)
    except ValueError:  # a bitmap font (see `font`) knows no anchors
        draw.text(at, text, fill=colour, font=face)


def text_width(text: str, size: int) -> float:
    """Returns the width of one line of text in pixels."""
    return float(font(size).getlength(text.translate(_PLAIN_SIGNS)))


def shorten(text: str, size: int, max_width: float) -> str:
    """Returns `text`, its end replaced by an ellipsis where it is wider than `max_width` pixels."""
    if text_width(text, size) <= max_width:
        return text
    while text and text_width(text + "...", size) > max_width:
        text = text[:-1]
    return text.rstrip() + "..."
