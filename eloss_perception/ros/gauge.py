# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropy gauge: a board of markers lying flat behind the vehicle, with text beside it.

From left to right:

- a bar for each tapped layer in the network's order: the deviation of its entropy from normal in
  standard deviations, forward (+x) for more than normal; the grey plate is the normal band;
- a bar for the score averaged over time, which the level follows; its plate ends at the
  threshold;
- a row for each check of layers and scan, whose bar grows to the right with the deviation; its
  plate ends at what clean scans reach, and a longer bar is not green;
- level, score and reason as text.

It is meant to be seen from above or from behind the vehicle. Everything is opaque: RViz draws
translucent bodies in the wrong order.
"""

from __future__ import annotations

import math
import textwrap
from typing import NamedTuple

from visualization_msgs.msg import Marker

from eloss_perception.health.monitor import HealthLevel
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.markers import Color, Part, parts_to_cdr

# The width is that of the view behind the vehicle in `config/eloss.rviz`. Metres.
_TEXT_HEIGHT = 0.7
_CHARACTER_RATIO = 0.5  # mean width of RViz's characters over their height
_BAR_HEIGHT = 0.2
_SPACING, _BAR_WIDTH = 0.75, 0.55
_METRES_PER_SIGMA, _BAND_SIGMAS, _MAX_SIGMAS = 0.5, 3.0, 6.0  # 3: 99.7 % of a Gaussian's readings
_BAND_LENGTH = _METRES_PER_SIGMA * _BAND_SIGMAS
_MAX_LENGTH = _METRES_PER_SIGMA * _MAX_SIGMAS
_BOTTOM = -_MAX_LENGTH - 1.5 * _TEXT_HEIGHT
_LABEL_LINE = _BOTTOM + 0.5 * _TEXT_HEIGHT
_THRESHOLD_LENGTH, _MAX_SCORE_RATIO = 0.75, 4.0  # beyond the ERROR at three times the threshold
_ROW_PITCH, _CHECK_BAR, _CHECK_TEXT = 0.8, 0.5, 0.5
_NAME_WIDTH = 2.6  # of a check's name
_LIMIT_LENGTH, _MAX_CHECK_RATIO = 1.2, 2.5
_TABLE_WIDTH = _NAME_WIDTH + _LIMIT_LENGTH * _MAX_CHECK_RATIO
_LINE_LENGTH = 28  # characters: the name of a check that departs fits in a line
_TEXT_WIDTH = _CHARACTER_RATIO * _TEXT_HEIGHT * _LINE_LENGTH
_MARGIN = 0.6

_BOARD_COLOR: Color = (0.05, 0.06, 0.08, 1.0)
_BAND_COLOR: Color = (0.28, 0.3, 0.34, 1.0)
_LABEL_COLOR: Color = (0.8, 0.83, 0.87, 1.0)
_LEVEL_COLORS: dict[HealthLevel, Color] = {
    HealthLevel.OK: (0.2, 0.85, 0.3, 1.0),
    HealthLevel.WARN: (1.0, 0.7, 0.1, 1.0),
    HealthLevel.ERROR: (0.95, 0.2, 0.2, 1.0),
    HealthLevel.STALE: (0.65, 0.66, 0.72, 1.0),
}

# Two ends along an axis of the board [m], in either order.
_Extent = tuple[float, float]


def gauge_to_cdr(health: EntropyHealth, offset: tuple[float, float, float]) -> bytes:
    """Returns the gauge of one health message.

    Args:
        health: What to show; readings that are not finite get no bar.
        offset: Centre of the zero line of all bars in the sensor frame: forward, left, up [m].

    Returns:
        A serialised MarkerArray: DELETEALL and the parts, all in the health message's frame.
    """
    return parts_to_cdr(gauge_parts(health, offset), health.header)


def gauge_parts(health: EntropyHealth, offset: tuple[float, float, float]) -> list[Part]:
    """Returns the parts of the gauge; arguments as for `gauge_to_cdr`.

    Returns:
        Plates (namespace `gauge_band`), bars of layers and score (`gauge`, id = index of the layer,
        the score after them) and of checks (`gauge_check`, id = index of the check), their labels
        (`gauge_label`, `gauge_check_label`), and the text (`gauge_text`), which is the last.
    """
    board = _Board(*offset)
    num_layers, num_checks = len(health.layer_names), len(health.check_names)
    chart_width = _SPACING * (num_layers + 2)  # a gap, then the score
    table_width = _SPACING + _TABLE_WIDTH if num_checks else 0.0
    end = 0.5 * (chart_width + table_width)
    top = max(_MAX_LENGTH, _BOTTOM + _ROW_PITCH * num_checks)
    along = (_BOTTOM - _MARGIN, top + _MARGIN)
    across = (-end - _MARGIN - _TEXT_WIDTH - _MARGIN, end + _MARGIN)
    return [
        board.slab("gauge_band", 0, along, across, _BOARD_COLOR, -2.0 * _BAR_HEIGHT, 0.05),
        *_layers(board, health, end),
        *_score(board, health, end - chart_width + 0.5 * _SPACING),
        *_checks(board, health, end - chart_width - _SPACING, top),
        _text(board, health, -end - _MARGIN - 0.5 * _TEXT_WIDTH, 0.5 * (_BOTTOM + top)),
    ]


class _Board(NamedTuple):
    """The board's origin in the sensor frame: forward, left, up [m].

    Places and extents are relative to it: `along` is forward, `across` is to the left.
    """

    x: float
    y: float
    z: float

    def slab(
        self,
        namespace: str,
        marker_id: int,
        along: _Extent,
        across: _Extent,
        color: Color,
        up: float = 0.0,
        thickness: float = _BAR_HEIGHT,
    ) -> Part:
        # RViz refuses a cube without an extent.
        length, width = (max(abs(end - start), 0.05) for start, end in (along, across))
        position = (self.x + 0.5 * sum(along), self.y + 0.5 * sum(across), self.z + up)
        scale = (length, width, thickness)
        return Part(namespace, marker_id, Marker.CUBE, position, scale, color)

    def band(self, marker_id: int, along: _Extent, across: _Extent) -> Part:
        """A thin plate below the bars that shows what is normal."""
        return self.slab("gauge_band", marker_id, along, across, _BAND_COLOR, -_BAR_HEIGHT, 0.05)

    def text(
        self,
        namespace: str,
        marker_id: int,
        place: tuple[float, float],
        text: str,
        color: Color = _LABEL_COLOR,
        height: float = _TEXT_HEIGHT,
    ) -> Part:
        """Text centred at a place; RViz shows it upright, so its centre is half as high as it."""
        up = 0.5 * height * (text.count("\n") + 1)
        position = (self.x + place[0], self.y + place[1], self.z + up)
        scale = (0.0, 0.0, height)
        return Part(namespace, marker_id, Marker.TEXT_VIEW_FACING, position, scale, color, text)


def _layers(board: _Board, health: EntropyHealth, left: float) -> list[Part]:
    """The chart of the layers, rightwards from its left end, with the stages' names below."""
    num_layers = len(health.layer_names)
    if not num_layers:
        return []
    parts = [board.band(2, (-_BAND_LENGTH, _BAND_LENGTH), (left - _SPACING * num_layers, left))]
    stages: dict[str, list[float]] = {}
    for index, name in enumerate(health.layer_names):
        place = left - _SPACING * (index + 0.5)
        stages.setdefault(name.partition(".")[0], []).append(place)
        std = health.normal_std[index]
        sigmas = (health.layer_entropy[index] - health.normal_mean[index]) / max(std, 1e-9)
        if math.isfinite(sigmas):
            length = _METRES_PER_SIGMA * min(max(sigmas, -_MAX_SIGMAS), _MAX_SIGMAS)
            color = _bar_color(abs(sigmas) <= _BAND_SIGMAS, health)
            parts.append(board.slab("gauge", index, (0.0, length), _bar_sides(place), color))
    for index, (label, places) in enumerate(stages.items()):
        place = sum(places) / len(places)
        parts.append(board.text("gauge_label", index, (_LABEL_LINE, place), label))
    return parts


