# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The part of the detector node that runs by the clock: diagnostics, STALE, and hanging backends.

A sensor that falls silent and a backend that hangs are both STALE: nobody may take the last health
for the present one. A worker that hangs is left behind with its backend, three at most, and another
one takes over.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from eloss_perception.errors import HangError, printable
from eloss_perception.health.monitor import HealthLevel, HealthMonitor
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.managed import ManagedNode
from eloss_perception.ros.messages import MAX_REASON, bounded_header, health_unavailable_to_msg
from eloss_perception.ros.node_settings import DetectorNodeSettings
from eloss_perception.ros.status import Arrivals, DetectorStatus
from eloss_perception.ros.topics import Outputs
from eloss_perception.ros.worker import Worker
from eloss_perception.runtime.backend_recovery import leave_behind, state_of
from eloss_perception.runtime.detector import Detector

_DIAGNOSTICS_PERIOD_S = 1.0
_WATCH_PERIOD_S = 0.05
_STALE_REPEAT_S = 0.5

# Threads that may hang at a time. Each holds a network.
MAX_HANGING = 3


class WatchedNode(ManagedNode):
    """A node that reports on its detector, and goes on without a worker that hangs.

    Attributes:
        settings: The settings in force.
        outputs: The publishers.
        status: Counts and the figures of the newest frame.
        worker_failure: The error that the process has to end with: a bug that ended the worker, or
            a backend that does not come back; None while there is none.
    """

    settings: DetectorNodeSettings
    outputs: Outputs
    _monitor: HealthMonitor

    def __init__(self, name: str, on_failure: Callable[[], None], **node_arguments: object) -> None:
        """Arguments as for `DetectorNode`."""
        super().__init__(name, **node_arguments)
        self.status = DetectorStatus()
        self.worker_failure: BaseException | None = None
        self._on_failure = on_failure
        self._detector: Detector | None = None
        self._worker: Worker[PointCloud2] | None = None
        self._hanging: list[Worker[PointCloud2]] = []
        self._arrivals = Arrivals()
        self._frame_id = ""
        self._last_stale_time = 0.0
        self._last_watch_time = time.monotonic()

    @abstractmethod
    def process(self, msg: PointCloud2, worker: Worker[PointCloud2] | None = None) -> None:
        """Answers one scan; a worker that was left behind publishes nothing."""

    def start_watching(self) -> None:
        """Starts the timers.

        Diagnostics are published in every lifecycle state, by a clock that never stands still.
        """
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics = Diagnostics(self.get_name())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)

    def report_drop(self, header: Header, reason: str) -> None:
        """Reports a scan that was dropped, in the log and as health ERROR."""
        self.status.last_error = reason
        text = f"scan dropped: {printable(reason, MAX_REASON)}"
        self.get_logger().warning(text, throttle_duration_sec=1.0)
        self._publish_health_unavailable(HealthLevel.ERROR, text, header)

    def leave_behind(self, worker: Worker[PointCloud2], reason: str) -> None:
        """Drops the scan in work; its result, should it come after all, is not published."""
        msg = worker.leave_behind()
        self._hanging.append(worker)
        if msg is not None:
            self.status.num_failed += 1
            self.report_drop(bounded_header(msg.header), reason)

    def fail(self, error: BaseException) -> None:
        """Makes the process end with an error; called from any thread."""
        if self.worker_failure is None:
            self.worker_failure = error
            self._on_failure()

    def read_backend(self, detector: Detector) -> None:
        """Puts into the status which backend runs."""
        backend = state_of(detector.backend)
        self.status.backend, self.status.backend_name = backend.description, backend.name
        self.status.fault, self.status.num_reloads = backend.fault, backend.num_reloads

    def _publish_diagnostics(self) -> None:
        detector, status = self._detector, self.status
        if detector is not None:
            self.read_backend(detector)
        status.failure = self.failure_text
        status.lost = self._arrivals.lost()
        stamp = self.get_clock().now().to_msg()
        array = self._diagnostics.make(status, self.settings, time.monotonic(), stamp)
        self._diagnostics_publisher.publish(array)

    def _publish_health_unavailable(self, level: HealthLevel, reason: str, header: Header) -> None:
        health = health_unavailable_to_msg(level, reason, self._monitor.reference, header)
        self.outputs.publish_health(health, self.settings)

    def _watch(self) -> None:
        now = time.monotonic()
        late = now - self._last_watch_time - _WATCH_PERIOD_S
        self._last_watch_time = now
        if late > 1.0 and self.status.waiting_since is not None:
            # The whole process was held up or stopped: the backend does not hang.
            self.status.waiting_since += late
        self._watch_staleness(now)
        # A transition takes care of the worker itself.
        if self._transition_lock.acquire(blocking=False):
            try:
                self._watch_worker(now)
            finally:
                self._transition_lock.release()

    def _watch_staleness(self, now: float) -> None:
        """Reports STALE while there is no scan, or no answer to one."""
        status = self.status
        silence, missing = status.staleness(now)
        if status.lifecycle != "active":
            reason = f"the node is {status.lifecycle}, and a scan hangs in its backend"
            is_stale = status.num_hanging > 0
        else:
            reason = f"{missing} for {silence:.1f} s"
            is_stale = silence >= self.settings.stale_timeout
        if not is_stale or now - self._last_stale_time < _STALE_REPEAT_S:
            return
        self._last_stale_time = now
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        self._publish_health_unavailable(HealthLevel.STALE, reason, header)

    def _watch_worker(self, now: float) -> None:
        """Replaces a worker that hangs; ends the process if that does not help."""
        status, settings, worker = self.status, self.settings, self._worker
        self._hanging = [left for left in self._hanging if left.is_alive]
        status.num_hanging = len(self._hanging)
        if worker is None:
            return
        waiting = status.seconds_waiting(now)
        if waiting >= settings.hang_timeout and not worker.is_left_behind:
            reason = f"the backend hangs, no answer for {waiting:.1f} s; it is loaded again"
            self.get_logger().error(reason)
            if status.hanging_since is None:
                status.hanging_since = now - waiting
            self.leave_behind(worker, reason)
            if self._detector is not None:
                leave_behind(self._detector.backend, reason)
        if worker.is_left_behind and len(self._hanging) < MAX_HANGING:
            status.waiting_since = None if worker.mailbox.is_empty else now
            self._worker = Worker(worker.mailbox, self.process, self.fail)
        if status.hanging_since is None:
            return
        if status.waiting_since is None and status.seconds_without_scan(now) >= 1.0:
            status.hanging_since = now  # without scans there is nothing to answer
        hanging = now - status.hanging_since
        if 0.0 < settings.hang_exit_timeout <= hanging:
            self.fail(HangError(f"no scan was answered for {hanging:.1f} s: the backend hangs"))
