# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`detector_node`: scans in, boxes and entropy health out. Read `DetectorNode.process` first.

Three threads: rclpy's executor receives scans and serves parameters, lifecycle and timers; a worker
runs the detector on the newest scan; the main thread waits for signals (`process.py`). A fourth one
comes when a backend that failed is loaded again (`runtime/backend_recovery.py`).
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

from eloss_perception.core.health import HealthLevel, HealthMonitor, HealthReport
from eloss_perception.core.sensors import sensor_boxes
from eloss_perception.errors import BackendError, CloudError, ConfigError, ElossError
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.declare import declare_settings, follow_changes
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.loading import load_detector
from eloss_perception.ros.mailbox import Mailbox
from eloss_perception.ros.managed import ManagedNode
from eloss_perception.ros.messages import (
    health_to_msg,
    pipeline_latency_ms,
    processing_time_to_msg,
    unread_health_to_msg,
)
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus
from eloss_perception.ros.topics import Outputs, create_input
from eloss_perception.runtime.backend_recovery import state_of
from eloss_perception.runtime.detector import Detector

_DIAGNOSTICS_PERIOD_S = 1.0
_STALE_CHECK_PERIOD_S = 0.05
_STALE_REPEAT_S = 0.5


class DetectorNode(ManagedNode):
    """A managed node around a detector.

    Attributes:
        settings: The settings in force.
        outputs: The publishers.
        status: Counts and the newest frame's figures.
        worker_failure: The bug that ended the worker; None while all is well.
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
            on_failure: Called from the worker's thread when it has set `worker_failure`.
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
        self._detector: Detector
        self._monitor: HealthMonitor
        self._is_loaded = False
        self._worker: threading.Thread | None = None
        self._mailbox: Mailbox[PointCloud2] = Mailbox()
        self._frame_id = ""
        self._last_stale_time = 0.0

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
        self._diagnostics = Diagnostics(self.get_name(), time.monotonic())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(_STALE_CHECK_PERIOD_S, self._watch_input, clock=steady)

    # ------------------------------------------------------------------ the path of one scan

    def receive(self, msg: PointCloud2) -> None:
        """Subscription callback: leaves the scan for the worker; one still waiting is dropped."""
        status = self.status
        status.num_received += 1
        status.last_scan_time = time.monotonic()
        if status.waiting_since is None:
            status.waiting_since = status.last_scan_time
        if self._mailbox.put(msg):
            status.num_replaced += 1

    def process(self, msg: PointCloud2) -> None:
        """Answers one scan; one that cannot be read or run is dropped, counted and reported."""
        start = time.perf_counter()
        header = msg.header
        self._frame_id = header.frame_id
        try:
            points = points_from_msg(msg, self._sensor)
            converted = time.perf_counter()
            detections = self._detector.detect(points)
        except (CloudError, BackendError) as error:
            self._drop(header, error)
            return
        detected = time.perf_counter()
        backend = state_of(self._detector.backend)
        report = self._monitor.update(detections.readings, detections.fingerprints)
        report = _at_least_warning(report, backend.fault)
        judged = time.perf_counter()
        boxes = sensor_boxes(detections.boxes, self._sensor)
        health = health_to_msg(report, detections.counts, header)
        self.outputs.publish_answer(boxes, self._detector.class_names, health)
        published = time.perf_counter()
        latency_ms = pipeline_latency_ms(self.get_clock().now().nanoseconds, header)
        # Whatever is not the answer comes after it.
        self.outputs.publish_pictures(boxes, self._detector.class_names, health, self.settings)

        status, timings = self.status, detections.timings
        status.num_answered += 1
        status.counts, status.report = detections.counts, report
        # A sixteenth of the points tells a wrong scale just as well.
        sample = points[::16, 3]
        status.saturated_share = float((sample >= 1.0).mean()) if len(sample) else 0.0
        status.preprocess_ms = 1e3 * (converted - start) + timings.preprocess_ms
        status.inference_ms = timings.inference_ms
        status.health_ms = timings.readings_ms + 1e3 * (judged - detected)
        status.postprocess_ms = timings.postprocess_ms + 1e3 * (published - judged)
        status.total_ms = 1e3 * (published - start)
        status.max_total_ms = max(status.max_total_ms, status.total_ms)
        status.pipeline_latency_ms = latency_ms
        self.outputs.processing_time.publish(processing_time_to_msg(status, header))

    def _drop(self, header: Header, error: CloudError | BackendError) -> None:
        if isinstance(error, CloudError):
            self.status.num_malformed += 1
        else:
            self.status.num_failed += 1
        self.status.last_error = str(error)
        self.get_logger().warning(f"scan dropped: {error}", throttle_duration_sec=1.0)
        self._publish_unread(HealthLevel.ERROR, f"scan dropped: {error}", header)

    def _publish_unread(self, level: HealthLevel, reason: str, header: Header) -> None:
        health = unread_health_to_msg(level, reason, self._monitor.reference, header)
        self.outputs.publish_health(health, self.settings)

    def _work(self) -> None:
        try:
            while (msg := self._mailbox.take()) is not None:
                self.process(msg)
                self.status.waiting_since = None
        except BaseException as error:  # Not handled: the main thread will end with it.
            self.worker_failure = error
            self._on_failure()

    # ------------------------------------------------------------------ lifecycle (`managed.py`)

    def load(self) -> None:
        """Loads the detector."""
        detector = self._detector_factory(self.settings)
        self._monitor = HealthMonitor(detector.bundle.require_health(), self.settings.health)
        self._detector, self._is_loaded = detector, True
        self.status = DetectorStatus(
            lifecycle="inactive",
            bundle=str(detector.bundle.path),
            max_pillars=detector.bundle.grid.max_pillars,
        )
        self._read_backend()
        self.get_logger().info(f"{self.status.bundle} on {self.status.backend}")

    def begin(self) -> None:
        """Starts to listen and to work, with counts and health history begun anew."""
        self._mailbox = Mailbox()
        self._subscription = create_input(self, self.receive)
        self._monitor.reset()
        self.status = DetectorStatus(
            lifecycle="active",
            bundle=self.status.bundle,
            max_pillars=self.status.max_pillars,
            last_scan_time=time.monotonic(),
        )
        self._read_backend()
        self._worker = threading.Thread(target=self._work, name="detector", daemon=True)
        self._worker.start()

    def end(self) -> None:
        """Stops to listen and waits for the scan in work."""
        if self._worker is None:
            return
        self.destroy_subscription(self._subscription)
        if self._mailbox.close():
            self.status.num_replaced += 1
        self._worker.join()
        self._worker = None
        self.status.lifecycle = "inactive"
        self.status.last_scan_time = None

    def unload(self) -> None:
        """Frees the network."""
        if self._is_loaded:
            self._is_loaded = False
            self._detector.close()
            del self._detector
        self.status = DetectorStatus()

    def report_failure(self, error: ElossError) -> None:
        """Logs it; a node that starts itself ends with that line instead (`process.py`)."""
        if not self.settings.autostart:
            super().report_failure(error)

    # ------------------------------------------------------------------ timers and parameters

    def _watch_input(self) -> None:
        now = time.monotonic()
        silence, missing = self.status.staleness(now)
        is_due = now - self._last_stale_time >= _STALE_REPEAT_S
        if self.status.lifecycle != "active" or silence < self.settings.stale_timeout or not is_due:
            return
        self._last_stale_time = now
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        self._publish_unread(HealthLevel.STALE, f"{missing} for {silence:.1f} s", header)

    def _read_backend(self) -> None:
        backend = state_of(self._detector.backend)
        self.status.backend, self.status.backend_name = backend.description, backend.name
        self.status.fault, self.status.num_reloads = backend.fault, backend.num_reloads

    def _publish_diagnostics(self) -> None:
        if self._is_loaded:
            self._read_backend()
        self._diagnostics_publisher.publish(
            self._diagnostics.make(
                self.status, self.settings, time.monotonic(), self.get_clock().now().to_msg()
            )
        )

    def _apply(self, settings: DetectorNodeSettings) -> None:
        self.settings = settings
        if self._is_loaded:
            self._detector.thresholds = settings.detection_thresholds(self._detector.class_names)


def _at_least_warning(report: HealthReport, fault: str) -> HealthReport:
    """Says that another backend answered than was asked for; no reading shows that."""
    if not fault:
        return report
    reason = f"{fault}; {report.reason}" if report.level > HealthLevel.OK else fault
    return replace(report, level=max(report.level, HealthLevel.WARN), reason=reason)
