# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropies of the tapped layers of one frame against their normal band."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eloss_perception.plots.axes import Scale, label
from eloss_perception.plots.canvas import Area, Canvas, shorten, text_width
from eloss_perception.plots.style import (
    AXIS,
    BAND,
    BAND_EDGE,
    GRID,
    LEVEL_COLOURS,
    MUTED,
    PANEL,
    TEXT,
    mix,
)

_TICK_PX = 12
_MIN_LIMIT = 4.0
_MAX_LIMIT = 10.0


class Profile:
    """The readings of one frame and what is normal, checked and as plain floats.

    Raises:
        ValueError: If the lengths differ or there is no layer.
    """

    def __init__(
        self,
        names: Sequence[str],
        entropy: Sequence[float],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        lengths = {len(names), len(entropy), len(mean), len(std)}
        if len(lengths) != 1 or not len(names):
            raise ValueError(
                f"{len(names)} layer names, {len(entropy)} entropies, {len(mean)} means and "
                f"{len(std)} standard deviations: must be as many of each, at least one"
            )
        self.names = [str(name) for name in names]
        self.entropy = [float(value) for value in entropy]
        self.mean = [float(value) for value in mean]
        self.std = [float(value) for value in std]

    def deviations(self) -> list[float]:
        """Return each reading in standard deviations from normal; nan where that has no value."""
        return [
            (h - m) / s if s > 0.0 and math.isfinite(h) else math.nan
            for h, m, s in zip(self.entropy, self.mean, self.std, strict=True)
        ]


def draw_readings(canvas: Canvas, area: Area, profile: Profile, level: int, band: float) -> None:
    """Draw the entropies as a line of dots over one band a layer."""
    finite = [h for h in profile.entropy if math.isfinite(h)]
    edges = [
        m + sign * band * s
        for m, s in zip(profile.mean, profile.std, strict=True)
        for sign in (-1, 1)
    ]
    low, high = min([*edges, *finite]), max([*edges, *finite])
    pad = 0.12 * (high - low) or 0.1
    plot = Area(area.left + 46, area.top + 22, area.right, area.bottom)
    scale = Scale(low - pad, high + pad, plot.bottom, plot.top)
    canvas.text((area.left, area.top), "Entropy", _TICK_PX, MUTED, "la")
    for tick in scale.ticks(4):
        canvas.line([(plot.left, scale(tick)), (plot.right, scale(tick))], GRID)
        canvas.text((plot.left - 8, scale(tick)), label(tick), _TICK_PX, MUTED, "rm")
    columns = _columns(plot, len(profile.names))
    colour = LEVEL_COLOURS[level]
    for column, mean, std in zip(columns, profile.mean, profile.std, strict=True):
        top, bottom = scale(mean + band * std), scale(mean - band * std)
        # A band thinner than a line would vanish; its middle stays true.
        grow = max(0.0, 3.0 - (bottom - top)) / 2
        box = Area(column.left, top - grow, column.right, bottom + grow)
        canvas.rectangle(box, BAND, radius=3)
        canvas.line([(box.left, scale(mean)), (box.right, scale(mean))], BAND_EDGE, 1.5)
    dots = [
        (0.5 * (column.left + column.right), scale(h))
        for column, h in zip(columns, profile.entropy, strict=True)
        if math.isfinite(h)
    ]
    if len(dots) > 1:
        canvas.line(dots, mix(PANEL, colour, 0.55), 1.5)
    for dot in dots:
        canvas.disc(dot, 5.0, PANEL)
        canvas.disc(dot, 3.6, colour)


def draw_deviations(
    canvas: Canvas,
    area: Area,
    profile: Profile,
    level: int,
    band: float,
    *,
    with_names: bool = True,
    limit: float | None = None,
) -> None:
    """Draw the readings as bars in standard deviations from normal, the band shaded.

    Bars stop at the edge of the scale and end in an arrow where the reading lies further out.
    A fixed `limit` keeps the scale still from frame to frame.
    """
    deviations = profile.deviations()
    if limit is None:
        largest = max((abs(d) for d in deviations if math.isfinite(d)), default=0.0)
        limit = min(max(_MIN_LIMIT, 1.15 * largest), _MAX_LIMIT)
    foot = 24
    plot = Area(area.left + 46, area.top + 26, area.right, area.bottom - foot)
    scale = Scale(-limit, limit, plot.bottom, plot.top)
    canvas.text((area.left, area.top), "Deviation from normal [std]", _TICK_PX, MUTED, "la")
    canvas.rectangle(Area(plot.left, scale(band), plot.right, scale(-band)), BAND, 0.75, 3)
    for tick in scale.ticks(4):
        if tick:
            canvas.line([(plot.left, scale(tick)), (plot.right, scale(tick))], GRID)
        sign = "+" if tick > 0 else ""
        canvas.text((plot.left - 8, scale(tick)), sign + label(tick), _TICK_PX, MUTED, "rm")
    columns = _columns(plot, len(profile.names), share=0.62)
    for column, deviation in zip(columns, deviations, strict=True):
        _draw_bar(canvas, column, scale, deviation, LEVEL_COLOURS[level], band)
    canvas.line([(plot.left, scale(0.0)), (plot.right, scale(0.0))], AXIS, 1.2)
    top = area.bottom - foot + 6
    if with_names:
        _draw_names(canvas, plot, profile.names, top)
    else:  # No room for all: the first and the last tell which way to read.
        first, last = (shorten(profile.names[i], 11, plot.width / 2 - 8) for i in (0, -1))
        canvas.text((plot.left, top), first, 11, MUTED, "la")
        canvas.text((plot.right, top), last, 11, MUTED, "ra")


def _draw_bar(
    canvas: Canvas,
    column: Area,
    scale: Scale,
    deviation: float,
    colour: tuple[int, int, int],
    band: float,
) -> None:
    middle = 0.5 * (column.left + column.right)
    if not math.isfinite(deviation):
        canvas.disc((middle, scale(0.0)), 3.0, MUTED)
        return
    # Layers within the band stay quiet, so that the eye goes to those outside.
    shade = colour if abs(deviation) > band else mix(BAND, colour, 0.55)
    zero, tip = scale(0.0), scale(deviation)
    canvas.rectangle(
        Area(column.left, min(zero, tip), column.right, max(zero, tip)), shade, radius=2
    )
    if abs(deviation) > scale.high:
        towards = -1.0 if deviation > 0 else 1.0
        half = min(7.0, 0.5 * column.width)
        base = tip - towards * 2.0
        wings = base - towards * half
        canvas.line([(middle - half, wings), (middle, base), (middle + half, wings)], PANEL, 2.0)


def _draw_names(canvas: Canvas, plot: Area, names: Sequence[str], top: float) -> None:
    """Write the layer names, cut to what all share a column's width."""
    width = plot.width / len(names)
    size = _TICK_PX if all(text_width(n, _TICK_PX) < width - 6 for n in names) else _TICK_PX - 2
    for column, name in zip(_columns(plot, len(names), share=1.0), names, strict=True):
        middle = 0.5 * (column.left + column.right)
        canvas.text((middle, top), shorten(name, size, width - 4), size, TEXT, "ma")


def _columns(plot: Area, count: int, share: float = 0.72) -> list[Area]:
    """Cut a plot into equal columns, each a `share` of its slot and at most 64 px wide."""
    slot = plot.width / count
    half = 0.5 * min(share * slot, 64.0)
    centres = [plot.left + (i + 0.5) * slot for i in range(count)]
    return [Area(c - half, plot.top, c + half, plot.bottom) for c in centres]