def _score(board: _Board, health: EntropyHealth, place: float) -> list[Part]:
    """The averaged score against its threshold."""
    half = 0.5 * _SPACING
    parts = [board.band(1, (0.0, _THRESHOLD_LENGTH), (place - half, place + half))]
    if not math.isnan(health.smoothed_score):
        ratio = min(health.smoothed_score / health.threshold, _MAX_SCORE_RATIO)
        along, color = (0.0, _THRESHOLD_LENGTH * ratio), _LEVEL_COLORS[_level(health)]
        index = len(health.layer_names)
        parts.append(board.slab("gauge", index, along, _bar_sides(place), color))
    num_stages = len({name.partition(".")[0] for name in health.layer_names})
    return [*parts, board.text("gauge_label", num_stages, (_LABEL_LINE, place), "score")]


def _checks(board: _Board, health: EntropyHealth, left: float, top: float) -> list[Part]:
    """A row for each check: its name, and how far it is from normal."""
    if not health.check_names:
        return []
    zero = left - _NAME_WIDTH
    bottom = top - _ROW_PITCH * len(health.check_names)
    parts = [board.band(3, (bottom, top), (zero - _LIMIT_LENGTH, zero))]
    for index, (name, ratio) in enumerate(
        zip(health.check_names, health.check_ratio, strict=False)
    ):
        row = top - _ROW_PITCH * (index + 0.5)
        if math.isfinite(ratio):
            along = (row - 0.5 * _CHECK_BAR, row + 0.5 * _CHECK_BAR)
            across = (zero, zero - _LIMIT_LENGTH * min(ratio, _MAX_CHECK_RATIO))
            color = _bar_color(ratio < 1.0, health)
            parts.append(board.slab("gauge_check", index, along, across, color))
        # RViz centres text: half of it is to the left of its place.
        place = zero + 0.15 + 0.5 * _CHARACTER_RATIO * _CHECK_TEXT * len(name)
        label = board.text("gauge_check_label", index, (row, place), name, height=_CHECK_TEXT)
        parts.append(label)
    return parts


