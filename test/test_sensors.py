# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sensor and network frames: known directions, heights, and the way there and back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from eloss_perception.datasets.scan_files import read_scan_file
from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.points import intensity_fault
from eloss_perception.detection.sensors import (
    NEUTRAL_INTENSITY,
    SENSORS,
    SensorModel,
    find_sensor,
    sensor_boxes,
    to_network_frame,
)
from eloss_perception.errors import ConfigError, DataError

OTHER_SENSORS = Path(__file__).parents[2] / "shared" / "other_sensors"


def test_forward_becomes_x_and_the_ground_lies_at_the_network_height() -> None:
    ahead_on_ground = np.array([[0.0, 10.0, -1.84, 0.5]], dtype=np.float32)  # y is forward
    moved = to_network_frame(ahead_on_ground, SENSORS["nuscenes_hdl32e"])
    np.testing.assert_allclose(moved, [[10.0, 0.0, -1.73, 0.5]], atol=1e-6)


def test_points_of_the_reference_sensor_are_not_copied() -> None:
    points = np.zeros((3, 4), dtype=np.float32)
    assert to_network_frame(points, SENSORS["kitti_hdl64"]) is points


@pytest.mark.parametrize("yaw", [0.0, math.pi / 2, -2.5, math.pi])
def test_boxes_go_back_where_their_points_came_from(yaw: float) -> None:
    sensor = SensorModel(("intensity",), 1.0, 2.4, yaw)
    rng = np.random.default_rng(5)
    in_sensor = np.empty((50, 7), dtype=np.float32)
    in_sensor[:, :3] = rng.uniform(-40, 40, (50, 3))
    in_sensor[:, 3:6] = rng.uniform(0.5, 5, (50, 3))
    in_sensor[:, 6] = rng.uniform(-math.pi, math.pi, 50)
    centres = np.concatenate([in_sensor[:, :3], np.zeros((50, 1), np.float32)], axis=1)
    noses = centres.copy()
    noses[:, 0] += np.cos(in_sensor[:, 6])
    noses[:, 1] += np.sin(in_sensor[:, 6])
    in_network = in_sensor.copy()
    in_network[:, :3] = to_network_frame(centres, sensor)[:, :3]
    towards = to_network_frame(noses, sensor)[:, :2] - in_network[:, :2]
    in_network[:, 6] = np.clip(np.arctan2(towards[:, 1], towards[:, 0]), -3.14159, 3.14159)
    boxes = Boxes3D(in_network, np.ones(50, np.float32), np.zeros(50, np.int64))

    back = sensor_boxes(boxes, sensor).boxes

    np.testing.assert_allclose(back[:, :6], in_sensor[:, :6], atol=2e-5)
    np.testing.assert_allclose(np.cos(back[:, 6] - in_sensor[:, 6]), 1.0, atol=1e-6)


def test_infinite_points_stay_apart_from_their_neighbours() -> None:
    points = np.array([[np.inf, 1, 0, 0], [np.nan, 2, 0, 0], [3, 4, 0, 0]], dtype=np.float32)
    moved = to_network_frame(points, SENSORS["nuscenes_hdl32e"])
    assert np.isfinite(moved).all(axis=1).tolist() == [False, False, True]


def test_mounting_can_be_replaced_and_unknown_sensors_are_named() -> None:
    sensor = find_sensor("velodyne", mounting_height=2.1, forward_yaw=0.5)
    assert (sensor.mounting_height, sensor.forward_yaw, sensor.intensity_scale) == (2.1, 0.5, 255.0)
    assert find_sensor("velodyne") == SENSORS["velodyne"]
    with pytest.raises(ConfigError, match=r"'vlp'.*kitti_hdl64"):
        find_sensor("vlp")
    with pytest.raises(ConfigError, match="finite"):
        find_sensor("velodyne", mounting_height=math.nan)


def test_intensities_off_the_scale_are_said_by_name() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0.0, 1.0, (4000, 4)).astype(np.float32)
    ouster = SENSORS["ouster"]
    assert intensity_fault(points, ouster) == ""
    expected = {
        "is zero everywhere": np.zeros(4000),
        "is next to zero everywhere": points[:, 3] / 255.0,
        "is saturated": np.minimum(points[:, 3] * 255.0, 1.0),
        "is not a number": np.full(4000, np.nan),
    }
    for words, intensity in expected.items():
        wrong = points.copy()
        wrong[:, 3] = intensity
        fault = intensity_fault(wrong, ouster)
        assert words in fault
        assert "sensor, intensity_field and intensity_scale" in fault
        wrong[::2, :3] = np.nan  # no returns say nothing
        assert intensity_fault(wrong, ouster) == fault
        assert intensity_fault(wrong, find_sensor("ouster", intensity_field="none")) == ""
        assert intensity_fault(wrong[:60], ouster) == ""
    points[::2] = np.nan
    assert intensity_fault(points, ouster) == ""


