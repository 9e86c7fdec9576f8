# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node on real DDS: answers, drops, health, lifecycle and parameters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("rclpy")

from cloud_factory import Cloud, random_points, xyzi_cloud
from health_reference_factory import make_reference
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_harness import HANG_S, OUTPUTS, Harness, cloud_msg, wait_for
from rcl_interfaces.srv import DescribeParameters
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from eloss_perception.errors import BackendError, BundleError, ConfigError
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.node_settings import DetectorNodeSettings, load_detector
from eloss_perception.ros.parameters import parameters
from eloss_perception.runtime.bundle import Bundle, write_reference

ROOT = Path(__file__).resolve().parents[1]
SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness(stale_timeout=30.0)
    yield made
    made.close()


def scan(seed: int = 0) -> Cloud:
    return xyzi_cloud(random_points(500, seed))


def broken_scan() -> Cloud:
    cloud = scan()
    cloud.fields = cloud.fields[1:]
    return cloud


def test_a_scan_is_answered_on_every_topic_under_its_own_header(harness: Harness) -> None:
    harness.start()
    harness.publish(scan(), stamp_ns=7_000_000_009)
    received = harness.received
    assert wait_for(lambda: all(received[topic] for topic in OUTPUTS))

    header = cloud_msg(scan(), 7_000_000_009).header
    (detections,) = received["output/detections"]
    (health,) = received["output/entropy_health"]
    (times,) = received["debug/processing_time"]
    assert detections.header == health.header == times.header == header
    assert [d.header for d in detections.detections] == [header]
    assert detections.detections[0].results[0].hypothesis.class_id == "car"
    assert health.level == EntropyHealth.OK
    assert all(m.header == header for m in received["output/markers"][0].markers)
    assert times.total_ms > 0.0
    assert times.health_ms >= 0.25  # what the detector says, and the monitor's time
    assert np.isnan(times.pipeline_latency_ms)  # a stamp of 1970 tells no latency


def test_latency_is_told_for_a_stamp_of_now(harness: Harness) -> None:
    harness.detector.delay_s = 0.05
    harness.start()
    harness.publish(scan(), stamp_ns=time.time_ns())
    assert wait_for(lambda: harness.received["debug/processing_time"])
    (times,) = harness.received["debug/processing_time"]
    assert 50.0 <= times.pipeline_latency_ms < 1e3 * HANG_S


def test_nothing_found_is_answered_too(harness: Harness) -> None:
    harness.start()
    harness.publish(xyzi_cloud(np.empty((0, 4), np.float32)))
    assert wait_for(lambda: harness.received["output/detections"])
    assert harness.received["output/detections"][0].detections == []


def test_the_same_scan_twice_gives_the_same_boxes_bit_for_bit(harness: Harness) -> None:
    harness.start()
    topics = ("output/detections", "output/markers")
    for count in (1, 2):
        harness.publish(scan(3), stamp_ns=5)
        assert wait_for(lambda c=count: all(len(harness.received[t]) == c for t in topics))
    for topic in topics:
        first, second = harness.received[topic]
        # repr gives every bit of a float; serialised messages have padding that nobody sets.
        assert repr(first) == repr(second)
    # Health looks back: what was read is the same, but a sensor does not repeat itself.
    assert wait_for(lambda: len(harness.received["output/entropy_health"]) == 2)
    first, second = harness.received["output/entropy_health"]
    assert repr(first.layer_entropy) == repr(second.layer_entropy)
    assert (first.level, first.likely_cause) == (EntropyHealth.OK, "")
    assert second.likely_cause == "stale_scan"


def test_a_late_detector_works_on_the_newest_scan_and_counts_the_others(harness: Harness) -> None:
    harness.detector.gate.clear()
    harness.start()
    harness.node.receive(cloud_msg(scan(0), stamp_ns=0))
    assert harness.detector.started.wait(HANG_S)
    for stamp in range(1, 6):
        harness.node.receive(cloud_msg(scan(stamp), stamp_ns=stamp))
    harness.detector.gate.set()
    topics = ("debug/processing_time", "output/detections")
    assert wait_for(lambda: all(len(harness.received[topic]) == 2 for topic in topics))

    status = harness.node.status
    assert wait_for(lambda: status.num_answered == 2)
    assert (status.num_received, status.num_answered, status.num_replaced) == (6, 2, 4)
    answered = [msg.header.stamp.nanosec for msg in harness.received["output/detections"]]
    assert answered == [0, 5]
    assert harness.received["debug/processing_time"][-1].num_frames_dropped == 4