def _text(board: _Board, health: EntropyHealth, place: float, middle: float) -> Part:
    """Level, score against threshold, and the reason, which names the likely cause."""
    level = _level(health)
    lines = [f"entropy health: {level.name}"]
    if not math.isnan(health.smoothed_score):
        lines.append(f"score {health.smoothed_score:.1f}, limit {health.threshold:.1f}")
    lines += textwrap.wrap(
        health.reason, _LINE_LENGTH, break_long_words=False, break_on_hyphens=False
    )
    text = "\n".join(lines)
    # Upright text is hidden by nothing only above the board, and beside the charts only this much
    # further back, seen from where those are legible.
    back = 0.375 * _TEXT_HEIGHT * (text.count("\n") + 1)
    return board.text("gauge_text", 0, (middle - back, place), text, _LEVEL_COLORS[level])


def _bar_sides(place: float) -> _Extent:
    return place - 0.5 * _BAR_WIDTH, place + 0.5 * _BAR_WIDTH


def _level(health: EntropyHealth) -> HealthLevel:
    return HealthLevel(health.level[0])


def _bar_color(is_normal: bool, health: EntropyHealth) -> Color:
    """Green for a normal reading; else the level's colour, WARN at least."""
    return _LEVEL_COLORS[HealthLevel.OK if is_normal else max(_level(health), HealthLevel.WARN)]
