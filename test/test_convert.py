# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 -> points: every layout reads the same points, every lie is refused by name."""

from __future__ import annotations

import dataclasses
from array import array
from pathlib import Path

import numpy as np
import pytest
from array_allocations import num_lines
from cloud_factory import (
    FLOAT64,
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

from eloss_perception.core.scan_files import read_scan_file
from eloss_perception.core.sensors import SENSORS, SensorModel
from eloss_perception.errors import CloudError
from eloss_perception.ros.convert import (
    MAX_NUM_POINTS,
    POINT_FIELD_TYPES,
    dtype_from_fields,
    points_from_msg,
)

KITTI = SENSORS["kitti_hdl64"]
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
    sensor = dataclasses.replace(KITTI, intensity_scale=255.0)

    read = points_from_msg(cloud, sensor)

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


def _with_field(index: int, entry: Field) -> Cloud:
    fields = list(XYZI)
    fields[index] = entry
    return _changed(fields=fields)


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        (_changed(data=array("B", bytes(159))), "data holds 159 bytes.*needs 160"),
        (_changed(data=array("B")), "data holds 0 bytes"),
        (_changed(data="text"), "data is str"),
        (_changed(point_step=0), "point_step is 0"),
        (_changed(point_step=12), "'intensity' covers bytes 12..16 of a point of point_step 12"),
        (_changed(row_step=159), "row_step is 159, below width 10 x point_step 16"),
        (_changed(width=-1), "width -1"),
        (_changed(width=2**32 - 1), f"more than the {MAX_NUM_POINTS}"),
        (_changed(fields=XYZI[:3]), r"no intensity field \(looked for intensity, i.*x, y, z"),
        (_changed(fields=XYZI[1:]), "'x' is missing; present: y, z, intensity"),
        (_changed(fields=[]), "'x' is missing; present: none"),
        (_changed(fields=[*XYZI, Field("x", 0)]), "'x' appears twice"),
        (_with_field(1, Field("y", 4, INT32)), "'y' is int32, must be float32 or float64"),
        (_with_field(1, Field("y", 4, 9)), "'y' has datatype 9"),
        (_with_field(2, Field("z", 8, 7, 2)), "'z' has count 2"),
        (_with_field(2, Field("z", 8, 7, 0)), "'z' has count 0"),
        (_with_field(2, Field("z", 14)), "'z' covers bytes 14..18"),
        (_changed(fields=[*XYZI, Field("a", 0, 1, 2**32 - 1)]), "4294967299 values"),
    ],
)
def test_malformed_clouds_are_refused_with_one_clear_line(cloud: Cloud, message: str) -> None:
    with pytest.raises(CloudError, match=message) as caught:
        points_from_msg(cloud, KITTI)
    assert "\n" not in str(caught.value)


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


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b_1", "c"]),
            st.integers(0, 20),
            st.sampled_from(sorted(POINT_FIELD_TYPES)),
            st.integers(1, 3),
        ),
        max_size=4,
        unique_by=lambda entry: entry[0],
    )
)
def test_own_dtype_equals_that_of_sensor_msgs_py(
    entries: list[tuple[str, int, int, int]],
) -> None:
    ros = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="not among ROS's wheels")
    fields = [Field(*entry) for entry in entries]
    assert dtype_from_fields(fields, 64) == ros.dtype_from_fields(fields, 64)


def test_own_dtype_of_a_layout_worked_out_by_hand() -> None:
    dtype = dtype_from_fields([Field("x", 2), Field("n", 8, 4, 2), Field("", 0, UINT8)], 16)
    assert dtype.itemsize == 16
    assert {name: dtype.fields[name] for name in dtype.names} == {  # type: ignore[union-attr,index]
        "x": (np.dtype("f4"), 2),
        "n_0": (np.dtype("u2"), 8),
        "n_1": (np.dtype("u2"), 10),
        "unnamed_field_2": (np.dtype("u1"), 0),
    }


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
        few, many = (layout(random_points(count)) for count in (12_000, 120_000))
        points_from_msg(few, sensor)
        lines = num_lines(lambda: points_from_msg(many, sensor))  # noqa: B023
        assert lines == num_lines(lambda: points_from_msg(few, sensor)) < 1_000  # noqa: B023
