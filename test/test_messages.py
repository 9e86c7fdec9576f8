# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages, markers, gauge and diagnostics: what they say, and the rules RViz and REP-107 set."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from fake_detector import REFERENCE
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.core.boxes import Boxes3D
from eloss_perception.core.health import HealthLevel, HealthMonitor
from eloss_perception.core.pillars import PointCounts
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.gauge import gauge_markers
from eloss_perception.ros.markers import boxes_to_markers
from eloss_perception.ros.messages import (
    detections_to_msg,
    health_to_msg,
    pipeline_latency_ms,
    unread_health_to_msg,
)
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus

NAMES = ("Car", "Pedestrian", "Cyclist")
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="velodyne")
COUNTS = PointCounts(900, 10, 60, 30, 1000, 400, 0)


def some_boxes(num_boxes: int = 3) -> Boxes3D:
    rng = np.random.default_rng(2)
    boxes = rng.uniform(0.5, 5.0, (num_boxes, 7)).astype(np.float32)
    boxes[:, :3] *= 8.0
    boxes[:, 6] = rng.uniform(-3.0, 3.0, num_boxes)
    scores = np.sort(rng.uniform(0, 1, num_boxes))[::-1].astype(np.float32)
    return Boxes3D(boxes, scores, np.arange(num_boxes) % 3)


def read_health(entropy: tuple[float, float, float] = (0.7, 0.6, 0.5)) -> EntropyHealth:
    report = HealthMonitor(REFERENCE).update(np.array(entropy), 900, 400)
    return health_to_msg(report, COUNTS, HEADER)


def test_detections_hold_the_boxes_under_the_clouds_header() -> None:
    boxes = some_boxes()
    msg = detections_to_msg(boxes, NAMES, HEADER)
    assert msg.header == HEADER
    assert len(msg.detections) == 3
    for detection, box, score, name in zip(
        msg.detections, boxes.boxes, boxes.scores, ("car", "pedestrian", "cyclist"), strict=True
    ):
        assert detection.header == HEADER
        assert detection.id == ""
        position, rotation = detection.bbox.center.position, detection.bbox.center.orientation
        np.testing.assert_array_equal([position.x, position.y, position.z], box[:3])
        size = detection.bbox.size
        np.testing.assert_array_equal([size.x, size.y, size.z], box[3:6])
        assert 2 * math.atan2(rotation.z, rotation.w) == pytest.approx(float(box[6]), abs=1e-6)
        (result,) = detection.results
        assert result.hypothesis.class_id == name
        assert result.hypothesis.score == score
        assert result.pose.pose == detection.bbox.center
    serialize_message(msg)


def test_nothing_found_is_an_empty_array() -> None:
    assert detections_to_msg(Boxes3D.empty(), NAMES, HEADER).detections == []
    (only,) = boxes_to_markers(Boxes3D.empty(), NAMES, HEADER).markers
    assert only.action == Marker.DELETEALL


def check_marker_rules(array: MarkerArray, header: Header) -> None:
    first, *others = array.markers
    assert first.action == Marker.DELETEALL
    keys = [(marker.ns, marker.id) for marker in others]
    assert len(keys) == len(set(keys))
    for marker in array.markers:
        assert marker.header == header
    for marker in others:
        assert marker.action == Marker.ADD
        assert marker.ns
        assert marker.lifetime.sec or marker.lifetime.nanosec
        q = marker.pose.orientation
        assert math.hypot(q.x, q.y, q.z, q.w) == pytest.approx(1.0, abs=1e-6)
        assert marker.color.a > 0.0
        if marker.type == Marker.CUBE:
            assert min(marker.scale.x, marker.scale.y, marker.scale.z) > 0.0
        assert len(marker.colors) in (0, len(marker.points))
    serialize_message(array)


def test_box_markers_keep_rvizs_rules_and_lie_on_the_boxes() -> None:
    boxes = some_boxes()
    array = boxes_to_markers(boxes, NAMES, HEADER)
    check_marker_rules(array, HEADER)
    bodies = [marker for marker in array.markers if marker.ns == "boxes"]
    assert [marker.pose.position.x for marker in bodies] == boxes.boxes[:, 0].tolist()
    assert bodies[0].lifetime.nanosec == 200_000_000
    lines = [marker for marker in array.markers if marker.ns == "edges"]
    assert [marker.id for marker in lines] == [0, 1, 2]  # one box of each class
    for marker, box in zip(lines, boxes.boxes, strict=True):
        ends = np.array([[p.x, p.y, p.z] for p in marker.points]).reshape(13, 2, 3)
        lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        np.testing.assert_allclose(
            np.sort(lengths[:12]), np.sort(np.repeat(box[3:6], 4)), rtol=1e-4
        )
        nose, ahead = ends[12]
        assert np.arctan2(*(ahead - nose)[1::-1]) == pytest.approx(float(box[6]), abs=1e-5)
        centre_to_nose = np.linalg.norm(nose - box[:3])
        assert centre_to_nose == pytest.approx(float(box[3]) / 2, rel=1e-4)


