# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages, markers and diagnostics: what they say, and the rules that RViz and REP-107 set."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("rclpy")

from array_allocations import num_lines
from builtin_interfaces.msg import Time
from fake_detector import REFERENCE
from health_reference_factory import clean_readings, disturbed_readings
from marker_rules import check_marker_rules
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from benchmarks.speed import naive_messages
from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.monitor import HealthLevel, HealthMonitor
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.gauge import gauge_to_cdr
from eloss_perception.ros.markers import box_markers_to_cdr, lifetime_for
from eloss_perception.ros.messages import (
    bounded_header,
    detections_to_cdr,
    health_to_msg,
    health_unavailable_to_msg,
    pipeline_latency_ms,
)
from eloss_perception.ros.node_settings import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus, Durations, LostScans

NAMES = ("Car", "Pedestrian", "Cyclist")
ODD_NAMES = ("Car", "Pedestrian", "Cyclist", "Straßenbahn")
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="velodyne")
COUNTS = PointCounts(900, 10, 60, 30, 1000, 400, 0, 0, 0)


def some_boxes(num_boxes: int = 3) -> Boxes3D:
    rng = np.random.default_rng(2)
    boxes = rng.uniform(0.5, 5.0, (num_boxes, 7)).astype(np.float32)
    boxes[:, :3] *= 8.0
    boxes[:, 6] = rng.uniform(-3.0, 3.0, num_boxes)
    scores = np.sort(rng.uniform(0, 1, num_boxes))[::-1].astype(np.float32)
    return Boxes3D(boxes, scores, np.arange(num_boxes) % 3)


def received_detections(boxes: Boxes3D) -> Detection3DArray:
    return deserialize_message(detections_to_cdr(boxes, NAMES, HEADER), Detection3DArray)


def received_markers(boxes: Boxes3D) -> MarkerArray:
    return deserialize_message(box_markers_to_cdr(boxes, NAMES, HEADER), MarkerArray)


def test_detections_hold_the_boxes_under_the_clouds_header() -> None:
    boxes = some_boxes()
    msg = received_detections(boxes)
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
    assert received_detections(Boxes3D.empty()).detections == []
    (only,) = received_markers(Boxes3D.empty()).markers
    assert only.action == Marker.DELETEALL


def test_box_markers_keep_rvizs_rules_and_lie_on_the_boxes() -> None:
    boxes = some_boxes()
    array = received_markers(boxes)
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


def test_health_message_carries_report_and_counts() -> None:
    readings = disturbed_readings(REFERENCE, "fog", spread=0.0)
    report = HealthMonitor(REFERENCE).update(readings)
    msg = health_to_msg(report, COUNTS, HEADER)
    assert msg.header == HEADER
    assert msg.level == EntropyHealth.WARN  # the first frame of the worst
    assert 40.0 <= msg.score < 42.0  # what this fog costs, and a little for being unusual
    assert msg.smoothed_score == pytest.approx(report.smoothed_score)
    assert msg.threshold < msg.smoothed_score < msg.score
    assert msg.likely_cause == "fog"
    assert msg.layer_names == list(REFERENCE.layer_names)
    np.testing.assert_allclose(msg.layer_entropy, readings[:3], rtol=1e-6)
    np.testing.assert_allclose(msg.entropy_change, np.diff(readings[:3]), rtol=1e-5)
    np.testing.assert_allclose(msg.normal_std, [0.02] * 3, rtol=1e-5)
    checks = dict(zip(msg.check_names, msg.check_ratio, strict=True))
    assert list(checks) == list(REFERENCE.checks)
    assert checks["entropy"] == pytest.approx(4.0)  # squashed deviations of a limit of 1
    assert checks["range"] > 1.0 > checks["counts"]
    assert (msg.num_points, msg.num_pillars) == (910, 400)  # dropped ones count as seen
    assert (msg.num_non_finite, msg.num_out_of_range) == (30, 60)
    serialize_message(msg)


