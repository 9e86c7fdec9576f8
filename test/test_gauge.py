# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The entropy gauge: what its bars and words say, where they lie, and RViz's rules."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from fake_detector import REFERENCE
from health_reference_factory import ENTROPY_STD, disturbed_readings
from marker_rules import check_marker_rules
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from benchmarks.speed import naive_messages
from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.monitor import HealthLevel, HealthMonitor
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.gauge import gauge_to_cdr
from eloss_perception.ros.messages import health_to_msg, health_unavailable_to_msg

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="velodyne")
COUNTS = PointCounts(900, 10, 60, 30, 1000, 400, 0, 20, 100)
ORIGIN = (0.0, 0.0, 0.0)
NUM_LAYERS = len(REFERENCE.layer_names)


def health_of(readings: np.ndarray) -> EntropyHealth:
    return health_to_msg(HealthMonitor(REFERENCE).update(readings), COUNTS, HEADER)


def read_health(*sigmas: float) -> EntropyHealth:
    """Health of a frame whose layers are so many standard deviations from normal."""
    readings = REFERENCE.mean.copy()
    readings[: len(sigmas)] += ENTROPY_STD * np.array(sigmas)
    return health_of(readings)


def gauge_markers(health: EntropyHealth, offset: tuple[float, float, float]) -> MarkerArray:
    """The gauge as a subscriber gets it, which is what rosidl's own objects would say."""
    received = gauge_to_cdr(health, offset)
    plain = serialize_message(naive_messages.gauge_message(health, offset))
    assert len(received) == len(plain)
    array = deserialize_message(received, MarkerArray)
    assert array == deserialize_message(plain, MarkerArray)
    return array


def shown(health: EntropyHealth, namespace: str) -> dict[int, Marker]:
    array = gauge_markers(health, ORIGIN)
    return {marker.id: marker for marker in array.markers if marker.ns == namespace}


@pytest.mark.parametrize("level", list(HealthLevel))
def test_the_gauge_keeps_rvizs_rules_at_every_level(level: HealthLevel) -> None:
    health = read_health()
    health.level = bytes([level])
    array = gauge_markers(health, (1.0, 2.0, 0.0))
    check_marker_rules(array, HEADER)
    (text,) = (marker for marker in array.markers if marker.ns == "gauge_text")
    assert level.name in text.text


def test_the_gauge_names_its_bars_and_keeps_everything_on_its_board() -> None:
    array = gauge_markers(health_of(disturbed_readings(REFERENCE, "fog")), (-10.0, 3.0, 1.0))
    labels = [marker for marker in array.markers if marker.ns == "gauge_label"]
    stages = [name.partition(".")[0] for name in REFERENCE.layer_names]
    assert [marker.text for marker in labels] == [*dict.fromkeys(stages), "score"]
    names = [marker for marker in array.markers if marker.ns == "gauge_check_label"]
    assert [marker.text for marker in names] == list(REFERENCE.checks)
    (words,) = (marker for marker in array.markers if marker.ns == "gauge_text")
    board, *plates = (marker for marker in array.markers if marker.ns == "gauge_band")
    bars = [marker for marker in array.markers if marker.ns in ("gauge", "gauge_check")]
    for part in [*labels, *names, words, *plates, *bars]:
        for axis in "xyz":
            center, extent = getattr(board.pose.position, axis), getattr(board.scale, axis)
            distance = getattr(part.pose.position, axis) - center
            if axis == "z":
                assert distance > 0.0
            else:
                assert abs(distance) + 0.5 * getattr(part.scale, axis) <= 0.5 * extent


def test_charts_table_and_words_do_not_overlap() -> None:
    health = health_of(disturbed_readings(REFERENCE, "fog"))
    names, words = shown(health, "gauge_check_label"), shown(health, "gauge_text")[0]
    chart_ends = min(right_end(bar) for bar in shown(health, "gauge").values())
    # RViz's characters are half as wide as they are high, on average.
    names_begin = max(
        name.pose.position.y + 0.25 * name.scale.z * len(name.text) for name in names.values()
    )
    table_ends = min(right_end(bar) for bar in shown(health, "gauge_check").values())
    longest = max(map(len, words.text.splitlines()))
    words_begin = words.pose.position.y + 0.25 * words.scale.z * longest
    assert chart_ends > names_begin > table_ends > words_begin
    rows = sorted(bar.pose.position.x for bar in shown(health, "gauge_check").values())
    assert min(np.diff(rows)) >= max(name.scale.z for name in names.values())


