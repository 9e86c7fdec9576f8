# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Marker arrays for RViz: boxes as plain markers, and the parts of the gauge.

Every array starts with DELETEALL, so that RViz shows the newest one only, and its markers have a
limited lifetime, so that those of a detector that stopped do not stay on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.detection.boxes import BOX_EDGES, Boxes3D, corners_3d
from eloss_perception.ros.cdr import Messages, Stencils, joined
from eloss_perception.ros.messages import array_begin, bounded_header, poses, set_stamp

LIFETIME = Duration(sec=0, nanosec=200_000_000)
"""Shortest lifetime of boxes."""

_LONGEST_LIFETIME_S = 2.5  # for a sensor with one scan a second
# Longer than a scan's period, so that the gauge stays on the screen between the scans of a slow
# sensor, or between STALE reports every half second.
_PART_LIFETIME = Duration(sec=1, nanosec=0)

# The colours of vision_msgs' RViz plugin, so that both displays agree.
_CLASS_COLORS = {
    "car": (1.0, 0.65, 0.0),
    "pedestrian": (0.25, 0.55, 1.0),
    "cyclist": (1.0, 1.0, 0.2),
}
_OTHER_COLOR = (0.8, 0.4, 0.9)

_BODY_ALPHA = 0.25
_LINE_WIDTH = 0.06  # metres
_HEADING_LENGTH = 1.0  # metres ahead of the front

# Corner indices of a box's twelve edges, start and end of each.
_EDGES = [corner for edge in BOX_EDGES for corner in edge]

Color = tuple[float, float, float, float]
"""Red, green, blue, alpha."""


class Part(NamedTuple):
    """One marker of the gauge.

    Attributes:
        namespace: The marker's namespace.
        marker_id: The marker's id.
        kind: The marker's type.
        position: Its centre in the sensor frame [m].
        scale: Its extents along the axes [m]; for text, the third is the height of a line.
        color: Its colour.
        text: Its text, if any.
    """

    namespace: str
    marker_id: int
    kind: int
    position: tuple[float, float, float]
    scale: tuple[float, float, float]
    color: Color
    text: str = ""


def lifetime_for(period_s: float) -> Duration:
    """Returns the lifetime of boxes whose next ones follow after a period [s]: 2.5 periods."""
    shortest = 1e-9 * LIFETIME.nanosec
    lifetime_s = min(max(2.5 * period_s, shortest), _LONGEST_LIFETIME_S)
    return Duration(sec=int(lifetime_s), nanosec=round(1e9 * (lifetime_s % 1.0)))