def test_a_normal_frame_has_no_likely_cause() -> None:
    report = HealthMonitor(REFERENCE).update(clean_readings(REFERENCE))
    msg = health_to_msg(report, COUNTS, HEADER)
    assert (msg.level, msg.likely_cause) == (EntropyHealth.OK, "")
    assert max(msg.check_ratio) < 1.0


def test_readings_that_are_not_finite_make_a_message_all_the_same() -> None:
    readings = np.full_like(REFERENCE.mean, np.nan)
    msg = health_to_msg(HealthMonitor(REFERENCE).update(readings), COUNTS, HEADER)
    assert msg.level == EntropyHealth.WARN
    assert all(map(math.isnan, msg.layer_entropy))
    assert not any(ratio < 1.0 for ratio in msg.check_ratio)  # none of them poses as normal
    assert msg.likely_cause == "unreadable"
    serialize_message(msg)


def test_unread_health_has_no_numbers_that_look_like_readings() -> None:
    msg = health_unavailable_to_msg(HealthLevel.ERROR, "scan dropped", REFERENCE, HEADER)
    assert msg.level == EntropyHealth.ERROR
    unread = [msg.score, msg.smoothed_score, msg.eloss, msg.eloss_ratio]
    assert all(map(math.isnan, [*unread, *msg.layer_entropy, *msg.check_ratio]))
    assert len(msg.entropy_change) == 2
    assert len(msg.check_ratio) == len(msg.check_names) == len(REFERENCE.checks)
    assert msg.likely_cause == ""
    serialize_message(msg)


@pytest.mark.parametrize(
    ("now_s", "expected_ms"), [(12.5, 499.999966), (12.0, math.nan), (100.0, math.nan)]
)
def test_latency_is_told_only_in_the_nodes_time_base(now_s: float, expected_ms: float) -> None:
    latency = pipeline_latency_ms(int(now_s * 1e9), HEADER)
    assert latency == pytest.approx(expected_ms, nan_ok=True)


