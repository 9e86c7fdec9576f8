# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plates, bars and words of the gauge, placed on a board that lies level, and their markers.

A place is (forward, left) of the board's origin [m]. Everything is opaque: RViz draws translucent
bodies in the wrong order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from builtin_interfaces.msg import Duration
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.health.monitor import HealthLevel
from eloss_perception.ros.cdr import Messages, Stencils, joined
from eloss_perception.ros.markers import delete_all, make_marker
from eloss_perception.ros.messages import array_begin, bounded_header, set_stamp

Color = tuple[float, float, float, float]

TEXT_HEIGHT = 0.7  # metres
# Widths of RViz's characters over their height, on average.
CHARACTER_RATIO = 0.5
BAR_HEIGHT = 0.2  # metres
BOARD_COLOR: Color = (0.05, 0.06, 0.08, 1.0)
BAND_COLOR: Color = (0.28, 0.3, 0.34, 1.0)
LABEL_COLOR: Color = (0.8, 0.83, 0.87, 1.0)

# Longer than a scan's period, so that the gauge stays readable while a slow sensor or the STALE
# report (every half second) refreshes it.
_LIFETIME = Duration(sec=1, nanosec=0)
_LEVEL_COLORS: dict[HealthLevel, Color] = {
    HealthLevel.OK: (0.2, 0.85, 0.3, 1.0),
    HealthLevel.WARN: (1.0, 0.7, 0.1, 1.0),
    HealthLevel.ERROR: (0.95, 0.2, 0.2, 1.0),
    HealthLevel.STALE: (0.65, 0.66, 0.72, 1.0),
}


class Part(NamedTuple):
    """One thing on the board.

    Attributes:
        namespace: Its marker's namespace.
        marker_id: Its marker's id.
        kind: Its marker's type.
        position: Its centre in the sensor frame [m].
        scale: Its extents along the axes [m]; of words, the height of a line as the third.
        color: Red, green, blue, alpha.
        text: Words, or nothing.
    """

    namespace: str
    marker_id: int
    kind: int
    position: tuple[float, float, float]
    scale: tuple[float, float, float]
    color: Color
    text: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """Where the gauge lies.

    Attributes:
        offset: The origin in the sensor frame: forward, left, up [m].
    """

    offset: tuple[float, float, float]

    def plate(
        self,
        marker_id: int,
        along: tuple[float, float],
        across: tuple[float, float],
        is_board: bool = False,
    ) -> Part:
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
    ) -> Part:
        """A bar in the colour of a level; the ends of `along` and `across` in any order [m]."""
        color = level_color(level)
        return self._slab(namespace, marker_id, along, across, 0.0, BAR_HEIGHT, color)

    def text(
        self,
        namespace: str,
        marker_id: int,
        place: tuple[float, float],
        text: str,
        color: Color,
        height: float = TEXT_HEIGHT,
    ) -> Part:
        """Words around a place; RViz stands them upright, so they go up by half their height."""
        position = self._position(*place, 0.5 * height * (text.count("\n") + 1))
        scale = (0.0, 0.0, height)
        return Part(namespace, marker_id, Marker.TEXT_VIEW_FACING, position, scale, color, text)

    def _slab(
        self,
        namespace: str,
        marker_id: int,
        along: tuple[float, float],
        across: tuple[float, float],
        up: float,
        thickness: float,
        color: Color,
    ) -> Part:
        # RViz refuses a cube without an extent.
        length, width = (max(abs(end - start), 0.05) for start, end in (along, across))
        position = self._position(0.5 * sum(along), 0.5 * sum(across), up)
        scale = (length, width, thickness)
        return Part(namespace, marker_id, Marker.CUBE, position, scale, color)

    def _position(self, forward: float, left: float, up: float) -> tuple[float, float, float]:
        x, y, z = self.offset
        return x + forward, y + left, z + up


def parts_to_cdr(parts: Sequence[Part], header: Header) -> bytes:
    """DELETEALL and a marker for each part as a serialised MarkerArray.

    Args:
        parts: What there is to see; only the text of the last may be another one in every frame.
        header: Of all markers.
    """
    header = bounded_header(header)
    begin = array_begin(MarkerArray(), 1 + len(parts))
    *others, words = parts
    looks = [(part.namespace, part.kind, part.text) for part in others]
    kinds = {look: 1 + index for index, look in enumerate(dict.fromkeys(looks))}
    stencils = _part_stencils(header.frame_id, tuple(kinds))
    first = Messages(stencils, [0, *map(kinds.__getitem__, looks)], len(begin))
    _set_parts(first, others, header, slice(1, None))
    text = words.text.encode()
    stencils = _words_stencils(header.frame_id, words.namespace, len(text))
    last = Messages(stencils, [0], first.end)
    _set_parts(last, [words], header, slice(None))
    last.set("text", list(text))
    return joined(begin, first, last)


def _set_parts(messages: Messages, parts: Sequence[Part], header: Header, which: slice) -> None:
    set_stamp(messages, header)
    messages.set("id", [[part.marker_id] for part in parts], which)
    messages.set("pose.position", [part.position for part in parts], which)
    messages.set("scale", [part.scale for part in parts], which)
    messages.set("color", [part.color for part in parts], which)


@lru_cache(maxsize=8)
def _part_stencils(frame_id: str, looks: tuple[tuple[str, int, str], ...]) -> Stencils:
    """DELETEALL, and each part by its namespace, type and text."""
    header = Header(frame_id=frame_id)
    markers = [_marker(header, namespace, kind, text) for namespace, kind, text in looks]
    return Stencils([delete_all(header), *markers])


@lru_cache(maxsize=64)
def _words_stencils(frame_id: str, namespace: str, num_bytes: int) -> Stencils:
    """Words of some length."""
    header = Header(frame_id=frame_id)
    return Stencils([_marker(header, namespace, Marker.TEXT_VIEW_FACING, " " * num_bytes)])


def _marker(header: Header, namespace: str, kind: int, text: str) -> Marker:
    return make_marker(header, namespace, kind, BOARD_COLOR, lifetime=_LIFETIME, text=text)


def level_color(level: HealthLevel) -> Color:
    """The colour that stands for a level."""
    return _LEVEL_COLORS[level]


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
