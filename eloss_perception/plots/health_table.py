# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A health benchmark as pictures: what the alarm sees, what it costs not to see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eloss_perception.plots.axes import Scale, label
from eloss_perception.plots.canvas import Area, Canvas, shorten, text_width
from eloss_perception.plots.profile import Profile, draw_deviations
from eloss_perception.plots.style import (
    AXIS,
    BACKGROUND,
    GRID,
    LEVEL_COLOURS,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    Picture,
    mix,
    point_ramp,
)

_TEXT_PX = 12
_TITLE_PX = 15
_NAME_PX = 150
_CELL_PX = (46, 22)
_MARGIN_PX = 18
_TITLE_HEIGHT_PX = 92
_SCATTER_PX = 460
_CAUGHT, _MISSED, _BORDER = LEVEL_COLOURS[0], LEVEL_COLOURS[2], LEVEL_COLOURS[1]
_MEANINGS = (("right", _CAUGHT), ("dangerous, unseen", _MISSED), ("odd, costs little", _BORDER))
_BAND_STD = 2.0


class HeatMap(NamedTuple):
    """Values of conditions, a row each corruption and a column each severity.

    Attributes:
        title: Above it.
        names: Of the rows.
        severities: Of the columns.
        values: (row, column) -> value; one that is missing leaves its cell empty.
        low: Value of the darkest colour.
        high: Of the brightest.
        digits: Of the numbers.
        harm: Whether brightness means harm, and is red.
    """

    title: str
    names: Sequence[str]
    severities: Sequence[int]
    values: Mapping[tuple[str, int], float]
    low: float
    high: float
    digits: int
    harm: bool = False


def render_health_table(document: Mapping[str, Any], protocol: str | None = None) -> Picture:
    """Draw AUROC and AP drop by corruption and severity, and how they go together.

    Args:
        document: The result of `eloss health`.
        protocol: Which calibration; without it the last in the document.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If the document holds no condition.
    """
    protocol = protocol or list(document["protocols"])[-1]
    section = document["protocols"][protocol]
    rows = section["scores"]["alarm"]["conditions"]
    keys = {text: _split(text) for text in rows}
    names = list(dict.fromkeys(name for name, _ in keys.values()))
    severities = sorted({severity for _, severity in keys.values()})
    if not names:
        raise ValueError("no conditions to draw")
    area_under = {keys[text]: float(row["auroc"]["value"]) for text, row in rows.items()}
    drops = {keys[text]: float(document["harm"][text]["worst_drop"]) for text in rows}
    maps = (
        HeatMap("AUROC of the alarm", names, severities, area_under, 0.5, 1.0, 2),
        HeatMap("AP drop, worse of BEV and 3D", names, severities, drops, 0.0, 60.0, 0, harm=True),
    )
    map_width = _CELL_PX[0] * len(severities)
    height = _TITLE_HEIGHT_PX + max(_CELL_PX[1] * len(names) + 24, 330) + _MARGIN_PX
    width = _MARGIN_PX * 4 + _NAME_PX + 2 * max(map_width, 190) + _SCATTER_PX
    canvas = Canvas(width, height, BACKGROUND)
    data = document["data"]
    canvas.text(
        (_MARGIN_PX, 12),
        f"{document['bundle']['name']}, {protocol}: {data['num_frames']} frames, "
        f"{data['num_objects']} cars, mean AUROC "
        f"{section['scores']['alarm']['mean_auroc']['value']:.2f}",
        _TITLE_PX,
        TEXT,
    )
    left = float(_MARGIN_PX + _NAME_PX)
    for number, heat_map in enumerate(maps):
        _draw_heat_map(canvas, left, heat_map, with_names=number == 0)
        left += max(map_width, 190) + _MARGIN_PX
    plot = Area(left + 46, _TITLE_HEIGHT_PX, width - _MARGIN_PX, height - _MARGIN_PX - 24)
    points = {
        text: (_log_ratio(row["median"], section["threshold"]), drops[keys[text]])
        for text, row in rows.items()
    }
    _draw_scatter(canvas, plot, points)
    return canvas.picture()


def render_profiles(document: Mapping[str, Any], num_columns: int = 4) -> Picture:
    """Draw how far the layers' entropies lie from normal, one small plot a corruption.

    Each shows the highest severity, its median over the frames, against the spread of clean frames.

    Args:
        document: The result of `eloss health`.
        num_columns: Plots side by side.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If the document holds no condition.
    """
    profiles = document["profiles"]
    highest: dict[str, str] = {}
    for text in profiles["conditions"]:
        highest[_split(text)[0]] = text
    if not highest:
        raise ValueError("no conditions to draw")
    width, height = 300, 190
    num_columns = min(num_columns, len(highest))
    num_rows = math.ceil(len(highest) / num_columns)
    canvas = Canvas(width * num_columns, height * num_rows, BACKGROUND)
    dangerous = {text for text, harm in document["harm"].items() if harm["kind"] == "dangerous"}
    for number, text in enumerate(highest.values()):
        row, column = divmod(number, num_columns)
        area = Area(column * width, row * height, (column + 1) * width, (row + 1) * height)
        canvas.rectangle(_inset(area, 5), PANEL, radius=6)
        canvas.text((area.left + 16, area.top + 12), text, _TEXT_PX + 1, TEXT)
        profile = Profile(
            profiles["layer_names"],
            [math.nan if value is None else value for value in profiles["conditions"][text]],
            profiles["clean"]["mean"],
            profiles["clean"]["std"],
        )
        inside = Area(area.left + 14, area.top + 32, area.right - 16, area.bottom - 10)
        level = 2 if text in dangerous else 0
        draw_deviations(canvas, inside, profile, level, _BAND_STD, with_names=False, limit=6.0)
    return canvas.picture()