def box_markers_to_cdr(
    boxes: Boxes3D, class_names: Sequence[str], header: Header, lifetime: Duration = LIFETIME
) -> bytes:
    """Returns boxes as translucent bodies with their edges and a line ahead of the front.

    Lines go into one marker a class: markers and colours of single points cost more to make and to
    send than all the rest of an answer.

    Args:
        boxes: Boxes in the cloud's frame.
        class_names: Names by label; they choose the colour.
        header: The cloud's header.
        lifetime: How long they are shown if nothing newer arrives.

    Returns:
        A serialised MarkerArray: DELETEALL, a body for each box (namespace `boxes`, id = index of
        the box), and the lines of each class that was found (`edges`, id = label). Only DELETEALL
        if there is no box.
    """
    header = bounded_header(header)
    found, firsts = np.unique(boxes.labels, return_index=True)
    found = found[np.argsort(firsts)]  # the class of the best box first
    begin = array_begin(MarkerArray(), 1 + len(boxes) + len(found))
    names = tuple(name.lower() for name in class_names)
    kinds = np.concatenate([[0], 1 + boxes.labels])
    bodies = Messages(_body_stencils(header.frame_id, names), kinds, len(begin))
    set_stamp(bodies, header)
    are_bodies = slice(1, None)
    bodies.set("id", np.arange(len(boxes))[:, None], are_bodies)
    bodies.set("pose", poses(boxes), are_bodies)
    bodies.set("scale", boxes.boxes[:, 3:6], are_bodies)
    _set_lifetime(bodies, lifetime, are_bodies)
    parts = [bodies]
    ends = _line_ends(boxes)
    for label in found.tolist():
        of_class = ends[boxes.labels == label].reshape(1, -1)  # (1, B * 26 * 3)
        stencils = _line_stencils(header.frame_id, label, names[label], of_class.size // 3)
        lines = Messages(stencils, [0], parts[-1].end)
        set_stamp(lines, header)
        lines.set("points", of_class)
        _set_lifetime(lines, lifetime, slice(None))
        parts.append(lines)
    return joined(begin, *parts)


def parts_to_cdr(parts: Sequence[Part], header: Header) -> bytes:
    """Returns DELETEALL and a marker for each part as a serialised MarkerArray.

    Args:
        parts: The parts; only the text of the last one may change from frame to frame.
        header: Header of all markers.
    """
    header = bounded_header(header)
    begin = array_begin(MarkerArray(), 1 + len(parts))
    *others, text_part = parts
    looks = [(part.namespace, part.kind, part.text) for part in others]
    kinds = {look: 1 + index for index, look in enumerate(dict.fromkeys(looks))}
    stencils = _part_stencils(header.frame_id, tuple(kinds))
    first = Messages(stencils, [0, *map(kinds.__getitem__, looks)], len(begin))
    _set_parts(first, others, header, slice(1, None))
    text = text_part.text.encode()
    stencils = _text_stencils(header.frame_id, text_part.namespace, len(text))
    last = Messages(stencils, [0], first.end)
    _set_parts(last, [text_part], header, slice(None))
    last.set("text", list(text))
    return joined(begin, first, last)


def _set_parts(messages: Messages, parts: Sequence[Part], header: Header, of: slice) -> None:
    set_stamp(messages, header)
    messages.set("id", [[part.marker_id] for part in parts], of)
    messages.set("pose.position", [part.position for part in parts], of)
    messages.set("scale", [part.scale for part in parts], of)
    messages.set("color", [part.color for part in parts], of)


def _set_lifetime(messages: Messages, lifetime: Duration, of: slice) -> None:
    messages.set("lifetime.sec", lifetime.sec, of)
    messages.set("lifetime.nanosec", lifetime.nanosec, of)


def _line_ends(boxes: Boxes3D) -> NDArray[np.float64]:
    """Returns (N, 26, 3) ends of each box's twelve edges and of the line ahead of its front."""
    ends = np.empty((len(boxes), len(_EDGES) + 2, 3))
    ends[:, :-2] = corners_3d(boxes.boxes)[:, _EDGES]
    pose = boxes.boxes.astype(np.float64)
    ahead = 0.5 * pose[:, 3:4] + [0.0, _HEADING_LENGTH]  # (N, 2)
    yaw = pose[:, 6].tolist()
    ends[:, -2:, 0] = pose[:, 0:1] + ahead * np.array(list(map(math.cos, yaw)))[:, None]
    ends[:, -2:, 1] = pose[:, 1:2] + ahead * np.array(list(map(math.sin, yaw)))[:, None]
    ends[:, -2:, 2] = pose[:, 2:3]
    return ends


@lru_cache(maxsize=8)
def _body_stencils(frame_id: str, names: tuple[str, ...]) -> Stencils:
    header = Header(frame_id=frame_id)
    bodies = [
        _marker(header, "boxes", Marker.CUBE, (*_class_color(name), _BODY_ALPHA)) for name in names
    ]
    return Stencils([_delete_all(header), *bodies])


@lru_cache(maxsize=64)  # a message of 200 boxes' lines is 250 kB
def _line_stencils(frame_id: str, label: int, name: str, num_points: int) -> Stencils:
    color = (*_class_color(name), 1.0)
    lines = _marker(Header(frame_id=frame_id), "edges", Marker.LINE_LIST, color)
    lines.id = label
    lines.scale = Vector3(x=_LINE_WIDTH)
    lines.points = [Point()] * num_points
    return Stencils([lines])


@lru_cache(maxsize=8)
def _part_stencils(frame_id: str, looks: tuple[tuple[str, int, str], ...]) -> Stencils:
    header = Header(frame_id=frame_id)
    return Stencils([_delete_all(header), *(_part_marker(header, *look) for look in looks)])


@lru_cache(maxsize=64)
def _text_stencils(frame_id: str, namespace: str, num_bytes: int) -> Stencils:
    text = " " * num_bytes
    header = Header(frame_id=frame_id)
    return Stencils([_part_marker(header, namespace, Marker.TEXT_VIEW_FACING, text)])


def _part_marker(header: Header, namespace: str, kind: int, text: str) -> Marker:
    return _marker(header, namespace, kind, (0.0, 0.0, 0.0, 1.0), _PART_LIFETIME, text)


def _delete_all(header: Header) -> Marker:
    return Marker(header=header, action=Marker.DELETEALL)


def _marker(
    header: Header,
    namespace: str,
    kind: int,
    color: Color,
    lifetime: Duration = LIFETIME,
    text: str = "",
) -> Marker:
    """Returns a marker that lacks id, pose and scale."""
    red, green, blue, alpha = color
    return Marker(
        header=header,
        ns=namespace,
        type=kind,
        action=Marker.ADD,
        color=ColorRGBA(r=red, g=green, b=blue, a=alpha),
        lifetime=lifetime,
        text=text,
    )


def _class_color(name: str) -> tuple[float, float, float]:
    return _CLASS_COLORS.get(name, _OTHER_COLOR)
