# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A backend that hangs, a network that loads for ever, memory that runs out: the node answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from cloud_factory import random_points, xyzi_cloud
from fake_detector import FakeDetector
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_harness import HANG_S, Harness, cloud_msg, wait_for
from rclpy.lifecycle import TransitionCallbackReturn

from eloss_perception.errors import BackendError, HangError
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros import managed
from eloss_perception.ros.node_settings import DetectorNodeSettings


class HangingDetector(FakeDetector):
    """Hangs in the next frames while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.num_inside = 0

    def detect(self, points: Any) -> Any:
        self.num_inside += 1
        assert self.gate.wait(HANG_S)
        self.num_inside -= 1
        return super().detect(points)


def started(**parameters: Any) -> Harness:
    harness = Harness(HangingDetector(), stale_timeout=0.2, **parameters)
    harness.start()
    return harness


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = started(hang_timeout=0.5, hang_exit_timeout=0.0)
    yield made
    made.detector.gate.set()
    made.close()


def send(harness: Harness, stamp_ns: int) -> None:
    harness.node.receive(cloud_msg(xyzi_cloud(random_points(100, stamp_ns)), stamp_ns))


def endpoints(harness: Harness, name: str) -> str:
    """Says who is at both ends of a service: DDS takes it for there if the numbers agree."""
    node, topic = harness.listener, f"/detector_node/{name}"
    return "\n".join(
        str(info)
        for infos in (
            node.get_subscriptions_info_by_topic(f"rq{topic}Request", no_mangle=True),
            node.get_publishers_info_by_topic(f"rr{topic}Reply", no_mangle=True),
        )
        for info in infos
    )


def call(harness: Harness, kind: type, name: str, request: Any) -> Any:
    client = harness.listener.create_client(kind, f"/detector_node/{name}")
    assert client.wait_for_service(HANG_S), endpoints(harness, name)
    future = client.call_async(request)
    assert wait_for(future.done), f"no answer to {name}"
    return future.result()


def change(harness: Harness, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(call(harness, ChangeState, "change_state", request).success)


def state(harness: Harness) -> int:
    return int(call(harness, GetState, "get_state", GetState.Request()).current_state.id)


def levels(harness: Harness) -> list[int]:
    return [m.level[0] for m in harness.received["output/entropy_health"]]


def test_every_transition_is_made_while_a_scan_hangs(harness: Harness) -> None:
    send(harness, 1)
    assert wait_for(lambda: harness.detector.num_inside == 1)
    assert change(harness, Transition.TRANSITION_DEACTIVATE)
    assert state(harness) == State.PRIMARY_STATE_INACTIVE
    status = harness.node.status
    assert (status.num_received, status.num_failed) == (1, 1)
    health = harness.received["output/entropy_health"]
    count = len(health)
    assert wait_for(lambda: len(health) > count + 1)  # the last health is not today's
    assert health[-1].level == EntropyHealth.STALE
    assert "the node is inactive, and a scan hangs" in health[-1].reason
    count = len(harness.received["diagnostics"])
    assert wait_for(lambda: len(harness.received["diagnostics"]) > count)
    assert change(harness, Transition.TRANSITION_CLEANUP)
    assert change(harness, Transition.TRANSITION_CONFIGURE)
    assert change(harness, Transition.TRANSITION_ACTIVATE)
    assert change(harness, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state(harness) == State.PRIMARY_STATE_FINALIZED
    assert harness.received["output/detections"] == []


def test_a_scan_that_hangs_is_dropped_and_the_next_one_answered(harness: Harness) -> None:
    send(harness, 1)
    health = harness.received["output/entropy_health"]
    dropped = "scan dropped: the backend hangs, no answer for"
    assert wait_for(lambda: any(dropped in m.reason for m in health))
    (said,) = [m for m in health if dropped in m.reason]
    assert (said.level, said.header.stamp.nanosec) == (EntropyHealth.ERROR, 1)
    harness.detector.gate.set()  # what is left behind comes back, and gives nothing out
    assert wait_for(lambda: harness.detector.num_inside == 0)
    send(harness, 2)
    assert wait_for(lambda: harness.received["output/detections"])
    assert wait_for(lambda: harness.node.status.num_answered == 1)
    stamps = [m.header.stamp.nanosec for m in harness.received["output/detections"]]
    status = harness.node.status
    assert stamps == [2]
    assert (status.num_received, status.num_failed, status.hanging_since) == (2, 1, None)
    assert wait_for(lambda: status.num_hanging == 0)


def test_no_more_than_three_threads_hang_and_all_scans_are_counted(harness: Harness) -> None:
    for stamp in range(1, 5):
        send(harness, stamp)
        if stamp < 4:
            assert wait_for(lambda n=stamp: harness.node.status.num_hanging == n)
    assert harness.detector.num_inside == 3
    entry = {e.name: e for e in harness.node._diagnostics.make(
        harness.node.status, harness.node.settings, 0.0, cloud_msg(xyzi_cloud(random_points(1)))
        .header.stamp).status}["detector_node: backend"]  # fmt: skip
    assert (entry.level, entry.message) == (b"\x02", "scans that hang in a backend: 3")
    send(harness, 5)  # in place of the one that waits
    harness.detector.gate.set()
    status = harness.node.status
    assert wait_for(lambda: status.num_answered == 1)
    assert (status.num_received, status.num_failed, status.num_replaced) == (5, 3, 1)


def test_the_process_is_ended_where_nothing_helps() -> None:
    harness = started(hang_timeout=0.5, hang_exit_timeout=1.0)
    try:
        send(harness, 1)
        assert wait_for(lambda: harness.node.status.num_hanging == 1)
        send(harness, 2)
        assert harness.failed.wait(HANG_S)
        assert isinstance(harness.node.worker_failure, HangError)
        assert "no scan was answered for" in str(harness.node.worker_failure)
    finally:
        harness.detector.gate.set()
        harness.close()


def test_a_network_that_loads_for_ever_holds_up_nothing_else() -> None:
    harness = Harness(FakeDetector())
    gate, make = threading.Event(), harness.node._detector_factory
    is_loading = threading.Event()

    def load(settings: DetectorNodeSettings) -> Any:
        is_loading.set()
        assert gate.wait(HANG_S)
        return make(settings)

    harness.node._detector_factory = load
    try:
        client = harness.listener.create_client(ChangeState, "/detector_node/change_state")
        assert client.wait_for_service(HANG_S)
        configure = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        future = client.call_async(configure)
        assert is_loading.wait(HANG_S)
        assert state(harness) == State.TRANSITION_STATE_CONFIGURING
        assert not change(harness, Transition.TRANSITION_CONFIGURE)
        diagnostics = harness.received["diagnostics"]
        assert wait_for(lambda: "node is configuring" in repr(diagnostics[-1:]))
        assert not future.done()
        gate.set()
        assert wait_for(future.done)
        assert future.result().success
        assert change(harness, Transition.TRANSITION_ACTIVATE)
    finally:
        gate.set()
        harness.close()


class SlowLock:
    """A lock whose holder is held up before it has let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.acquire = self._lock.acquire

    def release(self) -> None:
        time.sleep(0.2)
        self._lock.release()