def right_end(bar: Marker) -> float:
    return float(bar.pose.position.y - 0.5 * bar.scale.y)


def test_layer_bars_grow_with_the_deviation_and_go_to_the_left_first() -> None:
    bars = shown(read_health(2.0, 0.0, -4.0), "gauge")
    assert sorted(bars) == [0, 1, 2, NUM_LAYERS]  # the layers and the score
    assert bars[0].pose.position.x == pytest.approx(0.5, abs=1e-5)  # 0.5 m a deviation
    assert bars[0].scale.x == pytest.approx(1.0, abs=1e-5)
    assert bars[2].pose.position.x == pytest.approx(-1.0, abs=1e-5)
    assert bars[0].pose.position.y > bars[1].pose.position.y > bars[2].pose.position.y
    assert is_green(bars[0])  # inside the band
    assert not is_green(bars[2])


def is_green(marker: Marker) -> bool:
    return bool(marker.color.g > marker.color.r)


def test_the_score_bar_reaches_its_plates_end_at_the_threshold() -> None:
    health = read_health()
    health.smoothed_score = health.threshold
    plate, bar = shown(health, "gauge_band")[1], shown(health, "gauge")[NUM_LAYERS]
    assert bar.scale.x == pytest.approx(plate.scale.x)
    health.smoothed_score = 2.0 * health.threshold
    assert shown(health, "gauge")[NUM_LAYERS].scale.x == pytest.approx(2.0 * plate.scale.x)


def test_check_bars_leave_their_plate_where_a_check_departs() -> None:
    health = health_of(disturbed_readings(REFERENCE, "beam_missing"))
    plate, bars = shown(health, "gauge_band")[3], shown(health, "gauge_check")
    departing = {REFERENCE.checks[index] for index, bar in bars.items() if not is_green(bar)}
    assert departing == {"counts", "elevation"}
    for name, bar in zip(REFERENCE.checks, bars.values(), strict=True):
        assert (bar.scale.y > plate.scale.y) == (name in departing)
        assert bar.scale.y <= 2.5 * plate.scale.y + 1e-5


def test_the_words_are_level_score_and_likely_cause() -> None:
    lines = shown(health_of(disturbed_readings(REFERENCE, "fog")), "gauge_text")[0].text.split("\n")
    assert lines[0] == "entropy health: WARN"
    assert lines[1] == "score 14.4, limit 5.0"
    assert lines[2].startswith("like fog (4")  # 40 points, and a little for being unusual
    assert max(map(len, lines)) <= 28


def test_there_is_no_bar_for_what_was_not_read_and_what_is_extreme_is_clipped() -> None:
    unread = health_unavailable_to_msg(HealthLevel.STALE, "no scan for 2.0 s", REFERENCE, HEADER)
    assert not shown(unread, "gauge")
    assert not shown(unread, "gauge_check")
    check_marker_rules(gauge_markers(unread, ORIGIN), HEADER)
    extreme = read_health(1e9, -1e9, 0.0)
    extreme.layer_entropy[2] = math.nan
    extreme.check_ratio[1] = math.inf
    extreme.reason = "Größe: " + "a cause " * 9
    bars = shown(extreme, "gauge")
    assert sorted(bars) == [0, 1, NUM_LAYERS]
    assert all(marker.scale.x <= 3.0 + 1e-6 for marker in bars.values())
    assert 1 not in shown(extreme, "gauge_check")


def test_a_message_without_layers_or_checks_is_drawn_too() -> None:
    header = Header(frame_id="sensor")
    health = EntropyHealth(header=header, threshold=5.0, reason="nothing to say")
    check_marker_rules(gauge_markers(health, ORIGIN), header)
