# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 -> points: every layout reads the same points, every lie is refused by name."""

from __future__ import annotations

import dataclasses
import math
from array import array
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from array_allocations import num_lines
from cloud_factory import (
    FLOAT64,
    INT8,
    INT32,
    UINT8,
    UINT16,
    XYZI,
    Cloud,
    Field,
    hostile_cloud,
    packed_cloud,
    random_points,
    xyzi_cloud,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from eloss_perception.datasets.scan_files import read_scan_file
from eloss_perception.detection.sensors import NEUTRAL_INTENSITY, SENSORS, SensorModel, find_sensor
from eloss_perception.errors import CloudError
from eloss_perception.replay.message_edits import CloudRows
from eloss_perception.ros.convert import (
    MAX_NUM_POINTS,
    points_from_msg,
)

KITTI = SENSORS["kitti_hdl64"]
KITTI_255 = dataclasses.replace(KITTI, intensity_scale=255.0)
OTHER_SENSORS = Path(__file__).parents[2] / "shared" / "other_sensors"


def test_native_layout_is_a_view_of_the_message() -> None:
    points = random_points(1000)
    cloud = xyzi_cloud(points)
    read = points_from_msg(cloud, KITTI)
    np.testing.assert_array_equal(read, points)
    assert np.shares_memory(read, np.frombuffer(cloud.data, dtype=np.uint8))


def test_intensity_is_scaled_and_kept_within_its_range() -> None:
    cloud = xyzi_cloud(np.array([[1, 2, 3, 51.0], [1, 2, 3, 300.0]], np.float32))
    np.testing.assert_allclose(points_from_msg(cloud, SENSORS["velodyne"])[:, 3], [0.2, 1.0])
    wrong = xyzi_cloud(np.array([[1, 2, 3, 0.5], [1, 2, 3, -2.0], [1, 2, 3, 9.0]], np.float32))
    original = bytes(wrong.data)  # type: ignore[call-overload]
    np.testing.assert_array_equal(points_from_msg(wrong, KITTI)[:, 3], [0.5, 0.0, 1.0])
    assert bytes(wrong.data) == original  # type: ignore[call-overload]


LAYOUTS = {
    "velodyne, with ring and time": (
        [*XYZI, Field("ring", 16, UINT16), Field("time", 18)],
        22,
    ),
    "pcl padding": (
        [Field("x", 0), Field("y", 4), Field("z", 8), Field("intensity", 16)],
        32,
    ),
    "other order": (
        [Field("intensity", 0), Field("z", 4), Field("y", 8), Field("x", 12)],
        16,
    ),
    "float64 and byte intensity, unaligned": (
        [Field("x", 1, FLOAT64), Field("y", 9, FLOAT64), Field("z", 17, FLOAT64),
         Field("i", 25, UINT8)],
        27,
    ),
    "int32 intensity": (
        [Field("x", 0), Field("y", 4), Field("z", 8), Field("reflectivity", 12, INT32)],
        16,
    ),
    "array field and a nameless one": (
        [*XYZI, Field("normal", 16, 7, 3), Field("", 28, UINT8, 4)],
        32,
    ),
    "overlapping rgb": ([*XYZI, Field("rgb", 12), Field("rgba", 12, 6)], 16),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize(("height", "row_padding"), [(1, 0), (4, 0), (4, 7)])
def test_every_layout_reads_the_same_points(
    name: str, is_bigendian: bool, height: int, row_padding: int
) -> None:
    fields, point_step = LAYOUTS[name]
    points = random_points(60)
    points[:, 3] = np.round(points[:, 3] * 255.0)
    cloud = packed_cloud(
        points, fields, point_step, height=height, row_padding=row_padding,
        is_bigendian=is_bigendian,
    )  # fmt: skip
    read = points_from_msg(cloud, KITTI_255)

    expected = points.copy()
    expected[:, 3] /= np.float32(255.0)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected)


def test_non_finite_points_are_passed_on() -> None:
    points = random_points(8)
    points[2, 0], points[3, 1], points[4, 2], points[5, 3] = np.nan, np.inf, -np.inf, np.nan
    np.testing.assert_array_equal(points_from_msg(xyzi_cloud(points), KITTI), points)


def test_empty_is_a_cloud_without_points_whatever_else_it_says() -> None:
    for height, width in ((0, 0), (0, 7), (1, 0)):
        empty = Cloud(height, width, [], 0, 0, array("B"))
        assert points_from_msg(empty, KITTI).shape == (0, 4)


def _changed(**changes: object) -> Cloud:
    return dataclasses.replace(xyzi_cloud(random_points(10)), **changes)  # type: ignore[arg-type]


def _organised(**changes: object) -> Cloud:
    return _changed(**({"height": 2, "width": 5, "row_step": 80} | changes))


def _with_field(index: int, entry: Field) -> Cloud:
    fields = list(XYZI)
    fields[index] = entry
    return _changed(fields=fields)


UNNEEDED = {
    "padding named twice": [Field("_", 16, UINT8, 4), Field("_", 20, UINT8, 12)],
    "the same name and place": [Field("pad", 24), Field("pad", 24)],
    "count 0": [Field("ring", 16, UINT16, 0)],
    "a count of garbage": [Field("ring", 16, UINT16, 2**32 - 1)],
    "unknown datatype": [Field("label", 16, 9)],
    "beyond the point": [Field("rgb", 30, FLOAT64, 4)],
    "before the point": [Field("rgb", -8)],
    "a name of a megabyte": [Field("\n" * 1_000_000, 16)],
    "no name": [Field("", 16), Field("", 20)],
    "x twice, the same": [Field("x", 0)],
}


@pytest.mark.parametrize("name", UNNEEDED)
def test_what_nobody_needs_drops_no_scan(name: str) -> None:
    points = random_points(20)
    cloud = packed_cloud(points, list(XYZI), 32)
    cloud.fields = [*UNNEEDED[name], *XYZI]
    np.testing.assert_array_equal(points_from_msg(cloud, KITTI), points)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_counts_as_drivers_get_them_wrong(count: int) -> None:
    points = random_points(20)
    cloud = xyzi_cloud(points)
    cloud.fields = [dataclasses.replace(field, count=count) for field in XYZI]
    np.testing.assert_array_equal(points_from_msg(cloud, KITTI), points)


@pytest.mark.parametrize(
    ("height", "row_step"),
    [
        *[(1, step) for step in (0, 20, 159, 2**32 - 1)],
        *[(4, step) for step in (0, 5, 20, 79, 320, 80)],
    ],
)
def test_a_row_step_that_is_wrong_does_not_matter_where_the_data_says_it(
    height: int, row_step: int
) -> None:
    points = random_points(20)
    cloud = dataclasses.replace(
        xyzi_cloud(points), height=height, width=20 // height, row_step=row_step
    )
    np.testing.assert_array_equal(points_from_msg(cloud, KITTI), points)


def test_the_last_row_needs_no_padding() -> None:
    points = random_points(20)
    cloud = packed_cloud(points, list(XYZI), 16, height=4, row_padding=8)
    cloud.data = cloud.data[:-8]  # type: ignore[index]
    np.testing.assert_array_equal(points_from_msg(cloud, KITTI), points)


@pytest.mark.parametrize(
    ("field", "datatype", "sensor", "scale"),
    [
        ("reflectivity", UINT16, "ouster", 255.0),
        ("reflectivity", UINT8, "ouster", 255.0),
        ("signal", UINT16, "ouster", 1800.0),
        ("intensity", 7, "ouster", 1800.0),
        *[
            (name, 7, "velodyne", 255.0)
            for name in ("Intensity", "I", "intensities", "reflectance", "remission", "signal")
        ],
    ],
)
def test_the_scale_is_that_of_the_field(
    field: str, datatype: int, sensor: str, scale: float
) -> None:
    points = random_points(50)
    raw = points.copy()
    raw[:, 3] = np.round(points[:, 3] * scale)
    fields = [*XYZI[:3], Field("intensity", 12, datatype)]
    cloud = packed_cloud(raw, fields, 16)
    cloud.fields = [*XYZI[:3], Field(field, 12, datatype)]
    intensity = points_from_msg(cloud, dataclasses.replace(KITTI_255, **_intensity_of(sensor)))
    np.testing.assert_allclose(intensity[:, 3], points[:, 3], atol=0.51 / scale)


def test_a_byte_of_intensity_is_one_though_it_is_declared_as_signed() -> None:
    points = random_points(256)
    points[:, 3] = np.arange(256)
    cloud = packed_cloud(points, [*XYZI[:3], Field("intensity", 12, UINT8)], 16)
    cloud.fields = [*XYZI[:3], Field("intensity", 12, INT8)]
    intensity = points_from_msg(cloud, KITTI_255)[:, 3]
    np.testing.assert_allclose(intensity, np.arange(256) / 255.0, rtol=1e-6)
    rows = CloudRows.of(SimpleNamespace(**vars(cloud), header=None), KITTI_255)
    dimmed = rows.measured()
    dimmed[:, 3] /= 2.0
    half = rows.message(dimmed, None, lambda _, **fields: SimpleNamespace(**fields))
    np.testing.assert_allclose(
        points_from_msg(half, KITTI_255)[:, 3], intensity / 2.0, atol=0.51 / 255.0
    )


def _intensity_of(sensor: str) -> dict[str, object]:
    return {
        name: getattr(SENSORS[sensor], name)
        for name in ("intensity_fields", "intensity_scale", "field_scales")
    }


def test_an_ouster_is_read_by_its_reflectivity_first() -> None:
    points = random_points(30)
    cloud = packed_cloud(points, list(XYZI), 16)
    cloud.fields = [*XYZI, Field("reflectivity", 4)]
    sensor = find_sensor("ouster", mounting_height=1.73)
    np.testing.assert_allclose(
        points_from_msg(cloud, sensor)[:, 3], np.clip(points[:, 1] / 255.0, 0.0, 1.0), atol=1e-6
    )


def test_field_and_scale_may_be_named_and_there_may_be_none() -> None:
    points = random_points(30)
    cloud = packed_cloud(points, list(XYZI), 16)
    cloud.fields = [*XYZI[:3], Field("echo_\u00b5", 12)]
    named = find_sensor("kitti_hdl64", intensity_field="echo_\u00b5", intensity_scale=2.0)
    np.testing.assert_array_equal(points_from_msg(cloud, named)[:, 3], points[:, 3] / 2)
    without = find_sensor("velodyne", intensity_field="none")
    for fields in (cloud.fields, XYZI[:3], list(XYZI)):
        cloud.fields = fields
        read = points_from_msg(cloud, without)
        np.testing.assert_array_equal(read[:, :3], points[:, :3])
        assert (read[:, 3] == np.float32(NEUTRAL_INTENSITY)).all()


@pytest.mark.parametrize("yaw", [0.0, math.pi / 2])
@pytest.mark.parametrize("mounting_height", [0.0, 1.4, 1.73, 2.1])
@pytest.mark.parametrize("point_step", [16, 22])
def test_points_at_the_sensors_own_origin_are_no_returns(
    point_step: int, mounting_height: float, yaw: float
) -> None:
    points = random_points(200)
    points[:, 2] += np.float32(1.73 - mounting_height)
    nothing = points.copy()
    nothing[::3, :3] = 0.0
    nothing[1::9, :3] = (0.01, -0.0, 0.08)  # an origin moved by a lever arm
    nothing[::3, 3] = 0.0
    is_return = (nothing[:, :3] == points[:, :3]).all(axis=1)
    sensor = find_sensor("kitti_hdl64", mounting_height=mounting_height, forward_yaw=yaw)
    read = points_from_msg(packed_cloud(nothing, list(XYZI), point_step), sensor)
    dense = points_from_msg(packed_cloud(points[is_return], list(XYZI), point_step), sensor)
    assert np.isnan(read[~is_return, :3]).all()
    np.testing.assert_array_equal(read[is_return], dense)


def test_a_clean_cloud_with_nan_is_still_a_view() -> None:
    points = random_points(100)
    points[::3] = np.nan
    cloud = xyzi_cloud(points)
    read = points_from_msg(cloud, KITTI)
    assert np.shares_memory(read, np.frombuffer(cloud.data, dtype=np.uint8))
    np.testing.assert_array_equal(read, points)


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        (_changed(data=array("B", bytes(159))), "data holds 159 bytes.*needs 160"),
        (_changed(data=array("B")), "data holds 0 bytes"),
        (_changed(data="text"), "data is str"),
        (_changed(point_step=0), "point_step is 0"),
        (_changed(point_step=12), "'intensity' covers bytes 12..16 of a point of point_step 12"),
        (_organised(row_step=79, data=array("B", bytes(170))), "row_step is 79, below width 5"),
        (_organised(row_step=88), "data holds 160 bytes.*row_step 88 needs 168"),
        (_changed(width=-1), "width -1"),
        (_changed(width=2**32 - 1), f"more than the {MAX_NUM_POINTS}"),
        (_changed(fields=XYZI[:3]), r"no intensity .*looked for intensity, i.*x, y, z; .*_field"),
        (_changed(fields=XYZI[1:]), "'x' is missing; present: y, z, intensity"),
        (_changed(fields=[]), "'x' is missing; present: none"),
        (_changed(fields=[*XYZI, Field("x", 4)]), "'x' appears twice"),
        (_with_field(1, Field("y", 4, INT32)), "'y' is int32, must be float32 or float64"),
        (_with_field(1, Field("y", 4, 9)), "'y' has datatype 9"),
        (_with_field(2, Field("z", 8, 7, 2)), "'z' has count 2"),
        (_with_field(2, Field("z", 14)), "'z' covers bytes 14..18"),
        (_changed(fields=[*XYZI, *[Field("a", 0)] * 1021]), "1025 fields, more than the 1024"),
        (_changed(fields=[Field("a\n\x1b" * 50_000, 0)] * 99), r"'x' is missing.*and 83 more$"),
    ],
)
def test_malformed_clouds_are_refused_with_one_clear_line(cloud: Cloud, message: str) -> None:
    with pytest.raises(CloudError, match=message) as caught:
        points_from_msg(cloud, KITTI)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_any_cloud_gives_points_or_a_cloud_error(seed: int) -> None:
    cloud = hostile_cloud(np.random.default_rng(seed))
    try:
        points = points_from_msg(cloud, KITTI)
    except CloudError:
        pass
    else:
        assert points.dtype == np.float32
        assert points.shape == (cloud.height * cloud.width, 4)
        intensity = points[:, 3]
        assert ((intensity >= 0) & (intensity <= 1) | np.isnan(intensity)).all()


