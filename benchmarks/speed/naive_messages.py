# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's messages as rosidl objects, made new for each box.

What `ros/messages.py`, `ros/markers.py` and `ros/gauge.py` say as bytes, said the usual way; the
tests hold them equal field by field, and `host_path.py` compares what both cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.gauge import Part, gauge_parts

COLORS = {"car": (1.0, 0.65, 0.0), "pedestrian": (0.25, 0.55, 1.0), "cyclist": (1.0, 1.0, 0.2)}
OTHER_COLOR = (0.8, 0.4, 0.9)
EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)


def pose_of(box: Sequence[float]) -> Pose:
    yaw = box[6]
    return Pose(
        position=Point(x=box[0], y=box[1], z=box[2]),
        orientation=Quaternion(x=0.0, y=0.0, z=math.sin(0.5 * yaw), w=math.cos(0.5 * yaw)),
    )


def detections_message(
    boxes: Boxes3D, class_names: Sequence[str], header: Header
) -> Detection3DArray:
    msg = Detection3DArray(header=header)
    for i in range(len(boxes)):
        box = boxes.boxes[i].tolist()
        detection = Detection3D(header=header)
        detection.bbox.center = pose_of(box)
        detection.bbox.size = Vector3(x=box[3], y=box[4], z=box[5])
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = class_names[int(boxes.labels[i])].lower()
        result.hypothesis.score = float(boxes.scores[i])
        result.pose.pose = pose_of(box)
        detection.results.append(result)
        msg.detections.append(detection)
    return msg


def corners_of(box: Sequence[float]) -> list[Point]:
    x, y, z, length, width, height, yaw = box
    cos, sin = math.cos(yaw), math.sin(yaw)
    corners = []
    for up in (-0.5, 0.5):
        for along, across in ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)):
            u, v = along * length, across * width
            corners.append(
                Point(x=u * cos - v * sin + x, y=u * sin + v * cos + y, z=z + up * height)
            )
    return corners


def markers_message(boxes: Boxes3D, class_names: Sequence[str], header: Header) -> MarkerArray:
    array = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    lines: dict[int, Marker] = {}
    for i in range(len(boxes)):
        box, label = boxes.boxes[i].tolist(), int(boxes.labels[i])
        red, green, blue = COLORS.get(class_names[label].lower(), OTHER_COLOR)
        body = Marker(header=header, ns="boxes", id=i, type=Marker.CUBE, action=Marker.ADD)
        body.pose = pose_of(box)
        body.scale = Vector3(x=box[3], y=box[4], z=box[5])
        body.color = ColorRGBA(r=red, g=green, b=blue, a=0.25)
        body.lifetime = Duration(nanosec=200_000_000)
        array.markers.append(body)
        if label not in lines:
            lines[label] = Marker(header=header, ns="edges", id=label, type=Marker.LINE_LIST)
            lines[label].scale.x = 0.06
            lines[label].color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
            lines[label].lifetime = Duration(nanosec=200_000_000)
        corners = corners_of(box)
        for start, end in EDGES:
            lines[label].points += [corners[start], corners[end]]
        x, y, z, length, yaw = *box[:4], box[6]
        for ahead in (0.5 * length, 0.5 * length + 1.0):
            tip = Point(x=x + ahead * math.cos(yaw), y=y + ahead * math.sin(yaw), z=z)
            lines[label].points.append(tip)
    array.markers += lines.values()
    return array


def marker_of(part: Part, header: Header) -> Marker:
    red, green, blue, alpha = part.color
    marker = Marker(header=header, ns=part.namespace, id=part.marker_id, type=part.kind)
    marker.pose.position = Point(x=part.position[0], y=part.position[1], z=part.position[2])
    marker.scale = Vector3(x=part.scale[0], y=part.scale[1], z=part.scale[2])
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    marker.lifetime = Duration(sec=1)
    marker.text = part.text
    return marker


def gauge_message(health: EntropyHealth, offset: tuple[float, float, float]) -> MarkerArray:
    begin = Marker(header=health.header, action=Marker.DELETEALL)
    parts = [marker_of(part, health.header) for part in gauge_parts(health, offset)]
    return MarkerArray(markers=[begin, *parts])