def test_a_scale_that_is_given_is_that_of_every_field() -> None:
    ouster = SENSORS["ouster"]
    assert (ouster.scale_of("reflectivity"), ouster.scale_of("Intensity")) == (255.0, 1800.0)
    scaled = find_sensor("ouster", intensity_scale=4000.0)
    assert {scaled.scale_of(name) for name in scaled.intensity_fields} == {4000.0}
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="intensity_scale"):
            find_sensor("ouster", intensity_scale=scale)


def test_scan_files_of_four_and_five_columns(tmp_path: Path) -> None:
    path = tmp_path / "scan.bin"
    np.array([[1, 2, -1.84, 255, 7], [3, 4, 0, 51, 8]], dtype="<f4").tofile(path)
    points = read_scan_file(path, SENSORS["nuscenes_hdl32e"])
    np.testing.assert_allclose(points, [[2, -1, -1.73, 1.0], [4, -3, 0.11, 0.2]], atol=1e-6)
    with pytest.raises(DataError, match=r"scan\.bin: 40 bytes are not whole points of 4"):
        read_scan_file(path, SENSORS["kitti_hdl64"])
    with pytest.raises(DataError, match=r"nothing\.bin"):
        read_scan_file(tmp_path / "nothing.bin", SENSORS["kitti_hdl64"])


@pytest.mark.parametrize(
    ("file", "sensor"),
    [
        ("nuscenes_hdl32e_sweep.bin", "nuscenes_hdl32e"),
        ("pandaset_pandar64_sweep.bin", "pandaset_pandar64"),
    ],
)
def test_real_scans_of_other_sensors_have_the_road_where_the_network_expects_it(
    file: str, sensor: str
) -> None:
    if not (OTHER_SENSORS / file).exists():
        pytest.skip("no scans of other sensors beside the checkout")
    points = read_scan_file(OTHER_SENSORS / file, SENSORS[sensor])
    distance = np.hypot(points[:, 0], points[:, 1])
    near = points[(distance > 4.0) & (distance < 10.0) & (points[:, 2] < -1.0)]
    assert np.median(near[:, 2]) == pytest.approx(-1.73, abs=0.15)
    assert 0.01 < points[:, 3].mean() < 0.5
    assert points[:, 3].max() <= 1.0


@pytest.mark.parametrize(
    ("columns", "dtype", "scale", "message"),
    [
        (5, "<f4", 255.0, "nuscenes_hdl32e"),
        (4, "<f4", 255.0, "velodyne"),
        (3, "<f4", 1.0, "fits no known"),
        (6, "<f4", 1.0, "seem to have 6 values, not 4; the file fits no known"),
        (4, "<f8", 1.0, "fits no known"),
        (4, ">f4", 1.0, "fits no known"),
    ],
)
def test_a_scan_file_of_another_layout_is_refused(
    tmp_path: Path, columns: int, dtype: str, scale: float, message: str
) -> None:
    rng = np.random.default_rng(4)
    points = np.column_stack(
        [rng.uniform(-40, 40, (2000, 2)), rng.uniform(-2, 1, 2000), rng.uniform(0, scale, 2000)]
    )
    rows = np.column_stack([points, np.arange(2000) % 32, np.full(2000, 30.0)])[:, :columns]
    path = tmp_path / "scan.bin"
    rows.astype(dtype).tofile(path)
    with pytest.raises(DataError, match=message):
        read_scan_file(path, SENSORS["kitti_hdl64"])


def test_records_of_another_width_are_seen_where_every_value_is_plausible(tmp_path: Path) -> None:
    # Six columns x, y, z, r, g, b read as four would pass for a scan of a sensor of 0 to 255.
    angle = np.linspace(0.0, 60.0, 4000)
    rows = np.column_stack([9 * np.cos(angle), 9 * np.sin(angle), angle / 30, *3 * [angle % 9 / 9]])
    path = tmp_path / "scan.bin"
    np.abs(rows).astype("<f4").tofile(path)
    with pytest.raises(DataError, match="seem to have 6 values, not 4"):
        read_scan_file(path, SENSORS["velodyne"])
    right = np.abs(rows[:, :4]) * [1, 1, 1, 255]
    for order in (np.arange(4000), np.random.default_rng(1).permutation(4000)):
        right[order].astype("<f4").tofile(path)
        assert len(read_scan_file(path, SENSORS["velodyne"])) == 4000


def test_a_scan_file_whose_intensity_is_not_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.bin"
    points = np.random.default_rng(2).uniform(1.0, 30.0, (500, 4)).astype("<f4")
    points.tofile(path)
    with pytest.raises(DataError, match="intensities reach"):
        read_scan_file(path, SENSORS["kitti_hdl64"])
    read = read_scan_file(path, find_sensor("kitti_hdl64", intensity_field="none"))
    np.testing.assert_array_equal(read[:, :3], points[:, :3])
    assert (read[:, 3] == NEUTRAL_INTENSITY).all()
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"scan\.bin: the file is empty"):
        read_scan_file(path, SENSORS["kitti_hdl64"])
