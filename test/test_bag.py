# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags: what is written is what two independent readers read, and a failure leaves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eloss_perception.datasets.bags import messages
from eloss_perception.datasets.bags.reader import BagReader
from eloss_perception.datasets.bags.writer import BagWriter
from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.dataset import KittiSequence
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.replay.drives import (
    CAMERA_INFO_TOPIC,
    FRAME_PERIOD_NS,
    GROUND_TRUTH_TOPIC,
    IMAGE_TOPIC,
    KITTI_START_NS,
    POINTS_TOPIC,
    TF_STATIC_TOPIC,
    write_drive_bag,
    write_kitti_bag,
)

STORAGES = ("mcap", "sqlite3")


@dataclass
class FakeFrames:
    """Three KITTI frames made up on the spot."""

    folder: Path
    with_images: bool = True
    fail_at: str = ""
    ids: tuple[str, ...] = ("000000", "000001", "000002")

    def points(self, frame_id: str) -> npt.NDArray[np.float32]:
        if frame_id == self.fail_at:
            raise DataError(f"{frame_id}.bin is cut off")
        rng = np.random.default_rng(int(frame_id))
        return rng.uniform(0.0, 1.0, (1000, 4)).astype(np.float32)

    def calibration(self, frame_id: str) -> Calibration:
        return Calibration.synthetic()

    def objects(self, frame_id: str) -> list[KittiObject]:
        car = KittiObject(
            type="Car",
            truncation=0.0,
            occlusion=0,
            alpha=1.57,
            bbox2d=(100.0, 100.0, 200.0, 200.0),
            dimensions=(1.5, 1.6, 4.0),
            location=(0.5, 1.7, 20.0),
            rotation_y=1.57,
        )
        return [car]

    def image_path(self, frame_id: str) -> Path | None:
        if not self.with_images:
            return None
        path = self.folder / f"{frame_id}.png"
        pixels = np.full((6, 8, 3), int(frame_id), dtype=np.uint8)
        pixels[0, 0] = (255, 0, 7)
        Image.fromarray(pixels).save(path)
        return path


@dataclass
class FakeScan:
    """What write_drive_bag reads of a simulated scan."""

    points: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.array([[10, 0, -1, 4, 2, 1.5, 0.3]], dtype=np.float32)
    )
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.array([0]))


@dataclass
class FakeDriveFrame:
    """What write_drive_bag reads of a drive."""

    scan: FakeScan
    stamp_ns: int


def cloud_points(message: Any) -> npt.NDArray[np.float32]:
    return np.frombuffer(bytes(message.data), dtype="<f4").reshape(-1, 4)


