# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`detector_node`: scans in, boxes and entropy health out. Read `DetectorNode.process` first.

Three threads: rclpy's executor receives scans and serves parameters, lifecycle and timers; a worker
runs the detector on the newest scan (`worker.py`); the main thread waits for signals
(`process.py`). Others come when a backend that failed is loaded again
(`runtime/backend_recovery.py`) and for a transition (`transitions.py`).

Nothing here waits without a limit for the detector: a backend that hangs is reported, left behind
and loaded again, and in the end the process is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from eloss_perception.detection.points import intensity_fault
from eloss_perception.detection.sensors import sensor_boxes
from eloss_perception.errors import (
    BackendError,
    CloudError,
    ConfigError,
    HangError,
    printable,
)
from eloss_perception.health.monitor import HealthLevel, HealthMonitor, HealthReport
from eloss_perception.ros.arrivals import AnswerPeriod, Arrivals
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.declare import declare_settings, follow_changes
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.loading import load_detector
from eloss_perception.ros.mailbox import Mailbox
from eloss_perception.ros.managed import ManagedNode
from eloss_perception.ros.messages import (
    MAX_FRAME_ID_BYTES,
    MAX_REASON,
    bounded_header,
    health_to_msg,
    is_frame_id_bounded,
    pipeline_latency_ms,
    processing_time_to_msg,
    stamp_ns,
    unread_health_to_msg,
)
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus
from eloss_perception.ros.topics import Outputs, create_input
from eloss_perception.ros.worker import Worker, giving_out
from eloss_perception.runtime.backend_recovery import RecoveringBackend, state_of
from eloss_perception.runtime.detector import Detector

_DIAGNOSTICS_PERIOD_S = 1.0
_WATCH_PERIOD_S = 0.05
_STALE_REPEAT_S = 0.5

# A transition has to answer within a second: it waits so long for the scan in work, and for a
# network to be freed, and leaves behind what takes longer.
_PATIENCE_S = 0.7
_UNLOAD_PATIENCE_S = 0.2

# Threads that may hang at a time. Each holds a network.
_MAX_HANGING = 3