@pytest.mark.parametrize("kind", ["malformed", "backend"])
def test_a_frame_that_fails_is_reported_and_the_next_is_answered(
    harness: Harness, kind: str
) -> None:
    harness.start()
    if kind == "backend":
        harness.detector.error = BackendError("the device is gone")
    harness.publish(scan() if kind == "backend" else broken_scan(), stamp_ns=3)
    assert wait_for(lambda: harness.received["output/entropy_health"])
    (health,) = harness.received["output/entropy_health"]
    assert health.level == EntropyHealth.ERROR
    assert health.header.stamp.nanosec == 3
    expected = "the device is gone" if kind == "backend" else "field 'x' is missing"
    assert expected in health.reason
    assert harness.received["output/detections"] == []

    harness.detector.error = None
    harness.publish(scan(), stamp_ns=4)
    assert wait_for(lambda: harness.received["output/detections"])
    status = harness.node.status
    assert (status.num_malformed, status.num_failed) == ((0, 1) if kind == "backend" else (1, 0))
    task = "backend" if kind == "backend" else "input"
    assert wait_for(
        lambda: any(
            entry.name == f"detector_node: {task}" and entry.level == b"\x02"
            for array in harness.received["diagnostics"]
            for entry in array.status
        )
    )


def test_a_bug_ends_the_worker_and_is_handed_on(harness: Harness) -> None:
    harness.start()
    harness.detector.error = ZeroDivisionError("a bug")
    harness.node.receive(cloud_msg(scan()))
    assert harness.failed.wait(HANG_S)
    assert isinstance(harness.node.worker_failure, ZeroDivisionError)


def test_silence_is_stale_and_the_next_scan_ends_it() -> None:
    harness = Harness(stale_timeout=0.2)
    try:
        harness.start()
        received = harness.received["output/entropy_health"]
        assert wait_for(lambda: received and received[-1].level == EntropyHealth.STALE)
        assert received[-1].reason.startswith("no scan for ")
        assert wait_for(
            lambda: any(
                {e.name: e.level for e in array.status}["detector_node: entropy_health"] == b"\x03"
                for array in harness.received["diagnostics"]
            )
        )
        harness.publish(scan())
        assert wait_for(lambda: any(m.level == EntropyHealth.OK for m in received))
        count = len(received)
        assert wait_for(lambda: len(received) > count)
        assert received[-1].level == EntropyHealth.STALE
        assert received[-1].header.frame_id == "velodyne"
    finally:
        harness.close()


def test_a_detector_that_hangs_while_scans_come_is_stale() -> None:
    harness = Harness(stale_timeout=0.3)
    try:
        harness.start()
        harness.detector.gate.clear()
        received = harness.received["output/entropy_health"]
        harness.publish(scan())
        assert harness.detector.started.wait(HANG_S)

        def is_stale_while_scans_come() -> bool:
            harness.publish(scan())
            reasons = [m.reason for m in received if m.level == EntropyHealth.STALE]
            return any("no answer to a scan" in reason for reason in reasons)

        assert wait_for(is_stale_while_scans_come)
        harness.detector.gate.set()
        assert wait_for(lambda: any(m.level == EntropyHealth.OK for m in received))
    finally:
        harness.close()


def test_diagnostics_speak_before_the_node_is_configured(harness: Harness) -> None:
    assert wait_for(lambda: harness.received["diagnostics"])
    names = [entry.name for entry in harness.received["diagnostics"][0].status]
    assert names == [
        f"detector_node: {task}"
        for task in ("input", "processing_time", "pillar_capacity", "backend", "entropy_health")
    ]


# ---------------------------------------------------------------------------------- lifecycle


def test_every_transition_can_be_made_again(harness: Harness) -> None:
    node = harness.node
    for round_number in (1, 2):
        assert node.trigger_configure() == SUCCESS
        assert node.status.lifecycle == "inactive"
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert harness.is_matched()
            before = len(harness.received["output/detections"])
            harness.publish(scan(), stamp_ns=round_number)
            assert wait_for(lambda b=before: len(harness.received["output/detections"]) > b)
            # Counts begin anew, and go up once the answer is out.
            assert wait_for(lambda: node.status.num_answered == 1)
            assert node.trigger_deactivate() == SUCCESS
            assert harness.publisher.get_subscription_count() == 0 or wait_for(
                lambda: harness.publisher.get_subscription_count() == 0
            )
        assert node.trigger_cleanup() == SUCCESS
        assert node.status.lifecycle == "unconfigured"
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS


