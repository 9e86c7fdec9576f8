# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropy gauge: a bar chart of markers lying on the ground beside the vehicle.

One bar for each tapped layer, in the network's order from left to right: its entropy's deviation
from normal in standard deviations, upwards (away from the vehicle, +x) for more than normal. The
grey plate is the normal band. The bar at the right, apart from the others, is the whole scan's
score; its plate ends at the threshold. Read it from above or from behind the vehicle.
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

_SPACING, _BAR_WIDTH, _BAR_HEIGHT = 1.8, 1.4, 0.3  # metres
_METRES_PER_SIGMA = 1.0
_BAND_SIGMAS = 3.0  # 99.7 % of clean readings, were they Gaussian
_MAX_SIGMAS = 8.0
_THRESHOLD_LENGTH = _METRES_PER_SIGMA * _BAND_SIGMAS
_MAX_SCORE_RATIO = _MAX_SIGMAS / _BAND_SIGMAS
_TEXT_HEIGHT = 1.8

_COLORS = {
    HealthLevel.OK: (0.2, 0.85, 0.3),
    HealthLevel.WARN: (1.0, 0.7, 0.1),
    HealthLevel.ERROR: (0.95, 0.2, 0.2),
    HealthLevel.STALE: (0.55, 0.55, 0.6),
}
_UPRIGHT = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)


def gauge_markers(health: EntropyHealth, offset: tuple[float, float, float]) -> MarkerArray:
    """The gauge of one health message.

    Args:
        health: What to show; readings that are not finite get no bar.
        offset: Centre of the zero line in the sensor frame: forward, left, up [m].

    Returns:
        DELETEALL, then plates (namespace `gauge_band`), bars (`gauge`, id = index of the layer, the
        score's after them) and the text (`gauge_text`); all in the health message's frame.
    """
    level = HealthLevel(health.level[0])
    header, num_layers = health.header, len(health.layer_names)
    span = _SPACING * (num_layers + 2)  # one place free, then the score
    left = 0.5 * (span - _SPACING)

    array = MarkerArray(markers=[delete_all(header)])
    band = _METRES_PER_SIGMA * _BAND_SIGMAS
    plate_center = left - 0.5 * _SPACING * (num_layers - 1)
    if num_layers:
        array.markers.append(
            _plate(header, offset, 0, plate_center, (-band, band), _SPACING * num_layers)
        )
    array.markers.append(_plate(header, offset, 1, -left, (0.0, _THRESHOLD_LENGTH), _SPACING))

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

    title = f"entropy health: {level.name}"
    text = f"{title}\n{_wrapped(health.reason)}" if health.reason else title
    top = _METRES_PER_SIGMA * _MAX_SIGMAS
    array.markers.append(
        make_marker(
            header, "gauge_text", 0, Marker.TEXT_VIEW_FACING,
            Point(x=offset[0] + top + 1.5 * _TEXT_HEIGHT, y=offset[1], z=offset[2]), _UPRIGHT,
            Vector3(x=0.0, y=0.0, z=_TEXT_HEIGHT), _color(level, 1.0),
            lifetime=_LIFETIME, text=text,
        )
    )  # fmt: skip
    return array


def _plate(
    header: Header,
    offset: tuple[float, float, float],
    marker_id: int,
    y: float,
    extent: tuple[float, float],
    width: float,
) -> Marker:
    x = 0.5 * (extent[0] + extent[1])
    return make_marker(
        header, "gauge_band", marker_id, Marker.CUBE,
        Point(x=offset[0] + x, y=offset[1] + y, z=offset[2] - _BAR_HEIGHT), _UPRIGHT,
        Vector3(x=extent[1] - extent[0], y=width, z=0.05),
        ColorRGBA(r=0.5, g=0.5, b=0.55, a=0.5), lifetime=_LIFETIME,
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
        Vector3(x=max(abs(length), 0.05), y=_BAR_WIDTH, z=_BAR_HEIGHT), _color(level, 0.95),
        lifetime=_LIFETIME,
    )  # fmt: skip


def _color(level: HealthLevel, alpha: float) -> ColorRGBA:
    red, green, blue = _COLORS[level]
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def _wrapped(reason: str, width: int = 44) -> str:
    lines, line = [], ""
    for word in reason.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
