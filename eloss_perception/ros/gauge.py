# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropy gauge: a bar chart of markers lying level behind the vehicle, with words beside it.

One bar for each tapped layer, in the network's order from left to right: its entropy's deviation
from normal in standard deviations, upwards (forward, +x) for more than normal. The grey plate is
the normal band. The bar at the right, apart from the others, is the whole scan's score; its plate
ends at the threshold. Level and reason stand at the right of the chart. Read it from above or from
behind the vehicle. Everything is opaque: RViz draws translucent bodies in the wrong order.
"""

from __future__ import annotations

import math

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.core.health import HealthLevel
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.markers import delete_all, make_marker

# Longer than a scan's period, so that the gauge stays readable while a slow sensor or the STALE
# report (every half second) refreshes it.
_LIFETIME = Duration(sec=1, nanosec=0)

# Chart and words together are as wide as what `config/eloss.rviz` shows behind the vehicle.
_SPACING, _BAR_WIDTH, _BAR_HEIGHT = 1.1, 0.8, 0.2  # metres
_METRES_PER_SIGMA = 0.5
_BAND_SIGMAS = 3.0  # 99.7 % of clean readings, were they Gaussian
_MAX_SIGMAS = 6.0
_THRESHOLD_LENGTH = _METRES_PER_SIGMA * _BAND_SIGMAS
_MAX_SCORE_RATIO = _MAX_SIGMAS / _BAND_SIGMAS
_MAX_LENGTH = _METRES_PER_SIGMA * _MAX_SIGMAS
_TEXT_HEIGHT = 0.7
# A named reading with its deviation, as HealthMonitor writes it, fits in a line.
_LINE_LENGTH = 28
_LINE_WIDTH = 0.5 * _TEXT_HEIGHT * _LINE_LENGTH  # of RViz's font, on average
_MARGIN = 0.6  # metres around chart and words

_COLORS = {
    HealthLevel.OK: (0.2, 0.85, 0.3),
    HealthLevel.WARN: (1.0, 0.7, 0.1),
    HealthLevel.ERROR: (0.95, 0.2, 0.2),
    HealthLevel.STALE: (0.65, 0.66, 0.72),
}
_BOARD_COLOR = ColorRGBA(r=0.05, g=0.06, b=0.08, a=1.0)
_BAND_COLOR = ColorRGBA(r=0.28, g=0.3, b=0.34, a=1.0)
_LABEL_COLOR = ColorRGBA(r=0.8, g=0.83, b=0.87, a=1.0)
_UPRIGHT = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)


def gauge_markers(health: EntropyHealth, offset: tuple[float, float, float]) -> MarkerArray:
    """The gauge of one health message.

    Args:
        health: What to show; readings that are not finite get no bar.
        offset: Centre of the zero line in the sensor frame: forward, left, up [m].

    Returns:
        DELETEALL, then plates (namespace `gauge_band`), bars (`gauge`, id = index of the layer, the
        score's after them), what the bars are (`gauge_label`) and level with reason (`gauge_text`);
        all in the health message's frame.
    """
    level = HealthLevel(health.level[0])
    header, num_layers = health.header, len(health.layer_names)
    span = _SPACING * (num_layers + 2)  # one place free, then the score
    end = 0.5 * span
    left = end - 0.5 * _SPACING
    bottom = -_MAX_LENGTH - 1.5 * _TEXT_HEIGHT
    band = _METRES_PER_SIGMA * _BAND_SIGMAS

    board = (bottom - _MARGIN, _MAX_LENGTH + _MARGIN)
    board_sides = (-end - _LINE_WIDTH - _MARGIN, end + _MARGIN)
    array = MarkerArray(
        markers=[
            delete_all(header),
            _plate(header, offset, 0, board, board_sides, -2.0 * _BAR_HEIGHT, _BOARD_COLOR),
            _plate(
                header, offset, 1, (0.0, _THRESHOLD_LENGTH), (-end, _SPACING - end), -_BAR_HEIGHT,
                _BAND_COLOR,
            ),
        ]
    )  # fmt: skip
    if num_layers:
        sides = (end - _SPACING * num_layers, end)
        array.markers.append(
            _plate(header, offset, 2, (-band, band), sides, -_BAR_HEIGHT, _BAND_COLOR)
        )
    for index in range(num_layers):
        std = health.normal_std[index]
        sigmas = (health.layer_entropy[index] - health.normal_mean[index]) / max(std, 1e-9)
        if math.isfinite(sigmas):
            length = _METRES_PER_SIGMA * min(max(sigmas, -_MAX_SIGMAS), _MAX_SIGMAS)
            inside = abs(sigmas) <= _BAND_SIGMAS
            color = HealthLevel.OK if inside else max(level, HealthLevel.WARN)
            array.markers.append(
                _bar(header, offset, index, left - _SPACING * index, length, color)
            )
    if not math.isnan(health.score):
        ratio = min(health.score / health.threshold, _MAX_SCORE_RATIO)
        array.markers.append(
            _bar(header, offset, num_layers, -left, _THRESHOLD_LENGTH * ratio, level)
        )

    stages: dict[str, list[float]] = {}
    for index, name in enumerate(health.layer_names):
        stages.setdefault(name.partition(".")[0], []).append(left - _SPACING * index)
    stages["score"] = [-left]
    for index, (label, places) in enumerate(stages.items()):
        place = (bottom + 0.5 * _TEXT_HEIGHT, sum(places) / len(places))
        array.markers.append(
            _text(header, offset, "gauge_label", index, place, label, _LABEL_COLOR)
        )
    title = f"entropy health: {level.name}"
    text = f"{title}\n{_wrapped(health.reason)}" if health.reason else title
    # RViz stands the text upright around its place: half its height above the board it is whole,
    # and that much further back it is level with the chart, seen from where the chart is legible.
    up = 0.5 * _TEXT_HEIGHT * (text.count("\n") + 1)
    place = (0.5 * (bottom + _MAX_LENGTH) - 0.75 * up, -end - 0.5 * _LINE_WIDTH)
    array.markers.append(_text(header, offset, "gauge_text", 0, place, text, _color(level), up))
    return array


def _plate(
    header: Header,
    offset: tuple[float, float, float],
    marker_id: int,
    along: tuple[float, float],
    across: tuple[float, float],
    height: float,
    color: ColorRGBA,
) -> Marker:
    x, y = 0.5 * sum(along), 0.5 * sum(across)
    return make_marker(
        header, "gauge_band", marker_id, Marker.CUBE,
        Point(x=offset[0] + x, y=offset[1] + y, z=offset[2] + height), _UPRIGHT,
        Vector3(x=along[1] - along[0], y=across[1] - across[0], z=0.05), color,
        lifetime=_LIFETIME,
    )  # fmt: skip


def _bar(
    header: Header,
    offset: tuple[float, float, float],
    marker_id: int,
    y: float,
    length: float,
    level: HealthLevel,
) -> Marker:
    return make_marker(
        header, "gauge", marker_id, Marker.CUBE,
        Point(x=offset[0] + 0.5 * length, y=offset[1] + y, z=offset[2]), _UPRIGHT,
        # RViz refuses a cube without thickness.
        Vector3(x=max(abs(length), 0.05), y=_BAR_WIDTH, z=_BAR_HEIGHT), _color(level),
        lifetime=_LIFETIME,
    )  # fmt: skip


def _text(
    header: Header,
    offset: tuple[float, float, float],
    namespace: str,
    marker_id: int,
    place: tuple[float, float],
    text: str,
    color: ColorRGBA,
    up: float = 0.5 * _TEXT_HEIGHT,
) -> Marker:
    return make_marker(
        header, namespace, marker_id, Marker.TEXT_VIEW_FACING,
        Point(x=offset[0] + place[0], y=offset[1] + place[1], z=offset[2] + up), _UPRIGHT,
        Vector3(x=0.0, y=0.0, z=_TEXT_HEIGHT), color, lifetime=_LIFETIME, text=text,
    )  # fmt: skip


def _color(level: HealthLevel) -> ColorRGBA:
    red, green, blue = _COLORS[level]
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)


def _wrapped(reason: str) -> str:
    lines, line = [], ""
    for word in reason.split():
        if line and len(line) + 1 + len(word) > _LINE_LENGTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