@pytest.mark.parametrize("level", list(HealthLevel))
def test_the_gauge_keeps_rvizs_rules_at_every_level(level: HealthLevel) -> None:
    health = read_health()
    health.level = bytes([level])
    array = gauge_markers(health, (1.0, 2.0, 0.0))
    check_marker_rules(array, HEADER)
    (text,) = (marker for marker in array.markers if marker.ns == "gauge_text")
    assert level.name in text.text


def test_the_gauge_names_its_bars_and_keeps_words_and_bars_apart_on_its_board() -> None:
    array = gauge_markers(read_health((0.9, 0.6, 0.1)), (-10.0, 3.0, 1.0))
    labels = [marker for marker in array.markers if marker.ns == "gauge_label"]
    stages = [name.partition(".")[0] for name in REFERENCE.layer_names]
    assert [marker.text for marker in labels] == [*dict.fromkeys(stages), "score"]
    (words,) = (marker for marker in array.markers if marker.ns == "gauge_text")
    board, *plates = (marker for marker in array.markers if marker.ns == "gauge_band")
    shown = [marker for marker in array.markers if marker.ns == "gauge"]
    for part in [*labels, words, *plates, *shown]:
        for axis in "xyz":
            center, extent = getattr(board.pose.position, axis), getattr(board.scale, axis)
            distance = getattr(part.pose.position, axis) - center
            if axis == "z":
                assert distance > 0.0
            else:
                assert abs(distance) + 0.5 * getattr(part.scale, axis) <= 0.5 * extent
    assert words.pose.position.y < min(bar.pose.position.y - bar.scale.y for bar in shown)


def bars(health: EntropyHealth) -> dict[int, Marker]:
    array = gauge_markers(health, (0.0, 0.0, 0.0))
    return {marker.id: marker for marker in array.markers if marker.ns == "gauge"}


def test_gauge_bars_grow_with_the_deviation_and_go_to_the_left_first() -> None:
    shown = bars(read_health((0.9, 0.6, 0.1)))  # +2, 0 and -4 standard deviations
    assert len(shown) == 4  # three layers and the score
    assert shown[0].pose.position.x == pytest.approx(0.5, abs=1e-5)  # 0.5 m a deviation
    assert shown[0].scale.x == pytest.approx(1.0, abs=1e-5)
    assert shown[2].pose.position.x == pytest.approx(-1.0, abs=1e-5)
    assert shown[0].pose.position.y > shown[1].pose.position.y > shown[2].pose.position.y
    assert shown[0].color.g > shown[0].color.r  # inside the band: green
    assert shown[2].color.r > shown[2].color.g  # outside: not green


def test_gauge_shows_no_bar_for_what_was_not_read_and_clips_what_is_extreme() -> None:
    unread = unread_health_to_msg(HealthLevel.STALE, "no scan for 2.0 s", REFERENCE, HEADER)
    assert bars(unread) == {}
    check_marker_rules(gauge_markers(unread, (0.0, 0.0, 0.0)), HEADER)
    extreme = bars(read_health((math.nan, 1e9, -1e9)))
    assert sorted(extreme) == [1, 2, 3]
    assert all(marker.scale.x <= 3.0 + 1e-6 for marker in extreme.values())


def test_health_message_carries_report_and_counts() -> None:
    msg = read_health((0.9, 0.6, 0.1))
    assert msg.header == HEADER
    assert msg.level == EntropyHealth.OK  # one odd frame flips nothing
    assert msg.layer_names == list(REFERENCE.layer_names)
    np.testing.assert_allclose(msg.entropy_change, [-0.3, -0.5], rtol=1e-5)
    np.testing.assert_allclose(msg.normal_std, [0.1, 0.1, 0.1], rtol=1e-5)
    assert (msg.num_points, msg.num_pillars) == (910, 400)  # dropped ones count as seen
    assert (msg.num_non_finite, msg.num_out_of_range) == (30, 60)
    serialize_message(msg)