def test_a_transition_may_follow_the_answer_of_the_last_one_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = SimpleNamespace(Lock=SlowLock, Thread=threading.Thread)
    monkeypatch.setattr(managed, "threading", threads)
    harness = Harness(FakeDetector(), autostart=False)
    try:
        assert change(harness, Transition.TRANSITION_CONFIGURE)
        assert change(harness, Transition.TRANSITION_ACTIVATE)
    finally:
        harness.close()


@pytest.mark.parametrize("kind", ["expected", "bug"])
def test_a_transition_that_fails_says_why(kind: str) -> None:
    harness = Harness(FakeDetector(), autostart=False)
    make = harness.node._detector_factory

    def fail(settings: DetectorNodeSettings) -> None:
        raise BackendError("no \x1b[31mdevice") if kind == "expected" else KeyError("a bug")

    harness.node._detector_factory = fail
    try:
        assert not change(harness, Transition.TRANSITION_CONFIGURE)
        assert state(harness) == State.PRIMARY_STATE_UNCONFIGURED

        def backend() -> Any:
            array = harness.received["diagnostics"][-1]
            return next(e for e in array.status if e.name.endswith("backend"))

        def says(text: str) -> bool:
            return bool(harness.received["diagnostics"]) and text in backend().message

        assert wait_for(lambda: says("configure failed: "))
        assert says({"expected": "no \\x1b[31mdevice", "bug": "bug, KeyError at "}[kind])
        assert backend().level == b"\x02"
        harness.node._detector_factory = make
        assert change(harness, Transition.TRANSITION_CONFIGURE)
        assert wait_for(lambda: backend().level == b"\x00")
    finally:
        harness.close()


def test_a_scan_that_memory_does_not_suffice_for_costs_that_scan_only() -> None:
    harness = Harness(FakeDetector(), stale_timeout=30.0)
    try:
        harness.start()
        harness.detector.error = MemoryError()
        send(harness, 1)
        assert wait_for(lambda: harness.node.status.num_failed == 1)
        harness.detector.error = None
        send(harness, 2)
        assert wait_for(lambda: harness.node.status.num_answered == 1)
        health, said = harness.received["output/entropy_health"], "scan dropped: out of memory"
        assert wait_for(lambda: any(m.reason == said for m in health))
    finally:
        harness.close()


@pytest.mark.parametrize("frame_id", ["f" * 257, "é" * 129, "lidar" * 200_000])
def test_a_frame_id_that_is_too_long_drops_the_scan_and_is_not_repeated(frame_id: str) -> None:
    harness = Harness(FakeDetector(), stale_timeout=30.0)
    try:
        harness.start()
        cloud = xyzi_cloud(random_points(100))
        harness.publisher.publish(cloud_msg(cloud, frame_id=frame_id))
        assert wait_for(lambda: harness.node.status.num_malformed == 1)
        harness.publisher.publish(cloud_msg(cloud, frame_id="f" * 256))
        assert wait_for(lambda: harness.node.status.num_answered == 1)
        health = harness.received["output/entropy_health"]
        assert wait_for(lambda: len(health) == 2)
        assert "longer than the 256 bytes allowed" in health[0].reason
        assert len(health[0].reason) < 300
        assert len(health[0].header.frame_id) < 100
        assert health[1].header.frame_id == "f" * 256
    finally:
        harness.close()


def test_a_deactivated_node_can_be_used_again_once_the_scan_has_come_back(
    harness: Harness,
) -> None:
    send(harness, 1)
    assert wait_for(lambda: harness.detector.num_inside == 1)
    assert harness.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert harness.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    harness.detector.gate.set()
    send(harness, 2)
    assert wait_for(lambda: harness.node.status.num_answered == 1)
    assert harness.node.status.num_failed == 0
