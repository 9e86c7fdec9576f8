# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`detector_node`: scans in, boxes and entropy health out. Read `DetectorNode.process` first.

Three threads: rclpy's executor receives scans and serves parameters, lifecycle and timers; a worker
runs the detector on the newest scan (`worker.py`); the main thread waits for signals
(`process.py`). Further ones load a backend again that failed (`runtime/backend_recovery.py`) and
make transitions (`managed.py`).

Nothing waits for the detector without a limit. A backend that hangs is reported, left behind and
loaded again (`watchdog.py`); if that does not help, the process ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from eloss_perception.detection.points import intensity_fault
from eloss_perception.detection.sensors import sensor_boxes
from eloss_perception.errors import BackendError, CloudError, ConfigError, HangError, printable
from eloss_perception.health.monitor import HealthLevel, HealthMonitor, HealthReport
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.messages import (
    MAX_REASON,
    bounded_header,
    check_frame_id,
    health_to_msg,
    pipeline_latency_ms,
    processing_time_to_msg,
    stamp_ns,
)
from eloss_perception.ros.node_settings import DetectorNodeSettings, load_detector
from eloss_perception.ros.parameters import declare_settings, follow_changes
from eloss_perception.ros.status import AnswerPeriod, Arrivals, DetectorStatus, Durations
from eloss_perception.ros.topics import Outputs, create_input
from eloss_perception.ros.watchdog import MAX_HANGING, WatchedNode
from eloss_perception.ros.worker import Mailbox, Worker, publishing
from eloss_perception.runtime.backend_recovery import leave_behind, state_of
from eloss_perception.runtime.detector import Detections, Detector

# A transition has to answer within a second: it waits this long for the scan in work, and for a
# network to be freed, and leaves behind what takes longer.
_PATIENCE_S = 0.7
_UNLOAD_PATIENCE_S = 0.2


