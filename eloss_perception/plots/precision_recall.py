# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Precision over recall: a panel for each class, a line for each metric and overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eloss_perception.plots.axes import Scale, label
from eloss_perception.plots.canvas import Area, Canvas, Pixel, shorten, text_width
from eloss_perception.plots.style import (
    AXIS,
    BACKGROUND,
    GRID,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    Picture,
    class_colour,
)

_PANEL_SIZE = (380, 372)
_HEADER_PX = 36
_MARGIN_PX = 14
_LEFT_PX = 46
_TOP_PX = 40
_BOTTOM_PX = 40
_TEXT_PX = 12
_LEGEND_ROW_PX = 17

# Metrics by hue; the same hue solid for the strict overlap and dashed for the loose one.
_METRIC_COLOURS: dict[str, Colour] = {
    "bev": (86, 180, 233),
    "3d": (255, 166, 48),
    "image": (154, 230, 92),
}
_METRIC_NAMES = {"bev": "BEV", "3d": "3D", "image": "image"}
_DASH_PX = 4.0


class PrecisionCurve(NamedTuple):
    """One line.

    Attributes:
        metric: `bev`, `3d` or `image`.
        min_overlap: IoU that a detection must exceed.
        is_loose: Whether that is the looser of two overlaps.
        precision: Precision [%] at equally spaced recalls, the last one 100 %; NaN where no object
            counts.
        ap: Average precision [%] for the legend.
    """

    metric: str
    min_overlap: float
    is_loose: bool
    precision: Sequence[float]
    ap: float


def render_precision_recall(
    curves: dict[str, Sequence[PrecisionCurve]],
    num_objects: dict[str, int],
    title: str,
    subtitle: str = "",
) -> Picture:
    """Draw precision over recall.

    Args:
        curves: class -> its lines; a class without any has an empty panel.
        num_objects: class -> objects that count.
        title: Text at the top left.
        subtitle: Quieter text at the top right.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If there is no class.
    """
    if not curves:
        raise ValueError("no class to draw")
    width, height = _PANEL_SIZE
    canvas = Canvas(width * len(curves), height + _HEADER_PX, BACKGROUND)
    quiet = shorten(subtitle, 13, 0.5 * canvas.width)
    canvas.text((canvas.width - _MARGIN_PX, _HEADER_PX / 2), quiet, 13, MUTED, "rm")
    loud = shorten(title, 16, canvas.width - text_width(quiet, 13) - 4 * _MARGIN_PX)
    canvas.text((_MARGIN_PX, _HEADER_PX / 2), loud, 16, TEXT, "lm")
    for column, (name, lines) in enumerate(curves.items()):
        area = Area(column * width, _HEADER_PX, (column + 1) * width, _HEADER_PX + height)
        _draw_panel(canvas, area, name, lines, num_objects.get(name, 0))
    return canvas.picture()


def _draw_panel(
    canvas: Canvas, area: Area, name: str, lines: Sequence[PrecisionCurve], num_objects: int
) -> None:
    plot = Area(
        area.left + _LEFT_PX, area.top + _TOP_PX, area.right - _MARGIN_PX, area.bottom - _BOTTOM_PX
    )
    canvas.rectangle(plot, PANEL)
    middle = area.top + _TOP_PX / 2
    canvas.rectangle(
        Area(plot.left, middle - 5, plot.left + 10, middle + 5), class_colour(name), radius=2
    )
    canvas.text((plot.left + 17, middle), name, 15, TEXT, "lm")
    noun = "object" if num_objects == 1 else "objects"
    canvas.text((plot.right, middle), f"{num_objects} {noun}", _TEXT_PX, MUTED, "rm")
    recall = Scale(0.0, 100.0, plot.left, plot.right)
    precision = Scale(0.0, 100.0, plot.bottom, plot.top)
    for tick in recall.ticks(5):
        canvas.line([(recall(tick), plot.top), (recall(tick), plot.bottom)], GRID)
        canvas.line([(plot.left, precision(tick)), (plot.right, precision(tick))], GRID)
        canvas.text((recall(tick), plot.bottom + 6), label(tick), _TEXT_PX, MUTED, "ma")
        canvas.text((plot.left - 7, precision(tick)), label(tick), _TEXT_PX, MUTED, "rm")
    centre = 0.5 * (plot.left + plot.right)
    canvas.text((centre, area.bottom - 4), "recall [%]", _TEXT_PX, MUTED, "md")
    for line in lines:
        points = _points(line, recall, precision)
        if not points:
            continue  # Nothing found, or nothing to find.
        colour = _METRIC_COLOURS[line.metric]
        if not line.is_loose:
            canvas.line(points, colour, 2.0)
            continue
        for dash in _dashes(points):
            canvas.line(dash, colour, 1.6)
    canvas.line([(plot.left, plot.top), (plot.left, plot.bottom), (plot.right, plot.bottom)], AXIS)
    _draw_legend(canvas, plot, lines)


def _points(line: PrecisionCurve, recall: Scale, precision: Scale) -> list[tuple[float, float]]:
    """Return the pixels of a line: as far as objects are found, then down to the axis."""
    values = [value for value in line.precision if value > 0.0]  # leaves out NaN
    if not values:
        return []
    step = 100.0 / len(line.precision)
    reached = [(step * (i + 1), value) for i, value in enumerate(values)]
    corners = [(0.0, values[0]), *reached]
    if len(values) < len(line.precision):
        corners.append((reached[-1][0], 0.0))
    return [(recall(x), precision(y)) for x, y in corners]


def _dashes(points: Sequence[Pixel]) -> list[list[Pixel]]:
    """Cut a polyline into dashes of `_DASH_PX` with gaps as long, bends included."""
    at = np.array(points)
    lengths = np.hypot(*np.diff(at, axis=0).T)
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    dashes = []
    for start in np.arange(0.0, travelled[-1], 2 * _DASH_PX):
        end = min(start + _DASH_PX, travelled[-1])
        bends = travelled[(travelled > start) & (travelled < end)]
        stops = np.concatenate([[start], bends, [end]])
        xs, ys = (np.interp(stops, travelled, at[:, axis]).tolist() for axis in (0, 1))
        dashes.append(list(zip(xs, ys, strict=True)))
    return dashes


def _draw_legend(canvas: Canvas, plot: Area, lines: Sequence[PrecisionCurve]) -> None:
    """Write what each line is and its AP at the lower left, where detectors' curves are not."""
    top = plot.bottom - 10 - _LEGEND_ROW_PX * len(lines)
    if lines:
        canvas.rectangle(Area(plot.left + 6, top - 4, plot.left + 172, plot.bottom - 6), PANEL, 0.8)
    for row, line in enumerate(lines):
        y = top + _LEGEND_ROW_PX * (row + 0.5)
        start, end = (plot.left + 12, y), (plot.left + 38, y)
        if line.is_loose:
            canvas.dashed_line(start, end, _METRIC_COLOURS[line.metric], 1.6, _DASH_PX)
        else:
            canvas.line([start, end], _METRIC_COLOURS[line.metric], 2.0)
        ap = "-" if math.isnan(line.ap) else f"{line.ap:.1f}"
        text = f"{_METRIC_NAMES[line.metric]} {line.min_overlap:.2f}"
        canvas.text((plot.left + 46, y), text, _TEXT_PX, TEXT, "lm")
        canvas.text((plot.left + 164, y), f"AP {ap}", _TEXT_PX, TEXT, "rm")