@pytest.mark.parametrize("storage", STORAGES)
def test_kitti_frames_come_back(tmp_path: Path, storage: str) -> None:
    seen = []
    frames = FakeFrames(tmp_path)
    path = write_kitti_bag(
        frames, tmp_path / "bag", storage=storage, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert sorted(item.name for item in path.iterdir())[-1] == "metadata.yaml"
    with BagReader(path) as bag:
        assert {name: topic.num_messages for name, topic in bag.topics.items()} == {
            TF_STATIC_TOPIC: 1,
            POINTS_TOPIC: 3,
            GROUND_TRUTH_TOPIC: 3,
            IMAGE_TOPIC: 3,
            CAMERA_INFO_TOPIC: 3,
        }
        clouds = list(bag.messages([POINTS_TOPIC]))
        for index, raw in enumerate(clouds):
            cloud = bag.deserialize(raw)
            stamp = cloud.header.stamp
            assert raw.stamp_ns == stamp.sec * 10**9 + stamp.nanosec
            assert raw.stamp_ns == KITTI_START_NS + index * FRAME_PERIOD_NS
            assert [f.name for f in cloud.fields] == ["x", "y", "z", "intensity"]
            assert (cloud.point_step, cloud.row_step, cloud.height) == (16, 16000, 1)
            np.testing.assert_array_equal(cloud_points(cloud), frames.points(frames.ids[index]))
        picture = bag.deserialize(next(iter(bag.messages([IMAGE_TOPIC]))))
        assert (picture.width, picture.height, picture.step) == (8, 6, 24)
        assert picture.data[:3].tolist() == [255, 0, 7]
        markers = bag.deserialize(next(iter(bag.messages([GROUND_TRUTH_TOPIC])))).markers
        assert [marker.action for marker in markers] == [3, 0]
        assert markers[1].header.frame_id == "velodyne"
        corners = np.array([[p.x, p.y, p.z] for p in markers[1].points[:24]])
        assert np.ptp(corners[:, 2]) == pytest.approx(1.5, abs=1e-3)


def test_images_may_be_missing(tmp_path: Path) -> None:
    path = write_kitti_bag(FakeFrames(tmp_path, with_images=False), tmp_path / "bag", max_frames=2)
    with BagReader(path) as bag:
        assert set(bag.topics) == {TF_STATIC_TOPIC, POINTS_TOPIC, GROUND_TRUTH_TOPIC}
        assert bag.topics[POINTS_TOPIC].num_messages == 2


@pytest.mark.parametrize("storage", STORAGES)
def test_metadata_is_what_rosbag2_expects(tmp_path: Path, storage: str) -> None:
    path = write_kitti_bag(FakeFrames(tmp_path), tmp_path / "bag", storage=storage)
    info = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["storage_identifier"] == storage
    for name in info["relative_file_paths"]:
        assert (path / name).is_file()
        assert name.startswith("bag.")
    assert info["message_count"] == 13
    topics = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"]
        for entry in info["topics_with_message_count"]
    }
    (static,) = yaml.safe_load(topics[TF_STATIC_TOPIC]["offered_qos_profiles"])
    # rmw_qos_durability_policy_e: 1 transient local, 2 volatile; reliability 1 reliable.
    assert (static["durability"], static["reliability"], static["depth"]) == (1, 1, 1)
    (stream,) = yaml.safe_load(topics[POINTS_TOPIC]["offered_qos_profiles"])
    assert (stream["durability"], stream["reliability"]) == (2, 1)


def test_an_independent_reader_agrees(tmp_path: Path) -> None:
    mcap_reader = pytest.importorskip("mcap.reader")
    decoder = pytest.importorskip("mcap_ros2.decoder")
    frames = FakeFrames(tmp_path)
    path = write_kitti_bag(frames, tmp_path / "bag")
    counts: dict[str, int] = {}
    with (path / "bag.mcap").open("rb") as stream:
        reader = mcap_reader.make_reader(stream, decoder_factories=[decoder.DecoderFactory()])
        for _schema, channel, record, message in reader.iter_decoded_messages():
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            if channel.topic == POINTS_TOPIC:
                index = counts[channel.topic] - 1
                assert record.log_time == KITTI_START_NS + index * FRAME_PERIOD_NS
                np.testing.assert_array_equal(
                    cloud_points(message), frames.points(frames.ids[index])
                )
            if channel.topic == TF_STATIC_TOPIC:
                lidar, camera = message.transforms
                assert (lidar.header.frame_id, lidar.child_frame_id) == ("base_link", "velodyne")
                assert lidar.transform.translation.z == pytest.approx(1.73)
                assert camera.child_frame_id == "camera_optical_frame"
    assert counts == {
        TF_STATIC_TOPIC: 1,
        POINTS_TOPIC: 3,
        GROUND_TRUTH_TOPIC: 3,
        IMAGE_TOPIC: 3,
        CAMERA_INFO_TOPIC: 3,
    }