def test_unread_health_has_no_numbers_that_look_like_readings() -> None:
    msg = unread_health_to_msg(HealthLevel.ERROR, "scan dropped", REFERENCE, HEADER)
    assert msg.level == EntropyHealth.ERROR
    assert all(map(math.isnan, [msg.score, msg.eloss, msg.eloss_ratio, *msg.layer_entropy]))
    assert len(msg.entropy_change) == 2
    serialize_message(msg)


@pytest.mark.parametrize(
    ("now_s", "expected_ms"), [(12.5, 499.999966), (12.0, math.nan), (100.0, math.nan)]
)
def test_latency_is_told_only_in_the_nodes_time_base(now_s: float, expected_ms: float) -> None:
    latency = pipeline_latency_ms(int(now_s * 1e9), HEADER)
    assert latency == pytest.approx(expected_ms, nan_ok=True)


def test_two_hundred_boxes_are_cheap() -> None:
    boxes = some_boxes(200)
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        detections_to_msg(boxes, NAMES, HEADER)
        boxes_to_markers(boxes, NAMES, HEADER)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.1  # About 15 ms on one core; a slip to numpy scalars costs far more.


SETTINGS = DetectorNodeSettings()


def active(**changes: object) -> DetectorStatus:
    status = DetectorStatus(
        lifecycle="active", backend="cpu", num_received=10, num_answered=10, last_scan_time=9.9,
        counts=COUNTS, max_pillars=500, total_ms=20.0, max_total_ms=25.0,
        report=HealthMonitor(REFERENCE).update(np.array([0.7, 0.6, 0.5]), 900, 400),
    )  # fmt: skip
    return dataclasses.replace(status, **changes)  # type: ignore[arg-type]


def levels(status: DetectorStatus, before: DetectorStatus | None = None) -> dict[str, int]:
    diagnostics = Diagnostics("detector_node", now=8.0)
    diagnostics.make(before or active(num_received=1, num_answered=1), SETTINGS, 9.0, Time())
    array = diagnostics.make(status, SETTINGS, 10.0, Time(sec=3))
    assert array.header.stamp.sec == 3
    serialize_message(array)
    assert all(entry.hardware_id == "lidar" for entry in array.status)
    return {entry.name.removeprefix("detector_node: "): entry.level[0] for entry in array.status}


ALL_OK = {
    "input": 0, "processing_time": 0, "pillar_capacity": 0, "backend": 0, "entropy_health": 0,
}  # fmt: skip


def test_all_is_well() -> None:
    assert levels(active()) == ALL_OK
    assert levels(DetectorStatus()) == ALL_OK  # not active: nothing is amiss


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_malformed": 1, "last_error": "bad"}, {"input": 2}),
        ({"num_replaced": 1}, {"input": 1}),
        ({"num_received": 3}, {"input": 1}),  # two a second
        ({"saturated_share": 0.9}, {"input": 1}),
        ({"counts": PointCounts(0, 0, 9, 0, 9, 0, 0)}, {"input": 1}),
        ({"counts": PointCounts(0, 0, 0, 0, 0, 0, 0)}, {"input": 1}),
        ({"counts": PointCounts(900, 10, 60, 30, 1000, 400, 7)}, {"pillar_capacity": 1}),
        ({"max_total_ms": 130.0}, {"processing_time": 1}),
        ({"num_failed": 1, "last_error": "bad"}, {"backend": 2}),
        ({"last_scan_time": 8.5}, {"input": 3, "entropy_health": 3}),
    ],
)
def test_each_fault_has_its_task(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert levels(active(**changes)) == ALL_OK | expected


def test_a_fault_is_told_once_and_counts_may_begin_anew() -> None:
    once = active(num_malformed=1, num_received=10)
    assert levels(dataclasses.replace(once, num_received=20), before=once)["input"] == 0
    assert levels(active(num_received=5), before=active(num_received=99))["input"] == 0


def test_processing_time_keys_are_those_autoware_tools_look_for() -> None:
    array = Diagnostics("n", now=0.0).make(active(), SETTINGS, 10.0, Time())
    (entry,) = (status for status in array.status if status.name == "n: processing_time")
    values = {pair.key: pair.value for pair in entry.values}
    assert values["processing_time_ms"] == "20.000"
    assert values["is_processing_time_ms_in_expected_range"] == "true"
