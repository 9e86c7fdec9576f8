# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as plain markers, for an RViz without any plugin.

Every array starts with DELETEALL, so that what is shown is what the newest array holds, and lives
for a limited time, so that boxes of a detector that stopped do not stay on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.detection.boxes import Boxes3D, corners_3d
from eloss_perception.ros.cdr import Messages, Stencils, joined
from eloss_perception.ros.messages import array_begin, bounded_header, poses, set_stamp

LIFETIME = Duration(sec=0, nanosec=200_000_000)
"""How long markers live unless their next ones take longer to come."""

_LONGEST_LIFETIME_S = 2.5  # of a sensor that gives a scan a second

# The colours of vision_msgs' RViz plugin, so that both displays agree.
_CLASS_COLORS = {
    "car": (1.0, 0.65, 0.0),
    "pedestrian": (0.25, 0.55, 1.0),
    "cyclist": (1.0, 1.0, 0.2),
}
_OTHER_COLOR = (0.8, 0.4, 0.9)

_BODY_ALPHA = 0.25
_LINE_WIDTH = 0.06  # metres
_HEADING_LENGTH = 1.0  # metres ahead of the nose

# Corner indices of a box's twelve edges; corners 0-3 are the bottom ring, 4-7 the top above it.
_EDGES = (0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7)


def lifetime_for(period_s: float) -> Duration:
    """How long markers live whose next ones come after a period [s]: two of them and a half."""
    shortest = 1e-9 * LIFETIME.nanosec
    lifetime_s = min(max(2.5 * period_s, shortest), _LONGEST_LIFETIME_S)
    return Duration(sec=int(lifetime_s), nanosec=round(1e9 * (lifetime_s % 1.0)))


def box_markers_to_cdr(
    boxes: Boxes3D, class_names: Sequence[str], header: Header, lifetime: Duration = LIFETIME
) -> bytes:
    """Boxes as translucent bodies with their edges and a line ahead of the nose.

    Lines go into one marker a class: markers and colours of single points cost more to make and to
    send than all the rest of an answer.

    Args:
        boxes: Boxes in the cloud's frame.
        class_names: Names by label; they choose the colour.
        header: The cloud's header.
        lifetime: How long they are shown, if nothing newer comes.

    Returns:
        A serialised MarkerArray: DELETEALL, then for each box a body (namespace `boxes`, id = index
        of the box), then for each class that was found its lines (`edges`, id = label). Only
        DELETEALL where there is no box.
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


def _set_lifetime(messages: Messages, lifetime: Duration, of: slice) -> None:
    messages.set("lifetime.sec", lifetime.sec, of)
    messages.set("lifetime.nanosec", lifetime.nanosec, of)


def _line_ends(boxes: Boxes3D) -> NDArray[np.float64]:
    """(N, 26, 3) ends of each box's twelve edges and of the line ahead of its nose."""
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
    """DELETEALL, and a body of each class."""
    header = Header(frame_id=frame_id)
    bodies = [
        make_marker(header, "boxes", Marker.CUBE, (*_class_color(name), _BODY_ALPHA))
        for name in names
    ]
    return Stencils([delete_all(header), *bodies])


@lru_cache(maxsize=64)  # a message of 200 boxes' lines is 250 kB
def _line_stencils(frame_id: str, label: int, name: str, num_points: int) -> Stencils:
    """The lines of one class."""
    lines = make_marker(
        Header(frame_id=frame_id), "edges", Marker.LINE_LIST, (*_class_color(name), 1.0)
    )
    lines.id = label
    lines.scale = Vector3(x=_LINE_WIDTH)
    lines.points = [Point()] * num_points
    return Stencils([lines])


def _class_color(name: str) -> tuple[float, float, float]:
    return _CLASS_COLORS.get(name, _OTHER_COLOR)


def delete_all(header: Header) -> Marker:
    """The marker that clears what a topic has shown before."""
    return Marker(header=header, action=Marker.DELETEALL)


def make_marker(
    header: Header,
    namespace: str,
    kind: int,
    color: tuple[float, float, float, float],
    *,
    lifetime: Duration = LIFETIME,
    text: str = "",
) -> Marker:
    """A marker that lacks id, pose and scale."""
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
