# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as plain markers, for an RViz without any plugin.

Every array starts with DELETEALL, so that what is shown is what the newest array holds, and lives
for a limited time, so that boxes of a detector that stopped do not stay on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.core.boxes import Boxes3D, corners_3d
from eloss_perception.ros.messages import yaw_to_quaternion

LIFETIME = Duration(sec=0, nanosec=200_000_000)

# The colours of vision_msgs' RViz plugin, so that both displays agree.
_CLASS_COLORS = {
    "car": (1.0, 0.65, 0.0),
    "pedestrian": (0.25, 0.55, 1.0),
    "cyclist": (1.0, 1.0, 0.2),
}
_OTHER_COLOR = (0.8, 0.4, 0.9)

_LINE_WIDTH = 0.06  # metres
_HEADING_LENGTH = 1.0  # metres ahead of the nose

# Corner indices of a box's twelve edges; corners 0-3 are the bottom ring, 4-7 the top above it.
_EDGES = (0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7)


def delete_all(header: Header) -> Marker:
    """The marker that clears what a topic has shown before."""
    return Marker(header=header, action=Marker.DELETEALL)


def boxes_to_markers(boxes: Boxes3D, class_names: Sequence[str], header: Header) -> MarkerArray:
    """Boxes as translucent bodies with their edges and a line ahead of the nose.

    Lines go into one marker a class: markers and colours of single points cost more to make and to
    send than all the rest of an answer.

    Args:
        boxes: Boxes in the cloud's frame.
        class_names: Names by label; they choose the colour.
        header: The cloud's header.

    Returns:
        DELETEALL, then for each box a body (namespace `boxes`, id = index of the box), then for
        each class that was found its lines (`edges`, id = label). Only DELETEALL where there is no
        box.
    """
    array = MarkerArray(markers=[delete_all(header)])
    if len(boxes) == 0:
        return array
    colors = [_CLASS_COLORS.get(name.lower(), _OTHER_COLOR) for name in class_names]
    lines: dict[int, list[Point]] = {}
    for index, (box, label, corners) in enumerate(
        zip(
            boxes.boxes.tolist(),
            boxes.labels.tolist(),
            corners_3d(boxes.boxes).tolist(),
            strict=True,
        )
    ):
        x, y, z, length, width, height, yaw = box
        red, green, blue = colors[label]
        array.markers.append(
            make_marker(
                header,
                "boxes",
                index,
                Marker.CUBE,
                Point(x=x, y=y, z=z),
                yaw_to_quaternion(yaw),
                Vector3(x=length, y=width, z=height),
                ColorRGBA(r=red, g=green, b=blue, a=0.25),
            )
        )
        points = [Point(x=cx, y=cy, z=cz) for cx, cy, cz in corners]
        of_class = lines.setdefault(label, [])
        of_class.extend([points[corner] for corner in _EDGES])
        nose, ahead = 0.5 * length, 0.5 * length + _HEADING_LENGTH
        cos, sin = math.cos(yaw), math.sin(yaw)
        of_class.append(Point(x=x + nose * cos, y=y + nose * sin, z=z))
        of_class.append(Point(x=x + ahead * cos, y=y + ahead * sin, z=z))
    for label, points in lines.items():
        red, green, blue = colors[label]
        marker = Marker(header=header, ns="edges", id=label, type=Marker.LINE_LIST)
        marker.lifetime = LIFETIME
        marker.pose.orientation.w = 1.0
        marker.scale.x = _LINE_WIDTH
        marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        marker.points = points
        array.markers.append(marker)
    return array


def make_marker(
    header: Header,
    namespace: str,
    marker_id: int,
    kind: int,
    position: Point,
    orientation: Quaternion,
    scale: Vector3,
    color: ColorRGBA,
    *,
    lifetime: Duration = LIFETIME,
    text: str = "",
) -> Marker:
    """One marker, filled in."""
    return Marker(
        header=header,
        ns=namespace,
        id=marker_id,
        type=kind,
        action=Marker.ADD,
        pose=Pose(position=position, orientation=orientation),
        scale=scale,
        color=color,
        lifetime=lifetime,
        text=text,
    )
