# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Colours, fonts and colour ramps shared by every picture."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

Colour: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Picture: TypeAlias = NDArray[np.uint8]

BACKGROUND: Colour = (11, 14, 20)
PANEL: Colour = (17, 22, 30)
GRID: Colour = (40, 48, 60)
AXIS: Colour = (72, 82, 97)
TEXT: Colour = (226, 232, 240)
MUTED: Colour = (139, 150, 166)
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
_RAMP_STOPS: tuple[tuple[float, Colour], ...] = (
    (0.00, (46, 66, 142)),
    (0.18, (48, 96, 176)),
    (0.40, (42, 142, 190)),
    (0.65, (78, 196, 190)),
    (0.85, (160, 228, 200)),
    (1.00, (238, 250, 232)),
)


@lru_cache(maxsize=1)
def point_ramp() -> NDArray[np.uint8]:
    """Return the colours of the points, low to high: (256, 3) uint8 RGB."""
    stops = np.array([stop for stop, _ in _RAMP_STOPS])
    colours = np.array([colour for _, colour in _RAMP_STOPS], dtype=np.float64)
    at = np.linspace(0.0, 1.0, 256)
    ramp = np.stack([np.interp(at, stops, colours[:, c]) for c in range(3)], axis=1)
    return np.round(ramp).astype(np.uint8)


@lru_cache(maxsize=32)
def font(size: int) -> Font:
    """Return a proportional font of `size` pixels, the same one on every machine where possible."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 (apt on Ubuntu 22.04) carries a bitmap font only.
        try:
            return ImageFont.truetype("DejaVuSans.ttf", size)
        except OSError:
            return ImageFont.load_default()


def class_colour(name: str) -> Colour:
    """Return the colour of a class by its name, whatever its case."""
    return CLASS_COLOURS.get(name.lower(), OTHER_CLASS)


def mix(a: Colour, b: Colour, share_of_b: float) -> Colour:
    """Return the colour between `a` (0.0) and `b` (1.0)."""
    red, green, blue = (round(x + (y - x) * share_of_b) for x, y in zip(a, b, strict=True))
    return red, green, blue
