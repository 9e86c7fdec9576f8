# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`detector_node`: scans in, boxes and entropy health out. Read `DetectorNode.process` first.

Three threads: rclpy's executor receives scans and serves parameters, lifecycle and timers; a worker
runs the detector on the newest scan; the main thread waits for signals (`process.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from eloss_perception.core.health import HealthLevel, HealthMonitor
from eloss_perception.core.sensors import sensor_boxes
from eloss_perception.errors import BackendError, CloudError, ConfigError, ElossError
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.declare import declare_settings, follow_changes
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.mailbox import Mailbox
from eloss_perception.ros.messages import (
    health_to_msg,
    pipeline_latency_ms,
    processing_time_to_msg,
    unread_health_to_msg,
)
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus
from eloss_perception.ros.topics import Outputs, create_input
from eloss_perception.ros.transitions import refuse_impossible_transitions
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector

_DIAGNOSTICS_PERIOD_S = 1.0
_STALE_CHECK_PERIOD_S = 0.05
_STALE_REPEAT_S = 0.5


def load_detector(settings: DetectorNodeSettings) -> Detector:
    """Loads the bundle that the settings name and runs it once.

    Raises:
        BundleError: If the bundle is unusable or has no health reference.
        BackendError: If the backend cannot run it.
    """
    bundle = Bundle.load(settings.bundle or default_bundle_path())
    bundle.require_health()
    thresholds = settings.detection_thresholds(bundle.class_names)
    detector = Detector(bundle, settings.backend, settings.backend_settings(), thresholds)
    detector.warm_up()
    return detector


class DetectorNode(LifecycleNode):  # type: ignore[misc]
    """A managed node around a detector.

    Attributes:
        settings: The settings in force.
        outputs: The publishers.
        status: Counts and the newest frame's figures.
        failure: Why the last transition failed; None while all is well.
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
        self.failure: Exception | None = None
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
        refuse_impossible_transitions(self)

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
        report = self._monitor.update(detections.readings, detections.fingerprints)
        judged = time.perf_counter()
        boxes = sensor_boxes(detections.boxes, self._sensor)
        health = health_to_msg(report, detections.counts, header)
        self.outputs.publish_answer(boxes, self._detector.class_names, health, self.settings)
        published = time.perf_counter()

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
        status.pipeline_latency_ms = pipeline_latency_ms(self.get_clock().now().nanoseconds, header)
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

    # ------------------------------------------------------------------ lifecycle transitions

    def start(self) -> None:
        """Configures and activates without a lifecycle manager.

        Raises:
            ElossError: If the detector cannot be loaded.
        """
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise self.failure or ElossError(f"{trigger.__name__} failed")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the detector; fails with a log line where that is not possible."""
        try:
            self._detector = self._detector_factory(self.settings)
            self._monitor = HealthMonitor(
                self._detector.bundle.require_health(), self.settings.health
            )
        except ElossError as error:
            return self._fail(error)
        except Exception as error:  # A bug: kept, because rclpy drops what a transition raises.
            self.failure = error
            raise
        bundle = self._detector.bundle
        self.status = DetectorStatus(
            lifecycle="inactive",
            backend=self._detector.backend.description,
            bundle=str(bundle.path),
            max_pillars=bundle.grid.max_pillars,
        )
        self.failure, self._is_loaded = None, True
        self.get_logger().info(f"{self.status.bundle} on {self.status.backend}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts to listen and to work, with counts and health history begun anew."""
        self._mailbox = Mailbox()
        try:
            self._subscription = create_input(self, self.receive)
        except ElossError as error:
            return self._fail(error)
        self._monitor.reset()
        self.status = DetectorStatus(
            lifecycle="active",
            backend=self.status.backend,
            bundle=self.status.bundle,
            max_pillars=self.status.max_pillars,
            last_scan_time=time.monotonic(),
        )
        self._worker = threading.Thread(target=self._work, name="detector", daemon=True)
        self._worker.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops listening and waits for the scan in work."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unloads the detector."""
        self._unload()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops whatever runs."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where a manager may try again."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stops the work and unloads the detector, in whatever state the node is."""
        self._stop()
        self._unload()

    def _stop(self) -> None:
        if self._worker is None:
            return
        self.destroy_subscription(self._subscription)
        if self._mailbox.close():
            self.status.num_replaced += 1
        self._worker.join()
        self._worker = None
        self.status.lifecycle = "inactive"
        self.status.last_scan_time = None

    def _unload(self) -> None:
        if self._is_loaded:
            del self._detector  # frees the network
            self._is_loaded = False
        self.status = DetectorStatus()

    def _fail(self, error: ElossError) -> TransitionCallbackReturn:
        self.failure = error
        if not self.settings.autostart:
            self.get_logger().error(str(error))
        return TransitionCallbackReturn.FAILURE

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

    def _publish_diagnostics(self) -> None:
        self._diagnostics_publisher.publish(
            self._diagnostics.make(
                self.status, self.settings, time.monotonic(), self.get_clock().now().to_msg()
            )
        )

    def _apply(self, settings: DetectorNodeSettings) -> None:
        self.settings = settings
        if self._is_loaded:
            self._detector.thresholds = settings.detection_thresholds(self._detector.class_names)
