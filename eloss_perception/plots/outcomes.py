# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye pictures of what a detector found, missed and made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eloss_perception.detection.boxes import Boxes3D, bev_corners
from eloss_perception.plots.bev import (
    DEFAULT_EXTENT,
    FOOTER_PX,
    HEADER_PX,
    BevView,
    Extent,
    render_bev,
)
from eloss_perception.plots.boxes import draw_segments
from eloss_perception.plots.canvas import dashes, draw_text, shorten, text_width
from eloss_perception.plots.style import BACKGROUND, MUTED, PANEL, TEXT, Colour, Picture

# Drawn in this order: what went wrong lies on top.
OUTCOME_COLOURS: dict[str, Colour] = {
    "ignored": (138, 132, 168),
    "found": (52, 199, 123),
    "false": (255, 70, 70),
    "missed": (250, 204, 21),
}
# Outlines of labels are dashed, those of detections solid.
_DASHED = ("ignored", "missed")
_WIDTHS = {"ignored": 1.0, "found": 1.3, "false": 2.0, "missed": 2.0}
_MARGIN_PX = 14
_LABEL_PX = 11


class OutcomeBoxes(NamedTuple):
    """Boxes of one outcome.

    Attributes:
        boxes: (N, 7) boxes, LiDAR frame.
        texts: N short texts to stand beside them; empty ones are left out.
    """

    boxes: NDArray[np.float32]
    texts: Sequence[str]


def render_outcomes(
    points: NDArray[np.float32],
    outcomes: dict[str, OutcomeBoxes],
    *,
    title: str,
    subtitle: str = "",
    extent: Extent = DEFAULT_EXTENT,
    size: tuple[int, int] = (900, 900),
) -> Picture:
    """Draw one scan from above with what became of its objects.

    Args:
        points: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
        outcomes: `found`, `false`, `missed` and `ignored` boxes, any of them.
        title: Text at the top left.
        subtitle: Quieter text at the top right.
        extent: x_min, y_min, x_max, y_max [m] that must be visible.
        size: Width and height [px].

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If an outcome has another name or its texts another number than its boxes.
    """
    for name, group in outcomes.items():
        if name not in OUTCOME_COLOURS:
            raise ValueError(f"outcome {name!r} must be one of {', '.join(OUTCOME_COLOURS)}")
        if len(group.boxes) != len(group.texts):
            raise ValueError(f"{len(group.texts)} texts for {len(group.boxes)} boxes ({name})")
    width, height = size
    view = BevView(extent, width, height - HEADER_PX - FOOTER_PX)
    scan = render_bev(
        points,
        Boxes3D.empty(),
        (),
        extent=extent,
        size=(view.width, view.height),
        frame=False,
    )
    image = Image.fromarray(scan)
    for name, colour in OUTCOME_COLOURS.items():
        if name in outcomes:
            _draw_group(image, view, outcomes[name], name, colour)
    canvas = Image.new("RGB", size, PANEL)
    canvas.paste(image, (0, HEADER_PX))
    draw = ImageDraw.Draw(canvas)
    quiet = shorten(subtitle, 13, 0.6 * width)
    draw_text(draw, (width - _MARGIN_PX, HEADER_PX / 2), quiet, 13, MUTED, "rm")
    loud = shorten(title, 16, width - text_width(quiet, 13) - 3 * _MARGIN_PX)
    draw_text(draw, (_MARGIN_PX, HEADER_PX / 2), loud, 16, TEXT, "lm")
    _draw_legend(draw, height - FOOTER_PX / 2, outcomes)
    return np.asarray(canvas, dtype=np.uint8)


def _draw_group(
    image: Image.Image, view: BevView, group: OutcomeBoxes, name: str, colour: Colour
) -> None:
    corners = view.to_pixels(bev_corners(group.boxes))  # (N, 4, 2)
    draw = ImageDraw.Draw(image, "RGBA")
    for box, text in zip(corners, group.texts, strict=True):
        pixels = [(float(u), float(v)) for u, v in box]
        sides = [(pixels[i - 1], pixels[i]) for i in range(len(pixels))]
        segments = sides
        if name in _DASHED:
            segments = [dash for a, b in sides for dash in dashes(a, b, 3.0)]
        draw_segments(image, segments, colour, _WIDTHS[name], None if name == "ignored" else box)
        if not text:
            continue
        right, middle = float(box[:, 0].max()) + 5, float(box[:, 1].mean())
        backing = (right - 2, middle - 7, right + text_width(text, _LABEL_PX) + 2, middle + 7)
        draw.rounded_rectangle(backing, 3, fill=(*BACKGROUND, 170))
        draw_text(draw, (right, middle), text, _LABEL_PX, colour, "lm")


def _draw_legend(draw: ImageDraw.ImageDraw, y: float, outcomes: dict[str, OutcomeBoxes]) -> None:
    x = float(_MARGIN_PX)
    for name, colour in OUTCOME_COLOURS.items():
        if name not in outcomes:
            continue
        text = f"{name} {len(outcomes[name].boxes)}"
        draw.rounded_rectangle((x, y - 5, x + 10, y + 5), 2, fill=colour)
        draw_text(draw, (x + 16, y), text, 13, TEXT, "lm")
        x += 16 + text_width(text, 13) + 18