def test_deactivating_drops_and_counts_the_scan_that_waits(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eloss_perception.ros.node._PATIENCE_S", HANG_S)
    harness.detector.gate.clear()
    harness.start()
    harness.node.receive(cloud_msg(scan()))
    assert harness.detector.started.wait(HANG_S)
    harness.node.receive(cloud_msg(scan()))
    threading.Timer(0.5, harness.detector.gate.set).start()  # when it is being deactivated
    assert harness.node.trigger_deactivate() == SUCCESS
    status = harness.node.status
    assert (status.num_received, status.num_answered, status.num_replaced) == (2, 1, 1)


def test_a_failed_configure_can_be_repeated(harness: Harness) -> None:
    made = harness.node._detector_factory

    def fail(settings: DetectorNodeSettings) -> None:
        raise BundleError("no bundle at /nowhere")

    harness.node._detector_factory = fail
    assert harness.node.trigger_configure() == FAILURE
    with pytest.raises(BundleError, match="/nowhere"):
        harness.node.start()
    harness.node._detector_factory = made
    harness.node.start()


def test_a_transition_that_does_not_exist_is_refused_and_the_node_lives(harness: Harness) -> None:
    client = harness.listener.create_client(ChangeState, "/detector_node/change_state")
    assert client.wait_for_service(HANG_S)

    def change(transition: int) -> bool:
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        assert wait_for(future.done)
        return bool(future.result().success)

    assert not change(Transition.TRANSITION_ACTIVATE)  # not configured yet
    assert change(Transition.TRANSITION_CONFIGURE)
    assert not change(Transition.TRANSITION_CONFIGURE)
    assert change(Transition.TRANSITION_ACTIVATE)
    assert harness.is_matched()
    harness.publish(scan())
    assert wait_for(lambda: harness.received["output/detections"])


# --------------------------------------------------------------------------------- parameters


def set_parameter(harness: Harness, name: str, value: object) -> tuple[bool, str]:
    (result,) = harness.node.set_parameters([Parameter(name, value=value)])
    return result.successful, result.reason


def test_thresholds_change_at_run_time(harness: Harness) -> None:
    harness.start()
    assert set_parameter(harness, "score_thresholds.car", 0.95) == (True, "")
    harness.publish(scan())
    assert wait_for(lambda: harness.received["output/detections"])
    assert harness.received["output/detections"][0].detections == []
    assert harness.node.settings.score_thresholds.car == 0.95
    # Kept over cleanup and configure.
    harness.node.trigger_deactivate()
    harness.node.trigger_cleanup()
    harness.node.trigger_configure()
    assert harness.detector.thresholds.class_score["Car"] == 0.95


def test_markers_and_gauge_can_be_switched_off(harness: Harness) -> None:
    harness.start()
    assert set_parameter(harness, "publish_markers", False)[0]
    assert set_parameter(harness, "publish_gauge", False)[0]
    harness.publish(scan())
    assert wait_for(lambda: harness.received["debug/processing_time"])
    time.sleep(0.1)
    assert not harness.received["output/markers"]
    assert not harness.received["output/entropy_gauge"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("bundle", "/elsewhere", "read-only"),
        ("num_threads", 4, "read-only"),
        ("nms_iou", 1.5, "nms_iou"),
        ("max_boxes", 0, "max_boxes"),
        ("gauge_offset", [1.0], "gauge_offset"),
        ("stale_timeout", float("nan"), "stale_timeout"),
        ("publish_markers", "yes", "type"),
    ],
)
def test_other_changes_are_refused_with_a_reason(
    harness: Harness, name: str, value: object, reason: str
) -> None:
    before = harness.node.settings
    succeeded, said = set_parameter(harness, name, value)
    assert not succeeded
    assert reason in said
    assert harness.node.settings == before


