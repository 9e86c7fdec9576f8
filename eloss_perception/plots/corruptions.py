# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans before and after a corruption, and one picture of many corruptions of the same scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.plots.bev import HEIGHT_RANGE, BevView, Extent, rasterise_points, render_bev
from eloss_perception.plots.canvas import draw_text, shorten, text_width
from eloss_perception.plots.style import MUTED, PANEL, TEXT, Picture

# Heights [m] that a road takes when its sensor is tilted or raised: all of the ramp for them.
ROAD_HEIGHT_RANGE = (-2.6, -0.9)

_TILE_EXTENT: Extent = (-14.0, -24.0, 34.0, 24.0)
_TILE_PX = 300
_CAPTION_PX = 40
_GAP_PX = 6
_HALF_SIZE = (620, 720)
_HALF_EXTENT: Extent = (-30.0, -35.0, 50.0, 35.0)


@dataclass(frozen=True)
class CorruptionTile:
    """One corrupted scan of a picture of many.

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


def render_corruption_grid(tiles: Sequence[CorruptionTile], num_columns: int = 5) -> Picture:
    """Draw every tile from above, row by row, with its name.

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
        draw_text(draw, (left + 4, top + 11), tile.name, 15, TEXT, "lm")
        draw_text(draw, (caption_x, top + 12), tile.caption, 12, MUTED, "lm")
        note = shorten(tile.note, 11, _TILE_PX - 8)
        draw_text(draw, (left + 4, top + 29), note, 11, MUTED, "lm")
    return np.asarray(image, dtype=np.uint8)


def render_before_after(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    title: str,
    colour_by: Literal["height", "intensity"] = "height",
) -> Picture:
    """Draw a scan from above as it was and as it became, side by side.

    Args:
        before: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
        after: (M, 4) of the same layout.
        title: What was done to it.
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