def test_hostile_clouds_are_of_both_kinds() -> None:
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(500):
        try:
            points_from_msg(hostile_cloud(rng), KITTI)
            outcomes["read"] += 1
        except CloudError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 100, outcomes


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("nuscenes_hdl32e_sweep.bin", "nuscenes_hdl32e"),
        ("pandaset_pandar64_sweep.bin", "pandaset_pandar64"),
    ],
)
def test_a_real_scan_reads_the_same_from_a_message_and_from_its_file(file: str, name: str) -> None:
    if not (OTHER_SENSORS / file).exists():
        pytest.skip("no scans of other sensors beside the checkout")
    sensor = SENSORS[name]
    raw = (OTHER_SENSORS / file).read_bytes()
    step = 4 * sensor.num_file_columns
    fields = [*XYZI, Field("ring", 16)][: sensor.num_file_columns]
    cloud = Cloud(1, len(raw) // step, fields, step, len(raw), array("B", raw))
    np.testing.assert_array_equal(
        points_from_msg(cloud, sensor), read_scan_file(OTHER_SENSORS / file, sensor)
    )


def test_converting_has_no_loop_over_the_points() -> None:
    fields, point_step = LAYOUTS["velodyne, with ring and time"]

    def velodyne(points: np.ndarray) -> Cloud:
        raw = np.zeros((len(points), point_step), np.uint8)
        raw[:, :16] = points.view(np.uint8).reshape(-1, 16)
        return Cloud(1, len(points), fields, point_step, raw.size, array("B", raw.tobytes()))

    for layout, sensor in (
        (xyzi_cloud, KITTI),
        (velodyne, SensorModel(("intensity",), 255.0, 1.9, 1.0)),
    ):
        # Lifted clear of the origin, where a point would be no return and the cloud copied.
        lift = np.float32([0.0, 0.0, 3.0, 0.0])
        few, many = (layout(random_points(count) + lift) for count in (12_000, 120_000))
        points_from_msg(few, sensor)
        lines = num_lines(lambda: points_from_msg(many, sensor))  # noqa: B023
        assert lines == num_lines(lambda: points_from_msg(few, sensor)) < 1_000  # noqa: B023