@pytest.mark.parametrize("num_boxes", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("frame_id", ["", "abc", "abcd", "velodyne", "größer"])
def test_bytes_say_what_plainly_made_messages_say(num_boxes: int, frame_id: str) -> None:
    rng = np.random.default_rng(num_boxes)
    boxes = dataclasses.replace(
        some_boxes(num_boxes), labels=rng.integers(0, len(ODD_NAMES), num_boxes)
    )
    header = Header(stamp=Time(sec=-3, nanosec=2**32 - 1), frame_id=frame_id)
    for received, plain in (
        (detections_to_cdr, naive_messages.detections_message),
        (box_markers_to_cdr, naive_messages.markers_message),
    ):
        ours = received(boxes, ODD_NAMES, header)
        message = plain(boxes, ODD_NAMES, header)
        expected = serialize_message(message)
        # Not the bytes themselves: rclpy leaves those between numbers undefined.
        assert len(ours) == len(expected)
        assert deserialize_message(ours, type(message)) == deserialize_message(
            expected, type(message)
        )


def test_messages_of_one_stream_do_not_share_anything() -> None:
    first = detections_to_cdr(some_boxes(3), NAMES, HEADER)
    kept = bytes(bytearray(first))
    detections_to_cdr(some_boxes(9), NAMES, Header(stamp=Time(sec=99), frame_id="velodyne"))
    assert first == kept


@pytest.mark.parametrize("frame_id", ["f" * 100_000, "\ud800", "é" * 200])
def test_a_frame_id_is_repeated_only_where_it_is_short(frame_id: str) -> None:
    header = Header(frame_id=frame_id)
    boxes = some_boxes(200)
    bounded = bounded_header(header).frame_id
    health = health_unavailable_to_msg(HealthLevel.ERROR, "a\n" * 10_000, REFERENCE, header)
    gauge = deserialize_message(gauge_to_cdr(health, (0.0, 0.0, 0.0)), MarkerArray)
    detections = deserialize_message(detections_to_cdr(boxes, NAMES, header), Detection3DArray)
    markers = deserialize_message(box_markers_to_cdr(boxes, NAMES, header), MarkerArray)
    headers = [health.header, *(m.header for m in (*gauge.markers, *markers.markers))]
    headers += [detections.header, *(d.header for d in detections.detections)]
    assert {h.frame_id for h in headers} == {bounded}
    assert len(bounded) < 100
    assert health.reason.isprintable()
    assert len(health.reason) < 1100


def test_a_short_frame_id_stays_as_it_is() -> None:
    header = Header(frame_id="f" * 256)
    assert bounded_header(header) is header


@pytest.mark.parametrize(
    ("period_s", "expected_s"), [(0.0, 0.2), (0.05, 0.2), (0.2, 0.5), (0.5, 1.25), (30.0, 2.5)]
)
def test_boxes_live_as_long_as_the_next_ones_take(period_s: float, expected_s: float) -> None:
    cdr = box_markers_to_cdr(some_boxes(), NAMES, HEADER, lifetime_for(period_s))
    deleting, *markers = deserialize_message(cdr, MarkerArray).markers
    assert deleting.lifetime.sec == deleting.lifetime.nanosec == 0
    for marker in markers:
        assert marker.lifetime.sec + 1e-9 * marker.lifetime.nanosec == pytest.approx(expected_s)


def test_two_hundred_boxes_are_cheap() -> None:
    def write(boxes: Boxes3D) -> None:
        detections_to_cdr(boxes, NAMES, HEADER)
        box_markers_to_cdr(boxes, NAMES, HEADER)

    few, many = some_boxes(20), some_boxes(200)
    write(few)
    write(many)  # the most so far: what is the same in every message is kept
    # No loop over the boxes: half a millisecond for 200 of them, as objects some twenty.
    assert num_lines(lambda: write(many)) == num_lines(lambda: write(few)) < 1_000


SETTINGS = DetectorNodeSettings()


def active(**changes: object) -> DetectorStatus:
    status = DetectorStatus(
        lifecycle="active", backend="cpu", num_received=10, num_answered=10, last_scan_time=9.9,
        counts=COUNTS, max_pillars=500, durations=Durations(total_ms=20.0, health_ms=0.75),
        max_total_ms=25.0,
        report=HealthMonitor(REFERENCE).update(clean_readings(REFERENCE)),
    )  # fmt: skip
    return dataclasses.replace(status, **changes)  # type: ignore[arg-type]


def levels(status: DetectorStatus, before: DetectorStatus | None = None) -> dict[str, int]:
    diagnostics = Diagnostics("detector_node")
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
        ({"intensity_fault": "intensity is saturated"}, {"input": 1}),
        ({"counts": PointCounts(0, 0, 0, 9, 9, 0, 0, 0, 0)}, {"input": 1}),
        ({"counts": PointCounts(0, 0, 9, 0, 9, 0, 0, 0, 0)}, {"input": 1}),
        ({"counts": PointCounts(0, 0, 0, 0, 0, 0, 0, 0, 0)}, {"input": 1}),
        ({"counts": PointCounts(900, 10, 60, 30, 1000, 400, 7, 0, 0)}, {"pillar_capacity": 1}),
        ({"max_total_ms": 130.0}, {"processing_time": 1}),
        ({"num_failed": 1, "last_error": "bad"}, {"backend": 2}),
        ({"last_scan_time": 8.5}, {"input": 3, "entropy_health": 3}),
        ({"lost": LostScans(10.0, 0.29)}, {"input": 1}),
        ({"lost": LostScans(10.0, 0.02)}, {}),
        ({"failure": "configure failed: no device"}, {"backend": 2}),
        ({"num_hanging": 1}, {"backend": 1}),
        ({"num_hanging": 1, "hanging_since": 9.0}, {"backend": 2}),
    ],
)
def test_each_fault_has_its_task(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert levels(active(**changes)) == ALL_OK | expected


def test_a_fault_is_told_once_and_counts_may_begin_anew() -> None:
    once = active(num_malformed=1, num_received=10)
    assert levels(dataclasses.replace(once, num_received=20), before=once)["input"] == 0
    assert levels(active(num_received=5), before=active(num_received=99))["input"] == 0


def values_of(task: str, status: DetectorStatus) -> dict[str, str]:
    array = Diagnostics("n").make(status, SETTINGS, 10.0, Time())
    (entry,) = (entry for entry in array.status if entry.name == f"n: {task}")
    return {pair.key: pair.value for pair in entry.values} | {"message": entry.message}


def test_processing_time_keys_are_those_autoware_tools_look_for() -> None:
    values = values_of("processing_time", active())
    assert values["processing_time_ms"] == "20.000"
    assert values["is_processing_time_ms_in_expected_range"] == "true"
    assert values["health_ms"] == "0.750"


def test_health_diagnostics_say_what_departs_and_what_it_is_like() -> None:
    monitor = HealthMonitor(REFERENCE)
    for seed in range(3):
        report = monitor.update(disturbed_readings(REFERENCE, "beam_missing", seed, spread=0.01))
    values = values_of("entropy_health", active(report=report))
    assert values["likely_cause"] == "beam_missing"
    first, second, _ = values["worst_checks"].split(", ")
    assert {first, second} == {"counts 3.0", "elevation 3.0"}
    assert float(values["smoothed_score"]) > float(values["threshold"])
    assert values["message"].startswith("like lost beams")
    unread = dataclasses.replace(report, check_ratios=np.array([1.0, np.nan, 2.0]))
    unread = dataclasses.replace(unread, check_names=("a", "b", "c"))
    worst = values_of("entropy_health", active(report=unread))["worst_checks"]
    assert worst == "b nan, c 2.0, a 1.0"


@pytest.mark.parametrize("min_rate_hz", [1.0, 5.0, 10.0])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.9])
def test_a_rate_does_not_flap(min_rate_hz: float, share: float) -> None:
    rng = np.random.default_rng(1)
    rate_hz = share * min_rate_hz
    arrivals = (np.arange(2000) + rng.uniform(-0.3, 0.3, 2000)) / rate_hz
    settings = DetectorNodeSettings(min_rate_hz=min_rate_hz, stale_timeout=60.0)
    diagnostics, said = Diagnostics("n"), []
    for second in range(100):
        now = second + rng.uniform(0.0, 0.1)
        count = int((arrivals < now).sum())
        status = active(num_received=count, last_scan_time=now)
        said.append(diagnostics.make(status, settings, now, Time()).status[0].level[0])
    changes = int((np.diff(said) != 0).sum())
    assert changes <= (0 if share == 1.0 else 1)  # nine in ten may be called either
    assert share == 0.9 or said[-1] == (share == 0.8)


def test_loss_before_the_node_is_said_in_numbers() -> None:
    diagnostics = Diagnostics("n")
    for now, count in ((0.0, 1), (10.0, 72)):
        status = active(num_received=count, last_scan_time=now, lost=LostScans(10.0, 0.29))
        entry = diagnostics.make(status, SETTINGS, now, Time()).status[0]
    expected = "7.1 scans a second of the sensor's 10.0: 29% were lost before the node"
    assert entry.message == expected


def test_diagnostics_hold_no_control_characters_and_are_bounded() -> None:
    status = active(num_malformed=1, last_error="\x1b[2J\n" * 100_000)
    array = Diagnostics("n").make(status, SETTINGS, 10.0, Time())
    texts = [entry.message for entry in array.status]
    texts += [pair.value for entry in array.status for pair in entry.values]
    assert all(text.isprintable() and len(text) < 1100 for text in texts)
