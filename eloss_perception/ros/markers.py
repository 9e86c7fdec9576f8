# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as plain markers, for an RViz without any plugin.

Every array starts with DELETEALL, so that what is shown is what the newest array holds, and lives
for a limited time, so that boxes of a detector that stopped do not stay on the screen.
"""

from __future__ import annotations

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

# Corner indices of a box's twelve edges; corners 0-3 are the bottom ring, 4-7 the top above it.
_EDGES = (0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7)


def delete_all(header: Header) -> Marker:
    """The marker that clears what a topic has shown before."""
    return Marker(header=header, action=Marker.DELETEALL)


def boxes_to_markers(boxes: Boxes3D, class_names: Sequence[str], header: Header) -> MarkerArray:
    """Boxes as translucent bodies, edges and an arrow for the heading.

    Args:
        boxes: Boxes in the cloud's frame.
        class_names: Names by label; they choose the colour.
        header: The cloud's header.

    Returns:
        DELETEALL, then for each box a body (namespace `boxes`, id = index of the box) and a
        heading (`headings`), then one marker with all edges (`edges`). Only DELETEALL where there
        is no box.
    """
    array = MarkerArray(markers=[delete_all(header)])
    if len(boxes) == 0:
        return array
    colors = [_CLASS_COLORS.get(name.lower(), _OTHER_COLOR) for name in class_names]
    edges = Marker(header=header, ns="edges", type=Marker.LINE_LIST, lifetime=LIFETIME)
    edges.pose.orientation.w = 1.0
    edges.scale.x = 0.06
    edges.color.a = 1.0
    for index, (box, label, corners) in enumerate(
        zip(boxes.boxes.tolist(), boxes.labels.tolist(), corners_3d(boxes.boxes).tolist(),
            strict=True)
    ):  # fmt: skip
        x, y, z, length, width, height, yaw = box
        red, green, blue = colors[label]
        position, orientation = Point(x=x, y=y, z=z), yaw_to_quaternion(yaw)
        array.markers.append(
            make_marker(
                header, "boxes", index, Marker.CUBE, position, orientation,
                Vector3(x=length, y=width, z=height), ColorRGBA(r=red, g=green, b=blue, a=0.25),
            )
        )  # fmt: skip
        # From the centre to half a length in front of the nose, so that it shows from above.
        array.markers.append(
            make_marker(
                header, "headings", index, Marker.ARROW, position, orientation,
                Vector3(x=0.5 * length + 1.0, y=0.12, z=0.12),
                ColorRGBA(r=red, g=green, b=blue, a=1.0),
            )
        )  # fmt: skip
        points = [Point(x=cx, y=cy, z=cz) for cx, cy, cz in corners]
        color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        edges.points.extend(points[corner] for corner in _EDGES)
        edges.colors.extend([color] * len(_EDGES))
    array.markers.append(edges)
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
