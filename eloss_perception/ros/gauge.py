# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropy gauge: a board of markers lying level behind the vehicle, with words beside it.

From left to right:

- a bar for each tapped layer in the network's order: its entropy's deviation from normal in
  standard deviations, upwards (forward, +x) for more than normal; the grey plate is the normal
  band;
- a bar for the score averaged over time, which the level follows; its plate ends at the
  threshold;
- a line for each check of layers and scan, with a bar that grows to the right with its deviation;
  its plate ends at what clean scans reach, and a bar beyond is not green;
- level, score and reason in words.

Read it from above or from behind the vehicle.
"""

from __future__ import annotations

import math

from eloss_perception.health.monitor import HealthLevel
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.gauge_parts import (
    CHARACTER_RATIO,
    LABEL_COLOR,
    TEXT_HEIGHT,
    Board,
    Part,
    level_color,
    parts_to_cdr,
    wrapped,
)

# All of it is as wide as what `config/eloss.rviz` shows behind the vehicle. Metres.
_SPACING, _BAR_WIDTH = 0.75, 0.55
_METRES_PER_SIGMA, _BAND_SIGMAS, _MAX_SIGMAS = 0.5, 3.0, 6.0  # 3: 99.7 % of a Gaussian's readings
_BAND_LENGTH = _METRES_PER_SIGMA * _BAND_SIGMAS
_MAX_LENGTH = _METRES_PER_SIGMA * _MAX_SIGMAS
_BOTTOM = -_MAX_LENGTH - 1.5 * TEXT_HEIGHT
_LABEL_LINE = _BOTTOM + 0.5 * TEXT_HEIGHT
_THRESHOLD_LENGTH, _MAX_SCORE_RATIO = 0.75, 4.0  # beyond the ERROR at three times the threshold
_LINE_PITCH, _CHECK_BAR, _CHECK_TEXT = 0.8, 0.5, 0.5
_NAME_WIDTH = 2.6  # of a check's name
_LIMIT_LENGTH, _MAX_CHECK_RATIO = 1.2, 2.5
_TABLE_WIDTH = _NAME_WIDTH + _LIMIT_LENGTH * _MAX_CHECK_RATIO
_LINE_LENGTH = 28  # characters: a thing that departs fits in a line
_WORDS_WIDTH = CHARACTER_RATIO * TEXT_HEIGHT * _LINE_LENGTH
_MARGIN = 0.6  # around all of it


def gauge_to_cdr(health: EntropyHealth, offset: tuple[float, float, float]) -> bytes:
    """The gauge of one health message.

    Args:
        health: What to show; readings that are not finite get no bar.
        offset: Centre of the zero line of all bars in the sensor frame: forward, left, up [m].

    Returns:
        A serialised MarkerArray: DELETEALL and the parts, all in the health message's frame.
    """
    return parts_to_cdr(gauge_parts(health, offset), health.header)


def gauge_parts(health: EntropyHealth, offset: tuple[float, float, float]) -> list[Part]:
    """What there is to see: arguments as for `gauge_to_cdr`.

    Returns:
        Plates (namespace `gauge_band`), bars of layers and score (`gauge`, id = index of the layer,
        the score's after them), of checks (`gauge_check`, id = index of the check), what the bars
        are (`gauge_label`, `gauge_check_label`); level with reason (`gauge_text`) is the last.
    """
    board = Board(offset)
    num_layers, num_checks = len(health.layer_names), len(health.check_names)
    chart_width = _SPACING * (num_layers + 2)  # one place free, then the score
    table_width = _SPACING + _TABLE_WIDTH if num_checks else 0.0
    end = 0.5 * (chart_width + table_width)
    top = max(_MAX_LENGTH, _BOTTOM + _LINE_PITCH * num_checks)
    along = (_BOTTOM - _MARGIN, top + _MARGIN)
    across = (-end - _MARGIN - _WORDS_WIDTH - _MARGIN, end + _MARGIN)
    return [
        board.plate(0, along, across, is_board=True),
        *_layers(board, health, end),
        *_score(board, health, end - chart_width + 0.5 * _SPACING),
        *_checks(board, health, end - chart_width - _SPACING, top),
        _words(board, health, -end - _MARGIN - 0.5 * _WORDS_WIDTH, 0.5 * (_BOTTOM + top)),
    ]


def _layers(board: Board, health: EntropyHealth, left: float) -> list[Part]:
    """The chart of the layers, from its left end on; each stage named below its bars."""
    level = HealthLevel(health.level[0])
    num_layers = len(health.layer_names)
    if not num_layers:
        return []
    parts = [board.plate(2, (-_BAND_LENGTH, _BAND_LENGTH), (left - _SPACING * num_layers, left))]
    stages: dict[str, list[float]] = {}
    for index, name in enumerate(health.layer_names):
        place = left - _SPACING * (index + 0.5)
        stages.setdefault(name.partition(".")[0], []).append(place)
        std = health.normal_std[index]
        sigmas = (health.layer_entropy[index] - health.normal_mean[index]) / max(std, 1e-9)
        if math.isfinite(sigmas):
            length = _METRES_PER_SIGMA * min(max(sigmas, -_MAX_SIGMAS), _MAX_SIGMAS)
            color = _color(abs(sigmas) <= _BAND_SIGMAS, level)
            parts.append(board.bar("gauge", index, (0.0, length), _bar_sides(place), color))
    for index, (label, places) in enumerate(stages.items()):
        place = sum(places) / len(places)
        parts.append(board.text("gauge_label", index, (_LABEL_LINE, place), label, LABEL_COLOR))
    return parts


def _score(board: Board, health: EntropyHealth, place: float) -> list[Part]:
    """The averaged score against its threshold."""
    half = 0.5 * _SPACING
    parts = [board.plate(1, (0.0, _THRESHOLD_LENGTH), (place - half, place + half))]
    if not math.isnan(health.smoothed_score):
        ratio = min(health.smoothed_score / health.threshold, _MAX_SCORE_RATIO)
        along, level = (0.0, _THRESHOLD_LENGTH * ratio), HealthLevel(health.level[0])
        parts.append(board.bar("gauge", len(health.layer_names), along, _bar_sides(place), level))
    num_stages = len({name.partition(".")[0] for name in health.layer_names})
    label = board.text("gauge_label", num_stages, (_LABEL_LINE, place), "score", LABEL_COLOR)
    return [*parts, label]


def _checks(board: Board, health: EntropyHealth, left: float, top: float) -> list[Part]:
    """A line for each check: its name, and how far it is from normal."""
    if not health.check_names:
        return []
    level = HealthLevel(health.level[0])
    zero = left - _NAME_WIDTH
    bottom = top - _LINE_PITCH * len(health.check_names)
    parts = [board.plate(3, (bottom, top), (zero - _LIMIT_LENGTH, zero))]
    for index, (name, ratio) in enumerate(
        zip(health.check_names, health.check_ratio, strict=False)
    ):
        line = top - _LINE_PITCH * (index + 0.5)
        if math.isfinite(ratio):
            along = (line - 0.5 * _CHECK_BAR, line + 0.5 * _CHECK_BAR)
            across = (zero, zero - _LIMIT_LENGTH * min(ratio, _MAX_CHECK_RATIO))
            color = _color(ratio < 1.0, level)
            parts.append(board.bar("gauge_check", index, along, across, color))
        # RViz centres words: half of them goes to the left of their place.
        place = zero + 0.15 + 0.5 * CHARACTER_RATIO * _CHECK_TEXT * len(name)
        parts.append(
            board.text("gauge_check_label", index, (line, place), name, LABEL_COLOR, _CHECK_TEXT)
        )
    return parts


def _words(board: Board, health: EntropyHealth, place: float, middle: float) -> Part:
    """Level, score against threshold, and the reason, which names the likely cause."""
    level = HealthLevel(health.level[0])
    lines = [f"entropy health: {level.name}"]
    if not math.isnan(health.smoothed_score):
        lines.append(f"score {health.smoothed_score:.1f}, limit {health.threshold:.1f}")
    if health.reason:
        lines.append(wrapped(health.reason, _LINE_LENGTH))
    text = "\n".join(lines)
    # Upright words are whole only above the board, and as much further back they are level with
    # the charts, seen from where those are legible.
    back = 0.375 * TEXT_HEIGHT * (text.count("\n") + 1)
    return board.text("gauge_text", 0, (middle - back, place), text, level_color(level))


def _bar_sides(place: float) -> tuple[float, float]:
    return place - 0.5 * _BAR_WIDTH, place + 0.5 * _BAR_WIDTH


def _color(is_normal: bool, level: HealthLevel) -> HealthLevel:
    return HealthLevel.OK if is_normal else max(level, HealthLevel.WARN)
