# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI recordings and simulated drives as rosbag2, written without ROS.

Topics: `POINTS_TOPIC`, `GROUND_TRUTH_TOPIC` and `/tf_static` always; `IMAGE_TOPIC` and
`CAMERA_INFO_TOPIC` where there is a camera. Frames: `base_link` on the ground below the LiDAR
(REP-105), `velodyne` (x forward, y left, z up) and `camera_optical_frame` (z forward, REP-103).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from eloss_perception.datasets.bags import messages
from eloss_perception.datasets.bags.writer import LATCHED_QOS, BagWriter
from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.convert import labelled_boxes
from eloss_perception.datasets.kitti.dataset import KittiFrames
from eloss_perception.detection.sensors import NETWORK_SENSOR_HEIGHT
from eloss_perception.errors import DataError

if TYPE_CHECKING:
    from eloss_perception.simulation.drive import DriveFrame

POINTS_TOPIC = "/velodyne_points"
GROUND_TRUTH_TOPIC = "/ground_truth/markers"
IMAGE_TOPIC = "/camera/image_raw"
CAMERA_INFO_TOPIC = "/camera/camera_info"
TF_STATIC_TOPIC = "/tf_static"

BASE_FRAME = "base_link"
LIDAR_FRAME = "velodyne"
CAMERA_FRAME = "camera_optical_frame"

# KITTI's object and tracking frames carry no time: they get the day of the recording.
KITTI_START_NS = 1_317_000_000 * 10**9
FRAME_PERIOD_NS = 100_000_000

Progress = Callable[[int, int], None]
"""Called with the frames written and the frames there are."""


def write_kitti_bag(
    frames: KittiFrames,
    path: Path | str,
    *,
    storage: str = "mcap",
    max_frames: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a KITTI tracking sequence, or a split of the object set as if it were one, at 10 Hz.

    Returns:
        The bag's folder.

    Raises:
        DataError: A file of the data set is missing or malformed, or the bag cannot be written.
            No half bag is left behind.
    """
    ids = frames.ids[:max_frames]
    if not ids:
        raise DataError("there is no frame to write")
    has_camera = any(frames.image_path(frame_id) for frame_id in ids)
    with BagWriter(path, storage, overwrite=overwrite) as bag:
        _add_topics(bag, has_camera)
        camera_to_lidar = _camera_pose(frames.calibration(ids[0])) if has_camera else None
        _write_static_transforms(bag, KITTI_START_NS, camera_to_lidar)
        for index, frame_id in enumerate(ids):
            stamp_ns = KITTI_START_NS + index * FRAME_PERIOD_NS
            calibration = frames.calibration(frame_id)
            boxes = labelled_boxes(frames.objects(frame_id), calibration)
            _write_scan(bag, stamp_ns, frames.points(frame_id), boxes.boxes, boxes.labels)
            image_path = frames.image_path(frame_id)
            if image_path is not None:
                _write_image(bag, stamp_ns, image_path, calibration)
            if progress is not None:
                progress(index + 1, len(ids))
    return bag.path


def write_drive_bag(
    drive: Iterable[DriveFrame],
    path: Path | str,
    *,
    num_frames: int,
    storage: str = "mcap",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a simulated drive: scans, true boxes and static transforms.

    Args:
        drive: The frames, in order of time.
        num_frames: How many to take at most.

    Returns:
        The bag's folder.

    Raises:
        DataError: The drive has no frame or the bag cannot be written; no half bag is left behind.
    """
    with BagWriter(path, storage, overwrite=overwrite) as bag:
        _add_topics(bag, has_camera=False)
        written = 0
        for frame in drive:
            if written == num_frames:
                break
            if written == 0:
                _write_static_transforms(bag, frame.stamp_ns, None)
            scan = frame.scan
            _write_scan(bag, frame.stamp_ns, scan.points, scan.boxes, scan.labels)
            written += 1
            if progress is not None:
                progress(written, num_frames)
        if written == 0:
            raise DataError("there is no frame to write")
    return bag.path


def _add_topics(bag: BagWriter, has_camera: bool) -> None:
    bag.add_topic(TF_STATIC_TOPIC, "tf2_msgs/msg/TFMessage", LATCHED_QOS)
    bag.add_topic(POINTS_TOPIC, "sensor_msgs/msg/PointCloud2")
    bag.add_topic(GROUND_TRUTH_TOPIC, "visualization_msgs/msg/MarkerArray")
    if has_camera:
        bag.add_topic(IMAGE_TOPIC, "sensor_msgs/msg/Image")
        bag.add_topic(CAMERA_INFO_TOPIC, "sensor_msgs/msg/CameraInfo")


def _write_static_transforms(
    bag: BagWriter, stamp_ns: int, camera_to_lidar: npt.NDArray[np.float64] | None
) -> None:
    lidar_to_base = np.eye(4)
    lidar_to_base[2, 3] = NETWORK_SENSOR_HEIGHT
    stamped = [messages.transform(lidar_to_base, BASE_FRAME, LIDAR_FRAME, stamp_ns)]
    if camera_to_lidar is not None:
        stamped.append(messages.transform(camera_to_lidar, LIDAR_FRAME, CAMERA_FRAME, stamp_ns))
    bag.write(TF_STATIC_TOPIC, stamp_ns, messages.transforms(stamped))


def _write_scan(
    bag: BagWriter,
    stamp_ns: int,
    points: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
) -> None:
    markers = messages.ground_truth_markers(boxes, labels, stamp_ns, LIDAR_FRAME)
    cloud = messages.point_cloud(points, stamp_ns, LIDAR_FRAME)
    # The scan first: what is played after it at the same moment must not hold it up.
    bag.write(POINTS_TOPIC, stamp_ns, cloud)
    bag.write(GROUND_TRUTH_TOPIC, stamp_ns, markers)


def _write_image(bag: BagWriter, stamp_ns: int, path: Path, calibration: Calibration) -> None:
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise DataError(f"{path} is no readable image: {error}") from error
    size = (pixels.shape[1], pixels.shape[0])
    info = messages.camera_info(calibration.p2[:, :3], size, stamp_ns, CAMERA_FRAME)
    bag.write(CAMERA_INFO_TOPIC, stamp_ns, info)
    bag.write(IMAGE_TOPIC, stamp_ns, messages.image(pixels, stamp_ns, CAMERA_FRAME))


def _camera_pose(calibration: Calibration) -> npt.NDArray[np.float64]:
    """(4, 4) transform of points from the left colour camera's frame to the LiDAR's.

    KITTI's rectified frame is that of camera 0; the last column of P2 holds the way from there to
    camera 2, multiplied by its intrinsics.
    """
    lidar_to_camera = np.eye(4)
    lidar_to_camera[:3] = calibration.lidar_to_camera_matrix[:3]
    lidar_to_camera[:3, 3] += np.linalg.solve(calibration.p2[:, :3], calibration.p2[:, 3])
    return np.asarray(np.linalg.inv(lidar_to_camera), dtype=np.float64)
