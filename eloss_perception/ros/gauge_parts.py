# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plates, bars and words of the gauge: markers placed on a board that lies level.

A place is (forward, left) of the board's origin [m]. Everything is opaque: RViz draws translucent
bodies in the wrong order.
"""

from __future__ import annotations

from dataclasses import dataclass

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from eloss_perception.core.health import HealthLevel
from eloss_perception.ros.markers import make_marker

TEXT_HEIGHT = 0.7  # metres
# Widths of RViz's characters over their height, on average.
CHARACTER_RATIO = 0.5
BAR_HEIGHT = 0.2  # metres
BOARD_COLOR = ColorRGBA(r=0.05, g=0.06, b=0.08, a=1.0)
BAND_COLOR = ColorRGBA(r=0.28, g=0.3, b=0.34, a=1.0)
LABEL_COLOR = ColorRGBA(r=0.8, g=0.83, b=0.87, a=1.0)

# Longer than a scan's period, so that the gauge stays readable while a slow sensor or the STALE
# report (every half second) refreshes it.
_LIFETIME = Duration(sec=1, nanosec=0)
_UPRIGHT = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
_LEVEL_COLORS = {
    HealthLevel.OK: (0.2, 0.85, 0.3),
    HealthLevel.WARN: (1.0, 0.7, 0.1),
    HealthLevel.ERROR: (0.95, 0.2, 0.2),
    HealthLevel.STALE: (0.65, 0.66, 0.72),
}


@dataclass(frozen=True, slots=True)
class Board:
    """Where the gauge lies.

    Attributes:
        header: Of all of its markers.
        offset: The origin in the sensor frame: forward, left, up [m].
    """

    header: Header
    offset: tuple[float, float, float]

    def plate(
        self,
        marker_id: int,
        along: tuple[float, float],
        across: tuple[float, float],
        is_board: bool = False,
    ) -> Marker:
        """A thin rectangle below the bars: the board itself, or a normal band on it.

        Args:
            marker_id: Id in the namespace `gauge_band`.
            along: Its rear and front [m].
            across: Its right and left [m].
            is_board: Whether it lies below all bands.
        """
        up = (-2.0 if is_board else -1.0) * BAR_HEIGHT
        color = BOARD_COLOR if is_board else BAND_COLOR
        return self._slab("gauge_band", marker_id, along, across, up, 0.05, color)

    def bar(
        self,
        namespace: str,
        marker_id: int,
        along: tuple[float, float],
        across: tuple[float, float],
        level: HealthLevel,
    ) -> Marker:
        """A bar in the colour of a level; the ends of `along` and `across` in any order [m]."""
        color = level_color(level)
        return self._slab(namespace, marker_id, along, across, 0.0, BAR_HEIGHT, color)

    def text(
        self,
        namespace: str,
        marker_id: int,
        place: tuple[float, float],
        text: str,
        color: ColorRGBA,
        height: float = TEXT_HEIGHT,
    ) -> Marker:
        """Words around a place; RViz stands them upright, so they go up by half their height."""
        up = 0.5 * height * (text.count("\n") + 1)
        return make_marker(
            self.header, namespace, marker_id, Marker.TEXT_VIEW_FACING,
            self._point(*place, up), _UPRIGHT, Vector3(x=0.0, y=0.0, z=height), color,
            lifetime=_LIFETIME, text=text,
        )  # fmt: skip

    def _slab(
        self,
        namespace: str,
        marker_id: int,
        along: tuple[float, float],
        across: tuple[float, float],
        up: float,
        thickness: float,
        color: ColorRGBA,
    ) -> Marker:
        # RViz refuses a cube without an extent.
        length, width = (max(abs(end - start), 0.05) for start, end in (along, across))
        return make_marker(
            self.header, namespace, marker_id, Marker.CUBE,
            self._point(0.5 * sum(along), 0.5 * sum(across), up), _UPRIGHT,
            Vector3(x=length, y=width, z=thickness), color, lifetime=_LIFETIME,
        )  # fmt: skip

    def _point(self, forward: float, left: float, up: float) -> Point:
        x, y, z = self.offset
        return Point(x=x + forward, y=y + left, z=z + up)


def level_color(level: HealthLevel) -> ColorRGBA:
    """The colour that stands for a level."""
    red, green, blue = _LEVEL_COLORS[level]
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)


def wrapped(text: str, line_length: int) -> str:
    """A text in lines of at most so many characters, if its words allow."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > line_length:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
