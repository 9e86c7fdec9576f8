# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 messages for recordings, built without ROS: the `rosbags` package knows the standard types.

Every function returns a message of `TYPESTORE`; stamps are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.typesys import Stores, get_typestore

from eloss_perception.datasets.bags import CLOUD_TYPE
from eloss_perception.detection.boxes import BOX_EDGES, CLASS_NAMES, corners_3d

# The oldest distribution supported: the types used here are the same, hash for hash, up to Jazzy.
TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)

_FLOAT32 = 7  # sensor_msgs/PointField.FLOAT32
_LINE_LIST, _ADD, _DELETE_ALL = 5, 0, 3  # visualization_msgs/Marker

# Ground truth stays on screen until the next scan; two missing scans remove it.
_MARKER_LIFETIME_NS = 200_000_000


def make(message_type: str, /, **fields: Any) -> Any:
    """Returns a message, such as ``make("std_msgs/msg/Header", stamp=..., frame_id=...)``."""
    return TYPESTORE.types[message_type](**fields)


def time_message(stamp_ns: int) -> Any:
    """builtin_interfaces/Time."""
    return make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return make("std_msgs/msg/Header", stamp=time_message(stamp_ns), frame_id=frame_id)


def point_cloud(points: npt.NDArray[np.float32], stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/PointCloud2 of fields x, y, z [m] and intensity [0, 1], all float32.

    Args:
        points: (N, 4) float32.
    """
    data = np.ascontiguousarray(points, dtype="<f4").view(np.uint8).reshape(-1)
    return make(
        CLOUD_TYPE,
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=[
            make("sensor_msgs/msg/PointField", name=name, offset=4 * i, datatype=_FLOAT32, count=1)
            for i, name in enumerate(("x", "y", "z", "intensity"))
        ],
        is_bigendian=False,
        point_step=16,
        row_step=16 * len(points),
        data=data,
        is_dense=True,
    )


def image(pixels: npt.NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/Image, rgb8, from (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    return make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def camera_info(
    intrinsics: npt.NDArray[np.float64], image_size: tuple[int, int], stamp_ns: int, frame_id: str
) -> Any:
    """sensor_msgs/CameraInfo of a rectified image: no distortion, no rotation.

    Args:
        intrinsics: (3, 3) camera matrix [px].
        image_size: Width and height [px].
    """
    projection = np.zeros((3, 4))
    projection[:, :3] = intrinsics
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header(stamp_ns, frame_id),
        height=image_size[1],
        width=image_size[0],
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=intrinsics.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=projection.reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        ),
    )


def transform(
    child_to_parent: npt.NDArray[np.float64], parent: str, child: str, stamp_ns: int
) -> Any:
    """geometry_msgs/TransformStamped: the pose of the child frame in the parent frame.

    Args:
        child_to_parent: (4, 4) rigid transform of points from child to parent.
    """
    x, y, z = (float(value) for value in child_to_parent[:3, 3])
    qx, qy, qz, qw = quaternion(child_to_parent[:3, :3])
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=make(
            "geometry_msgs/msg/Transform",
            translation=make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
            rotation=make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        ),
    )


def transforms(stamped: Sequence[Any]) -> Any:
    """tf2_msgs/TFMessage."""
    return make("tf2_msgs/msg/TFMessage", transforms=list(stamped))


def quaternion(rotation: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Unit quaternion x, y, z, w of a rotation matrix, w >= 0.

    The largest eigenvector of Bar-Itzhack's matrix (*New method for extracting the quaternion from
    a rotation matrix*, 2000): no cases, and a matrix that is only nearly a rotation gives the
    nearest one.
    """
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    _, vectors = np.linalg.eigh(k)
    x, y, z, w = (float(value) for value in vectors[:, -1])
    return (x, y, z, w) if w >= 0.0 else (-x, -y, -z, -w)


def ground_truth_markers(
    boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], stamp_ns: int, frame_id: str
) -> Any:
    """visualization_msgs/MarkerArray: a white wire frame a box, with a line to its front.

    `text`, which RViz does not show for lines, holds the class name; `boxes_from_markers` reads
    the boxes back.

    Args:
        boxes: (M, 7) x, y, z, length, width, height, yaw [m, rad, LiDAR frame].
        labels: (M,) class index; boxes labelled -1 (not to be detected) are drawn faint.
    """
    markers = [_marker(stamp_ns, frame_id, 0, _DELETE_ALL, np.zeros((0, 3)), 0.0)]
    for index, (box, corners) in enumerate(zip(boxes, corners_3d(boxes), strict=True)):
        top = corners[4:].mean(axis=0)
        ahead = top + 0.5 * box[3] * np.array([np.cos(box[6]), np.sin(box[6]), 0.0])
        lines = [corners[list(edge)] for edge in BOX_EDGES] + [np.stack([top, ahead])]
        alpha = 0.25 if labels[index] < 0 else 0.8
        name = CLASS_NAMES[labels[index]] if labels[index] >= 0 else ""
        markers.append(_marker(stamp_ns, frame_id, index, _ADD, np.concatenate(lines), alpha, name))
    return make("visualization_msgs/msg/MarkerArray", markers=markers)