class DetectorNode(WatchedNode):
    """A lifecycle node around a detector; attributes as of `WatchedNode`."""

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
            on_failure,
            automatically_declare_parameters_from_overrides=True,
            **node_arguments,
        )
        self._detector_factory = detector_factory
        self._unfinished: Worker[PointCloud2] | None = None
        self._answer_period = AnswerPeriod()
        try:
            self.settings = declare_settings(self)
            self._sensor = self.settings.sensor_model()
            self.outputs = Outputs(self)
        except ConfigError:
            self.destroy_node()
            raise
        follow_changes(self, lambda: self.settings, self._apply)
        self.start_watching()

    # ------------------------------------------------------------------ the path of one scan

    def receive(self, msg: PointCloud2) -> None:
        """Subscription callback: leaves the scan for the worker, in place of one still waiting."""
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
            worker: Who works on it; after it was left behind it publishes nothing.
        """
        header = bounded_header(msg.header)
        self._frame_id = header.frame_id
        try:
            self._answer(msg, header, worker)
        except (CloudError, BackendError) as error:
            self._drop(header, error, worker)
        except MemoryError:  # there may be enough again for the next scan
            self._drop(header, BackendError("out of memory"), worker)

    def _answer(self, msg: PointCloud2, header: Header, worker: Worker[PointCloud2] | None) -> None:
        start = time.perf_counter()
        detector = self._detector
        if detector is None:
            raise BackendError("the network has been unloaded")
        check_frame_id(msg.header.frame_id)
        points = points_from_msg(msg, self._sensor)
        converted = time.perf_counter()
        detections = detector.detect(points)
        detected = time.perf_counter()
        with publishing(worker) as is_wanted:
            if not is_wanted:
                return
            report = self._judge(detector, detections)
            judged = time.perf_counter()
            boxes, names = sensor_boxes(detections.boxes, self._sensor), detector.class_names
            health = health_to_msg(report, detections.counts, header)
            self._settle(worker)
            self.outputs.publish_answer(boxes, names, health)
            published = time.perf_counter()

            # What follows is not the answer, so it comes after it.
            timings = detections.timings
            durations = Durations(
                preprocess_ms=1e3 * (converted - start) + timings.preprocess_ms,
                inference_ms=timings.inference_ms,
                postprocess_ms=timings.postprocess_ms + 1e3 * (published - judged),
                health_ms=timings.readings_ms + 1e3 * (judged - detected),
                total_ms=1e3 * (published - start),
                pipeline_latency_ms=pipeline_latency_ms(self._now_ns(), header),
            )
            period_s = self._answer_period.add(time.monotonic(), stamp_ns(header))
            self.outputs.publish_markers(boxes, names, health, self.settings, period_s)
            # A sixteenth of the points shows a wrong scale just as well.
            sample, status = points[::16], self.status
            status.saturated_share = float((sample[:, 3] >= 1.0).mean()) if len(sample) else 0.0
            status.intensity_fault = intensity_fault(sample, self._sensor)
            status.add_answer(detections.counts, report, durations)
            self.outputs.processing_time.publish(
                processing_time_to_msg(durations, status.num_dropped, header)
            )

    def _judge(self, detector: Detector, detections: Detections) -> HealthReport:
        """Returns the frame's health, and with it faults that no reading shows."""
        report = self._monitor.update(detections.readings, detections.fingerprints)
        fault, hint = state_of(detector.backend).fault, self.status.intensity_fault
        if fault:  # another backend answers than was asked for
            reason = f"{fault}; {report.reason}" if report.level > HealthLevel.OK else fault
            report = replace(report, level=max(report.level, HealthLevel.WARN), reason=reason)
        if hint and report.level > HealthLevel.OK:
            report = replace(report, reason=f"{report.reason}; {hint}")
        return report

    def _drop(
        self, header: Header, error: CloudError | BackendError, worker: Worker[PointCloud2] | None
    ) -> None:
        with publishing(worker) as is_wanted:
            if not is_wanted:
                return
            if isinstance(error, CloudError):
                self.status.num_malformed += 1
            else:
                self.status.num_failed += 1
            self._settle(worker)
            self.report_drop(header, str(error))

    def _settle(self, worker: Worker[PointCloud2] | None) -> None:
        """Stops the clock of the scan in work; before its answer, which another scan may follow."""
        is_one_waiting = worker is not None and not worker.mailbox.is_empty
        self.status.waiting_since = time.monotonic() if is_one_waiting else None

    # ------------------------------------------------------------------ lifecycle

    def load(self) -> None:
        """Loads the detector."""
        if sum(worker.is_alive for worker in self._hanging) >= MAX_HANGING:
            raise HangError(f"{MAX_HANGING} scans hang in a backend: restart the process")
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
        self.read_backend(detector)
        text = f"{self.status.bundle} on {self.status.backend}"
        self.get_logger().info(printable(text, MAX_REASON))

    def begin(self) -> None:
        """Starts listening and working, with counts and health history reset."""
        self._subscription = create_input(self, self.receive)
        self._monitor.reset()
        self._arrivals, self._answer_period = Arrivals(), AnswerPeriod()
        self.status = DetectorStatus(
            lifecycle="active",
            bundle=self.status.bundle,
            max_pillars=self.status.max_pillars,
            last_scan_time=time.monotonic(),
        )
        self._worker = Worker(Mailbox(), self.process, self.fail, after=self._unfinished)

    def end(self) -> None:
        """Stops listening, and waits for the scan in work, but not for one that hangs."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self.destroy_subscription(self._subscription)
        if worker.mailbox.close():
            self.status.num_replaced += 1
        if not worker.join(_PATIENCE_S):
            self.leave_behind(worker, "the node was deactivated before it was answered")
            self._unfinished = worker
        self.status.lifecycle = "inactive"
        self.status.last_scan_time = self.status.waiting_since = self.status.hanging_since = None

    def unload(self) -> None:
        """Frees the network."""
        detector, self._detector = self._detector, None
        if detector is not None:
            if self._unfinished is not None and self._unfinished.is_alive:
                leave_behind(detector.backend, "the network was unloaded within a scan")
            # In a thread, because freeing the memory of a lost device may hang.
            closing = threading.Thread(target=detector.close, name="unload", daemon=True)
            closing.start()
            closing.join(_UNLOAD_PATIENCE_S)
        self._unfinished = None
        self.status = DetectorStatus()

    def _apply(self, settings: DetectorNodeSettings) -> None:
        self.settings = settings
        if self._detector is not None:
            names = self._detector.class_names
            self._detector.thresholds = settings.detection_thresholds(names)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)
