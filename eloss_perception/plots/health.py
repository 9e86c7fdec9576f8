# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of entropy health: the layer profile against its normal band, and health over time."""

from __future__ import annotations

from collections.abc import Sequence

from eloss_perception.plots.canvas import Area, Canvas, text_width
from eloss_perception.plots.profile import Profile, draw_deviations, draw_readings
from eloss_perception.plots.style import (
    LEVEL_COLOURS,
    LEVEL_NAMES,
    MUTED,
    PANEL,
    TEXT,
    Picture,
)
from eloss_perception.plots.timeline import Timeline, draw_timeline

_MARGIN_PX = 18


def render_profile(
    layer_names: Sequence[str],
    layer_entropy: Sequence[float],
    layer_mean: Sequence[float],
    layer_std: Sequence[float],
    level: int,
    *,
    band: float = 2.0,
    title: str = "Entropy profile",
    size: tuple[int, int] = (900, 540),
) -> Picture:
    """Draw the entropy of each tapped layer over the band that clean frames keep to.

    Above, the entropies themselves; below, the same readings in standard deviations from normal,
    because a telling change is often small beside the difference between two layers.

    Args:
        layer_names: L names in the order of the network.
        layer_entropy: (L,) entropy of this frame; a non-finite one is drawn as missing.
        layer_mean: (L,) mean over clean frames.
        layer_std: (L,) standard deviation over clean frames.
        level: Health level (`HealthLevel` or its value), which colours the readings.
        band: Half width of the shaded band in standard deviations.
        title: Text at the top left.
        size: Width and height [px].

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If the four sequences differ in length or are empty.
    """
    profile = Profile(layer_names, layer_entropy, layer_mean, layer_std)
    width, height = size
    canvas = Canvas(width, height, PANEL)
    _draw_heading(canvas, title, f"Shaded: clean mean ±{band:g} std", int(level))
    split = 44 + (height - 44) * 0.52
    readings = Area(_MARGIN_PX, 50, width - _MARGIN_PX, split)
    deviations = Area(_MARGIN_PX, split + 14, width - _MARGIN_PX, height - 12)
    draw_readings(canvas, readings, profile, int(level), band)
    draw_deviations(canvas, deviations, profile, int(level), band)
    return canvas.picture()


def render_timeline(
    timeline: Timeline,
    *,
    title: str = "Entropy health",
    note: str = "",
    size: tuple[int, int] = (1100, 480),
) -> Picture:
    """Draw the health of a drive over time.

    Args:
        timeline: Scores, levels and what else is known of the drive.
        title: Text at the top left.
        note: Smaller text beside it.
        size: Width and height [px].

    Returns:
        (height, width, 3) uint8 RGB.
    """
    width, height = size
    canvas = Canvas(width, height, PANEL)
    _draw_heading(canvas, title, "", None)
    canvas.text((_MARGIN_PX + text_width(title, 18) + 16, 25), note, 13, MUTED, "lm")
    x = float(width - _MARGIN_PX)
    for level in sorted(set(timeline.levels), reverse=True):
        canvas.text((x, 24), LEVEL_NAMES[level], 13, MUTED, "rm")
        x -= text_width(LEVEL_NAMES[level], 13) + 16
        canvas.rectangle(Area(x, 19, x + 10, 29), LEVEL_COLOURS[level], radius=2)
        x -= 18
    area = Area(_MARGIN_PX, 46, width - _MARGIN_PX, height - 10)
    draw_timeline(canvas, area, timeline)
    return canvas.picture()


def _draw_heading(canvas: Canvas, title: str, note: str, level: int | None) -> None:
    canvas.text((_MARGIN_PX, 24), title, 18, TEXT, "lm")
    right = float(canvas.width - _MARGIN_PX)
    if level is not None:
        draw_level(canvas, Area(right - 74, 12, right, 36), level)
        right -= 88
    if note:
        canvas.text((right, 24), note, 13, MUTED, "rm")


def draw_level(canvas: Canvas, area: Area, level: int) -> None:
    """Draw a health level as a filled badge with its name."""
    canvas.rectangle(area, LEVEL_COLOURS[level], radius=min(5.0, area.height / 3))
    middle = (0.5 * (area.left + area.right), 0.5 * (area.top + area.bottom))
    canvas.text(middle, LEVEL_NAMES[level], round(0.58 * area.height), PANEL, "mm")