def _draw_heat_map(canvas: Canvas, left: float, heat_map: HeatMap, with_names: bool) -> None:
    cell_width, cell_height = _CELL_PX
    top = float(_TITLE_HEIGHT_PX)
    canvas.text((left, top - 40), heat_map.title, _TEXT_PX + 1, TEXT)
    for column, severity in enumerate(heat_map.severities):
        x = left + (column + 0.5) * cell_width
        canvas.text((x, top - 4), str(severity), _TEXT_PX, MUTED, "md")
    for row, name in enumerate(heat_map.names):
        y = top + row * cell_height
        if with_names:
            text = shorten(name, _TEXT_PX, _NAME_PX - 10)
            canvas.text((left - 8, y + 0.5 * cell_height), text, _TEXT_PX, TEXT, "rm")
        for column, severity in enumerate(heat_map.severities):
            value = heat_map.values.get((name, severity))
            x = left + column * cell_width
            cell = Area(x + 1, y + 1, x + cell_width - 1, y + cell_height - 1)
            if value is None:
                canvas.rectangle(cell, PANEL)
                continue
            share = (value - heat_map.low) / (heat_map.high - heat_map.low)
            colour = _colour(share, heat_map.harm)
            canvas.rectangle(cell, colour, radius=2)
            ink = BACKGROUND if sum(colour) > 330 else TEXT
            centre = (x + 0.5 * cell_width, y + 0.5 * cell_height)
            canvas.text(centre, _plain(value, heat_map.digits), _TEXT_PX - 1, ink, "mm")


def _draw_scatter(canvas: Canvas, plot: Area, points: Mapping[str, tuple[float, float]]) -> None:
    """Draw AP drop over the score; what is dangerous and below the threshold is red."""
    canvas.text((plot.left, plot.top - 40), "AP drop over median score", _TEXT_PX + 1, TEXT)
    x = plot.left
    for text, colour in _MEANINGS:
        canvas.disc((x + 4, plot.top - 12), 3.6, colour)
        canvas.text((x + 12, plot.top - 12), text, _TEXT_PX, MUTED, "lm")
        x += text_width(text, _TEXT_PX) + 30
    canvas.rectangle(plot, PANEL)
    scores = [score for score, _ in points.values()]
    low, high = min([-0.2, *scores]), max([0.2, *scores])
    drops = [drop for _, drop in points.values()]
    x_scale = Scale(10.0 ** (low - 0.05), 10.0 ** (high + 0.05), plot.left, plot.right, log=True)
    y_scale = Scale(min([-5.0, *drops]), max([20.0, *drops]) + 4.0, plot.bottom, plot.top)
    for tick in y_scale.ticks(6):
        y = y_scale(tick)
        canvas.line([(plot.left, y), (plot.right, y)], GRID)
        canvas.text((plot.left - 6, y), label(tick), _TEXT_PX, MUTED, "rm")
    for tick in x_scale.ticks(6):
        canvas.text((x_scale(tick), plot.bottom + 5), label(tick), _TEXT_PX, MUTED, "ma")
    canvas.line([(x_scale(1.0), plot.top), (x_scale(1.0), plot.bottom)], AXIS, 1.5)
    canvas.dashed_line((plot.left, y_scale(10.0)), (plot.right, y_scale(10.0)), AXIS)
    middle = (0.5 * (plot.left + plot.right), plot.bottom + 22)
    canvas.text(middle, "median score / threshold", _TEXT_PX, MUTED, "ma")
    named: list[Area] = []
    for name, (score, drop) in points.items():
        dangerous, odd = drop >= 10.0, score >= 0.0
        colour = _CAUGHT if dangerous == odd else (_MISSED if dangerous else _BORDER)
        dot = (x_scale(10.0**score), y_scale(drop))
        canvas.disc(dot, 3.6, colour)
        left = dot[0] - 8 - text_width(name, _TEXT_PX - 2)
        place = Area(left, dot[1] - 6, dot[0] + 4, dot[1] + 6)
        # Names that would cover others are in the table beside.
        if colour == _MISSED and left > plot.left and not any(_overlap(place, a) for a in named):
            canvas.text((dot[0] - 8, dot[1]), name, _TEXT_PX - 2, MUTED, "rm")
            named.append(place)


def _colour(share: float, harm: bool) -> Colour:
    share = min(max(share, 0.0), 1.0)
    if harm:
        return mix(PANEL, _MISSED, share)
    ramp = point_ramp()
    red, green, blue = (int(value) for value in ramp[round(share * (len(ramp) - 1))])
    return red, green, blue


def _log_ratio(median: float | None, threshold: float) -> float:
    """Return log10 of the score over the threshold, limited to what a picture can show."""
    if median is None:
        return 2.0
    return min(2.0, math.log10(max(median, 1e-3) / threshold))


def _plain(value: float, digits: int) -> str:
    """Return a number without the sign of a rounded zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _split(text: str) -> tuple[str, int]:
    name, _, severity = text.partition(":")
    return name, int(severity)


def _overlap(a: Area, b: Area) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _inset(area: Area, by: float) -> Area:
    return Area(area.left + by, area.top + by, area.right - by, area.bottom - by)