def test_camera_transform_and_intrinsics_project_like_kitti(tmp_path: Path) -> None:
    """A point through /tf_static and CameraInfo lands on the pixel where KITTI's P2 puts it."""
    path = write_kitti_bag(FakeFrames(tmp_path), tmp_path / "bag")
    with BagReader(path) as bag:
        tf = bag.deserialize(next(iter(bag.messages([TF_STATIC_TOPIC])))).transforms[1].transform
        info = bag.deserialize(next(iter(bag.messages([CAMERA_INFO_TOPIC]))))
    q, t = tf.rotation, tf.translation
    camera_to_lidar = rotation_matrix(q.x, q.y, q.z, q.w)
    point = np.array([20.0, 3.0, -1.0])
    in_camera = camera_to_lidar.T @ (point - np.array([t.x, t.y, t.z]))
    pixel = info.k.reshape(3, 3) @ in_camera
    expected, _ = Calibration.synthetic().lidar_to_image(point[None])
    np.testing.assert_allclose(pixel[:2] / pixel[2], expected[0], atol=1e-3)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_failure_leaves_nothing_behind(tmp_path: Path, storage: str) -> None:
    with pytest.raises(DataError, match="cut off"):
        write_kitti_bag(
            FakeFrames(tmp_path, with_images=False, fail_at="000002"),
            tmp_path / "out" / "bag",
            storage=storage,
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_overwrite_keeps_the_old_bag(tmp_path: Path) -> None:
    frames = FakeFrames(tmp_path, with_images=False)
    path = write_kitti_bag(frames, tmp_path / "bag", max_frames=1)
    with pytest.raises(DataError, match="exists"):
        write_kitti_bag(frames, path)
    with pytest.raises(DataError, match="cut off"):
        write_kitti_bag(
            FakeFrames(tmp_path, with_images=False, fail_at="000001"), path, overwrite=True
        )
    with BagReader(path) as bag:
        assert bag.topics[POINTS_TOPIC].num_messages == 1
    write_kitti_bag(frames, path, overwrite=True)
    with BagReader(path) as bag:
        assert bag.topics[POINTS_TOPIC].num_messages == 3
    assert [item.name for item in tmp_path.iterdir()] == ["bag"]


def test_overwrite_spares_a_folder_that_is_no_bag(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="no bag"):
        BagWriter(tmp_path, overwrite=True)


def test_unknown_storage_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mcap, sqlite3"):
        BagWriter(tmp_path / "bag", "rosbag1")


def test_drive_bag(tmp_path: Path) -> None:
    drive = (
        FakeDriveFrame(FakeScan(np.full((5, 4), i, dtype=np.float32)), 10**18 + i * 10**8)
        for i in range(100)
    )
    path = write_drive_bag(drive, tmp_path / "drive", num_frames=4)
    with BagReader(path) as bag:
        assert bag.topics[POINTS_TOPIC].num_messages == 4
        assert set(bag.topics) == {TF_STATIC_TOPIC, POINTS_TOPIC, GROUND_TRUTH_TOPIC}
        assert (bag.end_ns - bag.start_ns) == 3 * 10**8


def test_an_empty_drive_is_an_error_and_no_bag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frame"):
        write_drive_bag(iter(()), tmp_path / "drive", num_frames=4)
    assert list(tmp_path.iterdir()) == []


def test_reader_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        BagReader(tmp_path / "nothing")
    with pytest.raises(DataError, match="no readable rosbag2"):
        BagReader(tmp_path)


def test_real_sequence(tmp_path: Path, kitti_tracking_root: Path) -> None:
    sequence = KittiSequence(kitti_tracking_root, "0001")
    path = write_kitti_bag(sequence, tmp_path / "bag", max_frames=2)
    with BagReader(path) as bag:
        cloud = bag.deserialize(next(iter(bag.messages([POINTS_TOPIC]))))
        np.testing.assert_array_equal(cloud_points(cloud), sequence.points("000000"))
        assert bag.topics[IMAGE_TOPIC].num_messages == 2


def rotation_matrix(x: float, y: float, z: float, w: float) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4))
@settings(max_examples=200, deadline=None)
def test_quaternion_inverts_the_rotation_matrix(values: list[float]) -> None:
    norm = float(np.linalg.norm(values))
    if norm < 1e-3:
        return
    rotation = rotation_matrix(*(value / norm for value in values))
    recovered = messages.quaternion(rotation)
    assert recovered[3] >= 0.0
    np.testing.assert_allclose(rotation_matrix(*recovered), rotation, atol=1e-9)