class DetectorNode(ManagedNode):
    """A managed node around a detector.

    Attributes:
        settings: The settings in force.
        outputs: The publishers.
        status: Counts and the newest frame's figures.
        worker_failure: What the process has to end with: a bug that ended the worker, or a backend
            that does not come back; None while all is well.
    """

    def __init__(
        self,
        *,
        detector_factory: Callable[[DetectorNodeSettings], Detector] = load_detector,
        on_failure: Callable[[], None] = lambda: None,
        **node_arguments: object,
    ) -> None:
        """Declares parameters and topics; the network is loaded by `configure`.

        Args:
            detector_factory: Makes the detector from the settings.
            on_failure: Called, from any thread, when `worker_failure` has been set.
            node_arguments: Passed on to rclpy's node: namespace, parameter_overrides, context.

        Raises:
            ConfigError: If a parameter or a QoS override is unknown or invalid.
        """
        super().__init__(
            "detector_node",
            automatically_declare_parameters_from_overrides=True,
            **node_arguments,
        )
        self.status = DetectorStatus()
        self.worker_failure: BaseException | None = None
        self._detector_factory = detector_factory
        self._on_failure = on_failure
        self._detector: Detector | None = None
        self._monitor: HealthMonitor
        self._worker: Worker[PointCloud2] | None = None
        self._hanging: list[Worker[PointCloud2]] = []
        self._unfinished: Worker[PointCloud2] | None = None
        self._arrivals = Arrivals()
        self._answer_period = AnswerPeriod()
        self._frame_id = ""
        self._last_stale_time = 0.0
        self._last_watch_time = time.monotonic()

        try:
            self.settings = declare_settings(self)
            self._sensor = self.settings.sensor_model()
            self.outputs = Outputs(self)
        except ConfigError:
            self.destroy_node()
            raise
        follow_changes(self, lambda: self.settings, self._apply)

        # Diagnostics speak in every lifecycle state, and on a clock that cannot stand still.
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics = Diagnostics(self.get_name())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)

    # ------------------------------------------------------------------ the path of one scan

    def receive(self, msg: PointCloud2) -> None:
        """Subscription callback: leaves the scan for the worker; one still waiting is dropped."""
        worker, status = self._worker, self.status
        if worker is None:  # deactivated at this moment
            return
        status.num_received += 1
        status.last_scan_time = time.monotonic()
        self._arrivals.add(stamp_ns(msg.header))
        if status.waiting_since is None:
            status.waiting_since = status.last_scan_time
        if worker.mailbox.put(msg):
            status.num_replaced += 1

    def process(self, msg: PointCloud2, worker: Worker[PointCloud2] | None = None) -> None:
        """Answers one scan; one that cannot be read or run is dropped, counted and reported.

        Args:
            msg: The scan.
            worker: Who works on it; if it was left behind meanwhile the scan has been dropped.
        """
        header = bounded_header(msg.header)
        self._frame_id = header.frame_id
        try:
            self._answer(msg, header, worker)
        except (CloudError, BackendError) as error:
            self._drop(header, error, worker)
        except MemoryError:  # It is free again for the next scan.
            self._drop(header, BackendError("out of memory"), worker)

    def _answer(self, msg: PointCloud2, header: Header, worker: Worker[PointCloud2] | None) -> None:
        start = time.perf_counter()
        detector = self._detector
        if detector is None:
            raise BackendError("the network has been unloaded")
        _check_frame_id(msg.header.frame_id)
        points = points_from_msg(msg, self._sensor)
        converted = time.perf_counter()
        detections = detector.detect(points)
        detected = time.perf_counter()
        with giving_out(worker) as is_wanted:
            if not is_wanted:
                return
            backend = state_of(detector.backend)
            report = self._monitor.update(detections.readings, detections.fingerprints)
            report = _at_least_warning(report, backend.fault)
            report = _with_hint(report, self.status.intensity_fault)
            judged = time.perf_counter()
            boxes = sensor_boxes(detections.boxes, self._sensor)
            health = health_to_msg(report, detections.counts, header)
            self.outputs.publish_answer(boxes, detector.class_names, health)
            published = time.perf_counter()
            latency_ms = pipeline_latency_ms(self.get_clock().now().nanoseconds, header)
            # Whatever is not the answer comes after it.
            period_s = self._answer_period.add(time.monotonic(), stamp_ns(header))
            names = detector.class_names
            self.outputs.publish_pictures(boxes, names, health, self.settings, period_s)

            status, timings = self.status, detections.timings
            status.num_answered += 1
            status.hanging_since = None
            status.counts, status.report = detections.counts, report
            # A sixteenth of the points tells a wrong scale just as well.
            sample = points[::16]
            status.saturated_share = float((sample[:, 3] >= 1.0).mean()) if len(sample) else 0.0
            status.intensity_fault = intensity_fault(sample, self._sensor)
            status.preprocess_ms = 1e3 * (converted - start) + timings.preprocess_ms
            status.inference_ms = timings.inference_ms
            status.health_ms = timings.readings_ms + 1e3 * (judged - detected)
            status.postprocess_ms = timings.postprocess_ms + 1e3 * (published - judged)
            status.total_ms = 1e3 * (published - start)
            status.max_total_ms = max(status.max_total_ms, status.total_ms)
            status.pipeline_latency_ms = latency_ms
            status.waiting_since = None
            self.outputs.processing_time.publish(processing_time_to_msg(status, header))

    def _drop(
        self, header: Header, error: CloudError | BackendError, worker: Worker[PointCloud2] | None
    ) -> None:
        with giving_out(worker) as is_wanted:
            if not is_wanted:
                return
            if isinstance(error, CloudError):
                self.status.num_malformed += 1
            else:
                self.status.num_failed += 1
            self._report_drop(header, str(error))
            self.status.waiting_since = None

    def _report_drop(self, header: Header, reason: str) -> None:
        self.status.last_error = reason
        said = f"scan dropped: {printable(reason, MAX_REASON)}"
        self.get_logger().warning(said, throttle_duration_sec=1.0)
        self._publish_unread(HealthLevel.ERROR, said, header)

    def _publish_unread(self, level: HealthLevel, reason: str, header: Header) -> None:
        health = unread_health_to_msg(level, reason, self._monitor.reference, header)
        self.outputs.publish_health(health, self.settings)

    # ------------------------------------------------------------------ lifecycle (`managed.py`)

    def load(self) -> None:
        """Loads the detector."""
        if sum(worker.is_alive for worker in self._hanging) >= _MAX_HANGING:
            raise HangError(f"{_MAX_HANGING} scans hang in a backend: only a new process helps")
        self.status = DetectorStatus(lifecycle="configuring")
        try:
            detector = self._detector_factory(self.settings)
            self._monitor = HealthMonitor(detector.bundle.require_health(), self.settings.health)
        except BaseException:
            self.status = DetectorStatus()
            raise
        self._detector = detector
        self._apply(self.settings)  # they may have been changed meanwhile
        self.status = DetectorStatus(
            lifecycle="inactive",
            bundle=str(detector.bundle.path),
            max_pillars=detector.bundle.grid.max_pillars,
        )
        self._read_backend(detector)
        said = f"{self.status.bundle} on {self.status.backend}"
        self.get_logger().info(printable(said, MAX_REASON))

    def begin(self) -> None:
        """Starts to listen and to work, with counts and health history begun anew."""
        self._subscription = create_input(self, self.receive)
        self._monitor.reset()
        self._arrivals, self._answer_period = Arrivals(), AnswerPeriod()
        self.status = DetectorStatus(
            lifecycle="active",
            bundle=self.status.bundle,
            max_pillars=self.status.max_pillars,
            last_scan_time=time.monotonic(),
        )
        self._work_on(Mailbox(), after=self._unfinished)

    def end(self) -> None:
        """Stops to listen and waits for the scan in work, but not for one that hangs."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self.destroy_subscription(self._subscription)
        if worker.mailbox.close():
            self.status.num_replaced += 1
        if not worker.join(_PATIENCE_S):
            self._leave_behind(worker, "the node was deactivated before it was answered")
            self._unfinished = worker
        self.status.lifecycle = "inactive"
        self.status.last_scan_time = self.status.waiting_since = self.status.hanging_since = None

    def unload(self) -> None:
        """Frees the network."""
        detector, self._detector = self._detector, None
        if detector is not None:
            if self._unfinished is not None and self._unfinished.is_alive:
                _leave_backend_behind(detector, "the network was unloaded within a scan")
            # In a thread, because a device that is gone may not even let go of its memory.
            closing = threading.Thread(target=detector.close, name="unload", daemon=True)
            closing.start()
            closing.join(_UNLOAD_PATIENCE_S)
        self._unfinished = None
        self.status = DetectorStatus()

    # ------------------------------------------------------------------ a backend that hangs

    def _work_on(
        self, mailbox: Mailbox[PointCloud2], after: Worker[PointCloud2] | None = None
    ) -> None:
        self._worker = Worker(mailbox, self.process, self._fail, after)

    def _fail(self, error: BaseException) -> None:
        if self.worker_failure is None:
            self.worker_failure = error
            self._on_failure()

    def _leave_behind(self, worker: Worker[PointCloud2], reason: str) -> None:
        """Drops the scan in work; what becomes of it after all is not given out."""
        item = worker.leave_behind()
        self._hanging.append(worker)
        if item is not None:
            self.status.num_failed += 1
            self._report_drop(bounded_header(item.header), reason)

    def _watch_work(self, now: float) -> None:
        """Replaces a worker whose scan is not answered; ends the process where that is in vain."""
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
            self._leave_behind(worker, reason)
            if self._detector is not None:
                _leave_backend_behind(self._detector, reason)
        if worker.is_left_behind and len(self._hanging) < _MAX_HANGING:
            status.waiting_since = None if worker.mailbox.is_empty else now
            self._work_on(worker.mailbox)
        if status.hanging_since is None:
            return
        if status.waiting_since is None and status.seconds_without_scan(now) >= 1.0:
            status.hanging_since = now  # without scans there is nothing to answer
        hanging = now - status.hanging_since
        if 0.0 < settings.hang_exit_timeout <= hanging:
            self._fail(HangError(f"no scan was answered for {hanging:.1f} s: the backend hangs"))

    # ------------------------------------------------------------------ timers and parameters

    def _watch(self) -> None:
        now = time.monotonic()
        late = now - self._last_watch_time - _WATCH_PERIOD_S
        self._last_watch_time = now
        if late > 1.0 and self.status.waiting_since is not None:
            # The whole process was held up or stopped: that is no hang of the backend.
            self.status.waiting_since += late
        self._watch_input(now)
        # A transition takes care of the worker itself.
        if self._transition_lock.acquire(blocking=False):
            try:
                self._watch_work(now)
            finally:
                self._transition_lock.release()

    def _watch_input(self, now: float) -> None:
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
        self._publish_unread(HealthLevel.STALE, reason, header)

    def _read_backend(self, detector: Detector) -> None:
        backend = state_of(detector.backend)
        self.status.backend, self.status.backend_name = backend.description, backend.name
        self.status.fault, self.status.num_reloads = backend.fault, backend.num_reloads

    def _publish_diagnostics(self) -> None:
        detector, status = self._detector, self.status
        if detector is not None:
            self._read_backend(detector)
        status.failure = self.failure_text
        status.lost = self._arrivals.lost()
        stamp = self.get_clock().now().to_msg()
        array = self._diagnostics.make(status, self.settings, time.monotonic(), stamp)
        self._diagnostics_publisher.publish(array)

    def _apply(self, settings: DetectorNodeSettings) -> None:
        self.settings = settings
        detector = self._detector
        if detector is not None:
            detector.thresholds = settings.detection_thresholds(detector.class_names)


def _check_frame_id(frame_id: str) -> None:
    if not is_frame_id_bounded(frame_id):
        raise CloudError(
            f"frame_id '{printable(frame_id)}' is longer than the {MAX_FRAME_ID_BYTES} bytes"
            " allowed, or no text: every box repeats it"
        )


def _leave_backend_behind(detector: Detector, reason: str) -> None:
    if isinstance(detector.backend, RecoveringBackend):
        detector.backend.leave_behind(reason)


def _at_least_warning(report: HealthReport, fault: str) -> HealthReport:
    """Says that another backend answered than was asked for; no reading shows that."""
    if not fault:
        return report
    reason = f"{fault}; {report.reason}" if report.level > HealthLevel.OK else fault
    return replace(report, level=max(report.level, HealthLevel.WARN), reason=reason)


def _with_hint(report: HealthReport, hint: str) -> HealthReport:
    """Says beside what is odd what was set up wrongly, as the last scan showed."""
    if not hint or report.level == HealthLevel.OK:
        return report
    return replace(report, reason=f"{report.reason}; {hint}")
