# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye views to compare: a scan and its corruptions, detections and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eloss_perception.detection.boxes import Boxes3D, bev_corners
from eloss_perception.plots.bev import (
    DEFAULT_EXTENT,
    FOOTER_PX,
    HEADER_PX,
    HEIGHT_RANGE,
    BevView,
    Extent,
    draw_legend,
    framed,
    rasterise_points,
    render_bev,
)
from eloss_perception.plots.boxes import dashed, draw_segments, outline
from eloss_perception.plots.style import (
    BACKGROUND,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    Picture,
    draw_text,
    shorten,
    text_width,
)

# Heights [m] of a road whose sensor is tilted or raised: all of the ramp for them.
ROAD_HEIGHT_RANGE = (-2.6, -0.9)

_TILE_EXTENT: Extent = (-14.0, -24.0, 34.0, 24.0)
_TILE_PX, _CAPTION_PX, _GAP_PX = 300, 40, 6
_HALF_SIZE = (620, 720)
_HALF_EXTENT: Extent = (-30.0, -35.0, 50.0, 35.0)

# Drawn in this order: errors lie on top.
OUTCOME_COLOURS: dict[str, Colour] = {
    "ignored": (138, 132, 168),
    "found": (52, 199, 123),
    "false": (255, 70, 70),
    "missed": (250, 204, 21),
}
# Outlines of labels are dashed, those of detections solid: colour is not all that tells.
_DASHED = ("ignored", "missed")
_WIDTHS = {"ignored": 1.0, "found": 1.3, "false": 2.0, "missed": 2.0}
_LABEL_PX = 11


@dataclass(frozen=True)
class CorruptionTile:
    """One corrupted scan of a grid.

    Attributes:
        name: Of the corruption.
        caption: Smaller, beside it: severity or kind.
        note: The second line.
        points: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
        colour_by: What the colour of a point shows.
        height_range: Heights [m] at the two ends of the colour ramp.
    """

    name: str
    caption: str
    note: str
    points: NDArray[np.float32]
    colour_by: Literal["height", "intensity"] = "height"
    height_range: tuple[float, float] = HEIGHT_RANGE


class OutcomeBoxes(NamedTuple):
    """Boxes of one outcome.

    Attributes:
        boxes: (N, 7) boxes, LiDAR frame.
        texts: N short texts to write beside them; empty ones are left out.
    """

    boxes: NDArray[np.float32]
    texts: Sequence[str]


def render_corruption_grid(tiles: Sequence[CorruptionTile], num_columns: int = 5) -> Picture:
    """Draws every tile from above, row by row, with its name.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If there is no tile or no column.
    """
    if not tiles or num_columns < 1:
        raise ValueError("a grid needs a tile and a column at least")
    num_columns = min(num_columns, len(tiles))
    num_rows = -(-len(tiles) // num_columns)
    step_x, step_y = _TILE_PX + _GAP_PX, _TILE_PX + _CAPTION_PX + _GAP_PX
    size = (num_columns * step_x + _GAP_PX, num_rows * step_y + _GAP_PX)
    image = Image.new("RGB", size, PANEL)
    draw = ImageDraw.Draw(image)
    view = BevView(_TILE_EXTENT, _TILE_PX, _TILE_PX)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, num_columns)
        left, top = _GAP_PX + column * step_x, _GAP_PX + row * step_y
        pixels = rasterise_points(tile.points, view, tile.colour_by, tile.height_range)
        image.paste(Image.fromarray(pixels), (left, top + _CAPTION_PX))
        caption_x = left + 4 + text_width(tile.name, 15) + 8
        draw_text(draw, (left + 4, top + 11), tile.name, 15, TEXT)
        draw_text(draw, (caption_x, top + 12), tile.caption, 12, MUTED)
        draw_text(draw, (left + 4, top + 29), shorten(tile.note, 11, _TILE_PX - 8), 11, MUTED)
    return np.asarray(image, dtype=np.uint8)


def render_before_after(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    title: str,
    colour_by: Literal["height", "intensity"] = "height",
) -> Picture:
    """Draws a scan from above before and after a corruption, side by side.

    Args:
        before: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
        after: (M, 4) of the same layout.
        title: The corruption.
        colour_by: What the colour of a point shows.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    halves = [
        render_bev(
            points,
            Boxes3D.empty(),
            (),
            extent=_HALF_EXTENT,
            size=_HALF_SIZE,
            title=name,
            subtitle=f"{len(points):,} points",
            colour_by=colour_by,
        )
        for name, points in (("before", before), (title, after))
    ]
    return np.concatenate(halves, axis=1)


def render_outcomes(
    points: NDArray[np.float32],
    outcomes: dict[str, OutcomeBoxes],
    *,
    title: str,
    subtitle: str = "",
    extent: Extent = DEFAULT_EXTENT,
    size: tuple[int, int] = (900, 900),
) -> Picture:
    """Draws one scan from above with detections and labels, coloured by how they match.

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
        ValueError: If an outcome has another name, or not as many texts as boxes.
    """
    for name, group in outcomes.items():
        if name not in OUTCOME_COLOURS:
            raise ValueError(f"outcome {name!r} must be one of {', '.join(OUTCOME_COLOURS)}")
        if len(group.boxes) != len(group.texts):
            raise ValueError(f"{len(group.texts)} texts for {len(group.boxes)} boxes ({name})")
    view = BevView(extent, size[0], size[1] - HEADER_PX - FOOTER_PX)
    scan_size = (view.width, view.height)
    scan = render_bev(points, Boxes3D.empty(), (), extent=extent, size=scan_size, frame=False)
    image = Image.fromarray(scan)
    shown = [name for name in OUTCOME_COLOURS if name in outcomes]
    for name in shown:
        _draw_outcome(image, view, outcomes[name], name)
    picture = framed(image, title, subtitle)
    legend = [(f"{name} {len(outcomes[name].boxes)}", OUTCOME_COLOURS[name]) for name in shown]
    draw_legend(picture, legend, picture.width)
    return np.asarray(picture, dtype=np.uint8)


def _draw_outcome(image: Image.Image, view: BevView, group: OutcomeBoxes, name: str) -> None:
    draw, colour = ImageDraw.Draw(image, "RGBA"), OUTCOME_COLOURS[name]
    corners = view.to_pixels(bev_corners(group.boxes))  # (N, 4, 2)
    for box, text in zip(corners, group.texts, strict=True):
        segments = dashed(outline(box)) if name in _DASHED else outline(box)
        draw_segments(image, segments, colour, _WIDTHS[name], None if name == "ignored" else box)
        if text:
            left, middle = float(box[:, 0].max()) + 5, float(box[:, 1].mean())
            right = left + text_width(text, _LABEL_PX)
            backing = (left - 2, middle - 7, right + 2, middle + 7)
            draw.rounded_rectangle(backing, 3, fill=(*BACKGROUND, 170))
            draw_text(draw, (left, middle), text, _LABEL_PX, colour)
