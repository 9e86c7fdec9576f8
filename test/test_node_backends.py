# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backends that fail under the live node: what health and diagnostics say, what is answered."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from cloud_factory import random_points, xyzi_cloud
from fake_detector import FakeBackend, FakeDetector
from node_harness import Harness, cloud_msg, wait_for

from eloss_perception.errors import BackendError
from eloss_perception.health.monitor import HealthLevel
from eloss_perception.ros.node_settings import DetectorNodeSettings, load_detector
from eloss_perception.runtime.backend_recovery import RecoveringBackend

OK, WARN, ERROR, STALE = HealthLevel.OK, HealthLevel.WARN, HealthLevel.ERROR, HealthLevel.STALE


class BreakableBackend(FakeBackend):
    """Runs nothing, and fails where told."""

    error: BackendError | None = None
    gate: threading.Event | None = None

    def __init__(self, name: str) -> None:
        self.description = f"fake {name}"

    def pillarize(self, points: Any) -> Any:
        return points

    def run(self, pillars: Any) -> Any:
        if self.gate is not None:
            assert self.gate.wait(60.0)
        if self.error is not None:
            raise self.error


class DetectorOnBackends(FakeDetector):
    """A fake detector that asks its backend first.

    Attributes:
        made: The backends in the order that they were loaded in.
        gate: Loading waits for it.
        clock: The time that recovery goes by.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.made: list[BreakableBackend] = []
        self.gate = threading.Event()
        self.gate.set()
        self.clock = 100.0
        self.backend: Any = RecoveringBackend(self._load, names, 3, lambda: self.clock)

    def _load(self, name: str) -> Any:
        assert self.gate.wait(60.0)
        self.made.append(BreakableBackend(name))
        return self.made[-1]

    def detect(self, points: Any) -> Any:
        self.backend.run(self.backend.pillarize(points))
        return super().detect(points)


def play(harness: Harness, num_frames: int) -> list[Any]:
    """Sends scans one after the other; returns what health said of each."""
    said = harness.received["output/entropy_health"]
    first = len(said)
    for index in range(first, first + num_frames):
        harness.publish(xyzi_cloud(random_points(100, index)), stamp_ns=index)
        assert wait_for(lambda count=index + 1: len(said) == count)
    return list(said[first:])


def diagnosis(harness: Harness) -> Any:
    """What diagnostics say next of the backend."""
    arrays = harness.received["diagnostics"]
    count = len(arrays)
    assert wait_for(lambda: len(arrays) > count)
    return next(e for e in arrays[-1].status if e.name == "detector_node: backend")


def test_the_fallback_answers_with_a_warning_until_the_backend_is_back() -> None:
    detector = DetectorOnBackends("gpu", "cpu")
    harness = Harness(detector, stale_timeout=30.0)
    try:
        harness.start()
        assert play(harness, 1)[0].level[0] == OK
        detector.made[0].error = BackendError("out of memory")
        lost = play(harness, 3)
        assert [m.level[0] for m in lost] == [ERROR] * 3
        assert all("scan dropped: out of memory" in m.reason for m in lost)
        answered = play(harness, 3)
        assert [m.level[0] for m in answered] == [WARN] * 3
        expected = "running on cpu: gpu failed: out of memory"
        assert all(m.reason.startswith(expected) for m in answered)
        assert wait_for(lambda: harness.node.status.num_answered == 4)
        assert len(harness.received["output/detections"]) == 4
        diagnosis(harness)  # the failed frames are this one's
        entry = diagnosis(harness)
        assert (entry.level, entry.message) == (b"\x01", expected)
        values = {pair.key: pair.value for pair in entry.values}
        assert (values["running"], values["description"]) == ("cpu", "fake cpu")
        assert values["num_failed"] == "3"

        detector.clock += 1.0
        play(harness, 1)
        assert wait_for(lambda: len(detector.made) == 3)
        assert wait_for(lambda: play(harness, 1)[0].level[0] == OK)
        entry = diagnosis(harness)
        assert entry.level == b"\x00"
        values = {pair.key: pair.value for pair in entry.values}
        assert (values["running"], values["num_reloads"]) == ("gpu", "1")
    finally:
        harness.close()
    assert harness.node.status.backend == ""  # all is unloaded


def test_a_load_that_takes_long_holds_no_scan_up_and_is_an_error_meanwhile() -> None:
    detector = DetectorOnBackends("gpu")
    harness = Harness(detector, stale_timeout=1.0)
    try:
        harness.start()
        detector.made[0].error = BackendError("device lost")
        detector.gate.clear()
        health = harness.received["output/entropy_health"]
        harness.publish(xyzi_cloud(random_points(100, 0)))
        assert wait_for(lambda: any(m.level[0] == ERROR for m in health))
        first = len(health)
        num_frames = 20
        for stamp in range(num_frames):  # for longer than silence may last; recovery begins within
            harness.node.receive(cloud_msg(xyzi_cloud(random_points(100, stamp)), stamp_ns=stamp))
            detector.clock += 0.5
            time.sleep(0.1)
        status = harness.node.status
        assert wait_for(lambda: status.num_failed + status.num_replaced == num_frames + 1)
        # The watcher is not deceived either: each scan was spoken of, none was stale.
        assert {m.level[0] for m in health[first:]} == {ERROR}
        assert "no backend runs: gpu failed: device lost" in health[-1].reason
        assert len(detector.made) == 1
        entry = diagnosis(harness)
        assert entry.level == b"\x02"

        detector.gate.set()
        assert wait_for(lambda: len(detector.made) == 2)

        def is_well() -> bool:
            harness.publish(xyzi_cloud(random_points(100, 99)))
            time.sleep(0.02)
            return health[-1].level[0] == OK

        assert wait_for(is_well)
    finally:
        harness.close()


def test_the_fallback_answers_while_a_backend_hangs_and_gives_back_to_a_new_one() -> None:
    detector = DetectorOnBackends("gpu", "cpu")
    harness = Harness(detector, stale_timeout=30.0, hang_timeout=0.5, hang_exit_timeout=0.0)
    gate = threading.Event()
    try:
        harness.start()
        assert play(harness, 1)[0].level[0] == OK
        detector.made[0].gate = gate
        (lost,) = play(harness, 1)
        assert (lost.level[0], "the backend hangs" in lost.reason) == (ERROR, True)
        (answered,) = play(harness, 1)
        assert answered.level[0] == WARN
        assert answered.reason.startswith("running on cpu: gpu failed: the backend hangs")
        assert "scans that hang in a backend: 1" in diagnosis(harness).message
        detector.clock += 1.0
        play(harness, 1)
        assert wait_for(lambda: len(detector.made) == 3)
        assert wait_for(lambda: play(harness, 1)[0].level[0] == OK)
        gate.set()
        assert wait_for(lambda: diagnosis(harness).level == b"\x00")
        status = harness.node.status
        assert status.num_received == status.num_answered + status.num_dropped
    finally:
        gate.set()
        harness.close()


@pytest.mark.parametrize(("backend", "fallback"), [("onnxruntime_cpu", "openvino")])
def test_the_detector_is_loaded_with_its_fallback(
    backend: str, fallback: str, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    tiny = pytest.importorskip("tiny_bundle", reason="needs onnx")
    folder = tiny.write_tiny_bundle(tmp_path / "tiny")
    settings = DetectorNodeSettings(
        bundle=str(folder), backend=backend, backend_fallback=fallback, backend_max_failures=1
    )
    detector = load_detector(settings)
    recovering = detector.backend
    assert isinstance(recovering, RecoveringBackend)
    assert recovering.state.name == backend
    points = random_points(500)
    expected = detector.detect(points)

    def broken(pillars: Any) -> Any:
        raise BackendError("made to fail")

    recovering._slots[0].backend.run = broken  # type: ignore[union-attr, method-assign]
    with pytest.raises(BackendError, match="made to fail"):
        detector.detect(points)
    found = detector.detect(points)
    assert recovering.state.fault == f"running on {fallback}: {backend} failed: made to fail"
    assert found.boxes.labels.tolist() == expected.boxes.labels.tolist()
    detector.close()


def test_a_fallback_that_does_not_work_here_is_an_error_at_the_start(tmp_path: Path) -> None:
    tiny = pytest.importorskip("tiny_bundle", reason="needs onnx")
    folder = tiny.write_tiny_bundle(tmp_path / "tiny")
    settings = DetectorNodeSettings(
        bundle=str(folder), backend_fallback="onnxruntime_cuda", device_index=63
    )
    with pytest.raises(BackendError, match=r"NVIDIA driver|there is no GPU 63"):
        load_detector(settings)