def test_parameters_describe_themselves(harness: Harness) -> None:
    client = harness.listener.create_client(
        DescribeParameters, "/detector_node/describe_parameters"
    )
    assert client.wait_for_service(HANG_S)
    names = [parameter.name for parameter in parameters()]
    future = client.call_async(DescribeParameters.Request(names=names))
    assert wait_for(future.done)
    for parameter, descriptor in zip(parameters(), future.result().descriptors, strict=True):
        assert descriptor.description == parameter.description
        assert descriptor.read_only != parameter.is_run_time
        if parameter.maximum is not None:
            (limits,) = [*descriptor.floating_point_range, *descriptor.integer_range]
            assert limits.to_value == parameter.maximum
    assert harness.node.get_parameter("use_sim_time").value is False


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"nms_io": 0.1}, "unknown parameter nms_io"),
        ({"nms_iou": 7.0}, "nms_iou is 7.0"),
        ({"sensor": "hdl"}, "sensor is 'hdl'"),
        ({"qos_overrides./detector_node/output/markers.publisher.depth": "a"}, "qos_overrides"),
    ],
)
def test_a_wrong_override_is_an_error_at_the_start(
    overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Harness(**overrides)


def test_overrides_are_taken_over_with_their_right_type() -> None:
    topic = "/detector_node/input/pointcloud"
    harness = Harness(**{
        "nms_iou": 1, "gauge_offset": [1.0, 2.0, 3.0], "health.recent_frames": 7,
        "use_sim_time": True, f"qos_overrides.{topic}.subscription.reliability": "reliable",
    })  # fmt: skip
    try:
        harness.start()
        assert harness.node.get_parameter("nms_iou").value == 1.0
        assert harness.node.settings.gauge_offset == (1.0, 2.0, 3.0)
        assert harness.node.settings.health.recent_frames == 7
        assert harness.node.get_clock().ros_time_is_active
        (info,) = harness.node.get_subscriptions_info_by_topic(topic)
        assert info.qos_profile.reliability.name == "RELIABLE"
        with pytest.raises(ParameterNotDeclaredException):
            harness.node.get_parameter("nms_io")
    finally:
        harness.close()


def test_quality_of_service_is_that_of_rep_2003(harness: Harness) -> None:
    harness.start()
    (scan_info,) = harness.node.get_subscriptions_info_by_topic("/detector_node/input/pointcloud")
    assert scan_info.qos_profile.reliability.name == "BEST_EFFORT"
    (info,) = harness.node.get_publishers_info_by_topic("/detector_node/output/detections")
    assert info.qos_profile.reliability.name == "RELIABLE"


def test_the_detector_is_loaded_with_all_of_its_settings(tmp_path: object) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        load_detector(DetectorNodeSettings(bundle=f"{tmp_path}/nothing"))
    tiny = pytest.importorskip("tiny_bundle", reason="needs onnx")
    folder = tiny.write_tiny_bundle(tmp_path / "tiny")  # type: ignore[operator]
    detector = load_detector(DetectorNodeSettings(bundle=str(folder), max_boxes=3))
    assert detector.thresholds.max_boxes == 3
    found = detector.detect(random_points(500)).boxes
    assert found.labels.tolist() == [0]


def test_a_network_that_does_not_fit_its_health_reference_is_refused(tmp_path: Path) -> None:
    tiny = pytest.importorskip("tiny_bundle", reason="needs onnx")
    folder = tiny.write_tiny_bundle(tmp_path / "tiny")
    facts = Bundle.load(folder).facts
    fewer, renamed = ("intensity",), ("intensity", "height")
    for layers in (fewer, renamed):
        reference = make_reference(layers, facts.layer_stages[: len(layers)])
        write_reference(folder, reference, false_alarms_per_hour=1.0, rate_hz=10.0)
        with pytest.raises(BundleError, match=r"calibrate|health"):
            load_detector(DetectorNodeSettings(bundle=str(folder)))


def test_the_security_policy_is_what_the_node_has(harness: Harness) -> None:
    harness.start()
    node, policy = harness.node, ROOT / "config" / "detector.policy.xml"
    profile = ElementTree.parse(policy).find("enclaves/enclave/profiles/profile")
    assert profile is not None

    def allowed(kind: str, verb: str) -> set[str | None]:
        return {e.text for e in profile.findall(f"{kind}s[@{verb}='ALLOW']/{kind}")}

    def names(found: list[tuple[str, list[str]]]) -> set[str]:
        return {name for name, _ in found}

    me = (node.get_name(), node.get_namespace())
    publishes = allowed("topic", "publish")  # the graph takes a while to know of all
    assert wait_for(lambda: names(node.get_publisher_names_and_types_by_node(*me)) == publishes)
    assert allowed("topic", "subscribe") == {"/velodyne_points", "/clock"}
    services = names(node.get_service_names_and_types_by_node(*me))
    assert services <= allowed("service", "reply")
