# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Charts by matplotlib: curves with error bands, and precision over recall."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eloss_perception.plots.style import (
    CHART_STYLE,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    Picture,
    class_colour,
    hex_colour,
)

_DPI = int(CHART_STYLE["figure.dpi"])
_LEGEND_PX = 28
HEADING_PX = 40
_PANEL_SIZE = (400, 380)
# Beside the colours, for whoever cannot tell those apart.
_MARKERS = "os^Dv"

# Metrics by hue, which colour-blind readers can tell apart; the loose overlap is dashed.
_METRIC_COLOURS: dict[str, Colour] = {
    "bev": (86, 180, 233),
    "3d": (255, 166, 48),
    "image": (154, 230, 92),
}
_METRIC_NAMES = {"bev": "BEV", "3d": "3D", "image": "image"}


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


@contextmanager
def new_figure(size: tuple[int, int]) -> Iterator[Figure]:
    """Yields a figure of `size` pixels in this package's style; read it inside with `pixels_of`."""
    with matplotlib.rc_context(CHART_STYLE):
        yield Figure(figsize=(size[0] / _DPI, size[1] / _DPI))


def pixels_of(figure: Figure) -> Picture:
    """Renders a figure: (height, width, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[:, :, :3]


def write_heading(figure: Figure, title: str, note: str = "") -> None:
    """Writes a title at the top left and a quieter note at the top right."""
    width, height = figure.get_size_inches() * _DPI
    left, right, y = 14 / width, 1 - 14 / width, 1 - 18 / height
    figure.text(left, y, title, size=12.5, va="center")
    figure.text(right, y, note, size=9.5, color=hex_colour(MUTED), va="center", ha="right")


def render_curves(
    panels: Sequence[Panel],
    colours: dict[str, Colour],
    num_columns: int = 2,
    panel_size: tuple[int, int] = (460, 300),
) -> Picture:
    """Draws panels in a grid with one legend.

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
    num_columns = min(num_columns, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    size = (panel_size[0] * num_columns, panel_size[1] * num_rows + _LEGEND_PX)
    with new_figure(size) as figure:
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - _LEGEND_PX / size[1]))
        grid = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
        for axes, panel in zip(grid, panels, strict=False):
            _draw_curves(axes, panel, colours)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
        shown = [name for name in colours if name in lines]
        figure.legend(
            [lines[name] for name in shown], shown, loc="upper left", ncols=8, frameon=False
        )
        return pixels_of(figure)


def _draw_curves(axes: Any, panel: Panel, colours: dict[str, Colour]) -> None:
    if not any(np.isfinite(curve.y).any() for curve in panel.curves):
        raise ValueError(f"panel {panel.title!r} holds no finite value")
    names = list(colours)
    for curve in panel.curves:
        colour, marker = hex_colour(colours[curve.name]), _MARKERS[names.index(curve.name) % 5]
        spread = np.nan_to_num(curve.spread)
        axes.fill_between(
            curve.x, curve.y - spread, curve.y + spread, color=colour, alpha=0.18, linewidth=0
        )
        axes.plot(curve.x, curve.y, color=colour, marker=marker, markersize=4, label=curve.name)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    if panel.x_names:
        axes.set_xticks(range(len(panel.x_names)), panel.x_names)


def render_precision_recall(
    curves: dict[str, Sequence[PrecisionCurve]],
    num_objects: dict[str, int],
    title: str,
    subtitle: str = "",
) -> Picture:
    """Draws precision over recall: a panel a class, a line for each metric and overlap.

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
    size = (_PANEL_SIZE[0] * len(curves), _PANEL_SIZE[1] + HEADING_PX)
    with new_figure(size) as figure:
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - HEADING_PX / size[1]))
        write_heading(figure, title, subtitle)
        grid = figure.subplots(1, len(curves), squeeze=False).flat
        for axes, (name, lines) in zip(grid, curves.items(), strict=True):
            _draw_precision(axes, lines)
            number = num_objects.get(name, 0)
            axes.set_title(name, color=hex_colour(class_colour(name)))
            text = f"{number} object{'s' * (number != 1)}"
            axes.set_title(text, loc="right", size=9, color=hex_colour(MUTED))
        return pixels_of(figure)


def _draw_precision(axes: Any, lines: Sequence[PrecisionCurve]) -> None:
    for line in lines:
        reached = [value for value in line.precision if value > 0.0]  # leaves out NaN
        recall = 100.0 / max(len(line.precision), 1) * np.arange(len(reached) + 1)
        if len(reached) < len(line.precision):  # down to the axis at the last recall
            recall = np.append(recall, recall[-1])
        precision = np.zeros(len(recall))
        precision[1 : len(reached) + 1] = reached
        precision[0] = reached[0] if reached else 0.0
        ap = "-" if math.isnan(line.ap) else f"{line.ap:.1f}"
        axes.plot(
            recall if reached else [],  # nothing found, or nothing to find: in the legend alone
            precision if reached else [],
            color=hex_colour(_METRIC_COLOURS[line.metric]),
            linestyle=(0, (3, 2)) if line.is_loose else "-",
            linewidth=1.6 if line.is_loose else 2.0,
            label=f"{_METRIC_NAMES[line.metric]}, IoU {line.min_overlap:.2f}: AP {ap}",
        )
    axes.set(xlim=(0, 100), ylim=(0, 101.5), xlabel="Recall [%]", ylabel="Precision [%]")
    if lines:  # at the lower left, where detectors' curves are not
        axes.legend(loc="lower left", facecolor=hex_colour(PANEL), labelcolor=hex_colour(TEXT))