def boxes_from_markers(message: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Reads back what `ground_truth_markers` drew.

    Returns:
        (M, 7) boxes and (M,) labels.
    """
    boxes, labels = [], []
    for marker in message.markers:
        if marker.action != _ADD or marker.type != _LINE_LIST:
            continue
        points = np.array([(p.x, p.y, p.z) for p in marker.points])
        # The eight corners are where the edges of bottom and top begin; the last line is the
        # heading.
        corners, (top, front) = points[0:16:2], points[-2:]
        ahead = front - top
        length = 2.0 * float(np.hypot(ahead[0], ahead[1]))
        yaw = float(np.arctan2(ahead[1], ahead[0]))
        sideways = (corners[:, :2] - top[:2]) @ np.array([-np.sin(yaw), np.cos(yaw)])
        size = (length, float(np.ptp(sideways)), float(np.ptp(corners[:, 2])))
        boxes.append((*corners.mean(axis=0), *size, yaw))
        labels.append(CLASS_NAMES.index(marker.text) if marker.text in CLASS_NAMES else -1)
    return (np.array(boxes, dtype=np.float32).reshape(-1, 7), np.array(labels, dtype=np.int64))


def _marker(
    stamp_ns: int,
    frame_id: str,
    marker_id: int,
    action: int,
    points: npt.NDArray[np.float64],
    alpha: float,
    text: str = "",
) -> Any:
    """visualization_msgs/Marker of a list of lines; points (2 * lines, 3) [m]."""
    return make(
        "visualization_msgs/msg/Marker",
        header=header(stamp_ns, frame_id),
        ns="ground_truth",
        id=marker_id,
        type=_LINE_LIST,
        action=action,
        pose=make(
            "geometry_msgs/msg/Pose",
            position=make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0),
            orientation=make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        scale=make("geometry_msgs/msg/Vector3", x=0.04, y=0.0, z=0.0),
        color=make("std_msgs/msg/ColorRGBA", r=1.0, g=1.0, b=1.0, a=alpha),
        lifetime=make("builtin_interfaces/msg/Duration", sec=0, nanosec=_MARKER_LIFETIME_NS),
        frame_locked=False,
        points=[
            make("geometry_msgs/msg/Point", x=float(x), y=float(y), z=float(z))
            for x, y, z in points
        ],
        colors=[],
        texture_resource="",
        texture=make(
            "sensor_msgs/msg/CompressedImage",
            header=header(0, ""),
            format="",
            data=np.zeros(0, dtype=np.uint8),
        ),
        uv_coordinates=[],
        text=text,
        mesh_resource="",
        mesh_file=make(
            "visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, dtype=np.uint8)
        ),
        mesh_use_embedded_materials=False,
    )
