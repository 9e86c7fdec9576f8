# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panels of curves with error bands, for results that several runs give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.plots.axes import Scale, label
from eloss_perception.plots.canvas import Area, Canvas, Pixel
from eloss_perception.plots.style import AXIS, BACKGROUND, GRID, MUTED, PANEL, TEXT, Colour, Picture

_TEXT_PX = 12
_TITLE_PX = 14
_MARGIN_PX = 10
_LEFT_PX = 44
_BOTTOM_PX = 38
_TOP_PX = 30
_LEGEND_PX = 28


class Curve(NamedTuple):
    """One line of a panel.

    Attributes:
        name: Curves of the same name have one colour and one entry in the legend.
        x: (N,) ascending.
        y: (N,) values; a NaN interrupts the line.
        spread: (N,) half width of the band around it.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    spread: NDArray[np.float64]


class Panel(NamedTuple):
    """One plot: its title, what x is, and its curves; `x_names` label the ticks by position."""

    title: str
    x_label: str
    curves: Sequence[Curve]
    x_names: Sequence[str] = ()


def render_curves(
    panels: Sequence[Panel],
    colours: dict[str, Colour],
    num_columns: int = 2,
    panel_size: tuple[int, int] = (460, 300),
) -> Picture:
    """Draw panels in a grid with one legend.

    Args:
        panels: At least one, each with at least one finite value.
        colours: Colour of each name of a curve.
        num_columns: Panels side by side.
        panel_size: Width and height of each [px].

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not panels:
        raise ValueError("no panels to draw")
    width, height = panel_size
    num_rows = math.ceil(len(panels) / num_columns)
    num_columns = min(num_columns, len(panels))
    canvas = Canvas(width * num_columns, height * num_rows + _LEGEND_PX, BACKGROUND)
    x = float(_LEFT_PX)
    for name, colour in colours.items():
        y = _LEGEND_PX / 2
        canvas.line([(x, y), (x + 22, y)], colour, 3)
        canvas.text((x + 28, y), name, _TEXT_PX, TEXT, "lm")
        x += 52 + 7.0 * len(name)
    for number, panel in enumerate(panels):
        row, column = divmod(number, num_columns)
        left, top = column * width, _LEGEND_PX + row * height
        _draw_panel(canvas, Area(left, top, left + width, top + height), panel, colours)
    return canvas.picture()


def _draw_panel(canvas: Canvas, area: Area, panel: Panel, colours: dict[str, Colour]) -> None:
    plot = Area(
        area.left + _LEFT_PX, area.top + _TOP_PX, area.right - _MARGIN_PX, area.bottom - _BOTTOM_PX
    )
    canvas.rectangle(plot, PANEL)
    canvas.text((plot.left, area.top + _TOP_PX / 2), panel.title, _TITLE_PX, TEXT, "lm")
    low = np.concatenate([c.y - c.spread for c in panel.curves])
    high = np.concatenate([c.y + c.spread for c in panel.curves])
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.any():
        raise ValueError(f"panel {panel.title!r} holds no finite value")
    bottom, top = float(low[finite].min()), float(high[finite].max())
    pad = 0.06 * (top - bottom) or 1.0
    xs = np.concatenate([c.x for c in panel.curves])
    y_scale = Scale(bottom - pad, top + pad, plot.bottom, plot.top)
    half = 0.5 if panel.x_names else 0.0
    x_scale = Scale(float(xs.min()) - half, float(xs.max()) + half, plot.left, plot.right)
    for tick in y_scale.ticks(5):
        y = y_scale(tick)
        canvas.line([(plot.left, y), (plot.right, y)], GRID, 1)
        canvas.text((plot.left - 6, y), label(tick), _TEXT_PX, MUTED, "rm")
    x_ticks = [(float(place), name) for place, name in enumerate(panel.x_names)]
    for tick, text in x_ticks or [(t, label(t)) for t in x_scale.ticks(6)]:
        canvas.text((x_scale(tick), plot.bottom + 6), text, _TEXT_PX, MUTED, "ma")
    middle = (0.5 * (plot.left + plot.right), area.bottom - 4)
    canvas.text(middle, panel.x_label, _TEXT_PX, MUTED, "md")
    for curve in panel.curves:
        _draw_curve(canvas, curve, x_scale, y_scale, colours[curve.name])
    corners = [(plot.left, plot.top), (plot.left, plot.bottom), (plot.right, plot.bottom)]
    canvas.line(corners, AXIS, 1)


def _draw_curve(canvas: Canvas, curve: Curve, x: Scale, y: Scale, colour: Colour) -> None:
    """Draw the band, the line and a dot at each value, run of finite values by run."""
    finite = np.isfinite(curve.y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        part = slice(int(start), int(end))
        columns = [x(float(v)) for v in curve.x[part]]
        values, spread = curve.y[part], np.nan_to_num(curve.spread[part])
        upper: list[Pixel] = [
            (c, y(float(v))) for c, v in zip(columns, values + spread, strict=True)
        ]
        lower: list[Pixel] = [
            (c, y(float(v))) for c, v in zip(columns, values - spread, strict=True)
        ]
        line: list[Pixel] = [(c, y(float(v))) for c, v in zip(columns, values, strict=True)]
        if len(line) > 1:
            canvas.polygon([*upper, *reversed(lower)], colour, 0.18)
            canvas.line(line, colour, 2)
        for point in line:
            canvas.disc(point, 2.6, colour)
