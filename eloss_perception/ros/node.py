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
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from eloss_perception.core.health import HealthLevel, HealthMonitor
from eloss_perception.core.sensors import sensor_boxes
from eloss_perception.errors import BackendError, CloudError, ConfigError, ElossError
from eloss_perception.msg import EntropyHealth, ProcessingTime
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.declare import declare_settings, follow_changes
from eloss_perception.ros.diagnostics import Diagnostics
from eloss_perception.ros.gauge import gauge_markers
from eloss_perception.ros.mailbox import Mailbox
from eloss_perception.ros.markers import boxes_to_markers
from eloss_perception.ros.messages import (
    detections_to_msg,
    health_to_msg,
    pipeline_latency_ms,
    processing_time_to_msg,
    unread_health_to_msg,
)
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector

_Entity = TypeVar("_Entity")


# REP-2003: sensor data best effort, only the newest counts; results reliable and shallow.
# Made anew for each topic: rclpy writes `qos_overrides` parameters into the profile it is given.
def sensor_qos() -> QoSProfile:
    """QoS of the input."""
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def result_qos() -> QoSProfile:
    """QoS of the outputs."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


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
    detector = Detector(bundle, settings.backend, settings.num_threads, thresholds)
    detector.warm_up()
    return detector


class DetectorNode(LifecycleNode):  # type: ignore[misc]
    """A managed node around a detector.

    Attributes:
        settings: The settings in force.
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
            self._create_publishers()
        except ConfigError:
            self.destroy_node()
            raise
        follow_changes(self, lambda: self.settings, self._apply)
        self._refuse_impossible_transitions()

        # Diagnostics speak in every lifecycle state, and on a clock that cannot stand still.
        self._diagnostics = Diagnostics(self.get_name(), time.monotonic())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(_STALE_CHECK_PERIOD_S, self._watch_input, clock=steady)

    # ------------------------------------------------------------------ the path of one scan

    def receive(self, msg: PointCloud2) -> None:
        """Subscription callback: leaves the scan for the worker; one still waiting is dropped."""
        self.status.num_received += 1
        self.status.last_scan_time = time.monotonic()
        if self._mailbox.put(msg):
            self.status.num_replaced += 1

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
        report = self._monitor.update(
            detections.layer_entropy,
            detections.counts.num_in_range,
            detections.counts.num_occupied,
        )
        boxes = sensor_boxes(detections.boxes, self._sensor)
        class_names = self._detector.class_names
        health = health_to_msg(report, detections.counts, header)

        self._detections.publish(detections_to_msg(boxes, class_names, header))
        self._health.publish(health)
        if self.settings.publish_markers and self._markers.get_subscription_count():
            self._markers.publish(boxes_to_markers(boxes, class_names, header))
        if self.settings.publish_gauge and self._gauge.get_subscription_count():
            self._gauge.publish(gauge_markers(health, self.settings.gauge_offset))

        end = time.perf_counter()
        timings, status = detections.timings, self.status
        status.num_answered += 1
        status.counts, status.report = detections.counts, report
        status.preprocess_ms = 1e3 * (converted - start) + timings.preprocess_ms
        status.inference_ms = timings.inference_ms
        status.postprocess_ms = timings.postprocess_ms + 1e3 * (end - detected)
        status.total_ms = 1e3 * (end - start)
        status.max_total_ms = max(status.max_total_ms, status.total_ms)
        status.pipeline_latency_ms = pipeline_latency_ms(self.get_clock().now().nanoseconds, header)
        status.saturated_share = float((points[:, 3] >= 1.0).mean()) if len(points) else 0.0
        self._processing_time.publish(
            processing_time_to_msg(
                header,
                preprocess_ms=status.preprocess_ms,
                inference_ms=status.inference_ms,
                postprocess_ms=status.postprocess_ms,
                total_ms=status.total_ms,
                pipeline_latency_ms=status.pipeline_latency_ms,
                num_frames_dropped=status.num_dropped,
            )
        )

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
        self._health.publish(health)
        if self.settings.publish_gauge and self._gauge.get_subscription_count():
            self._gauge.publish(gauge_markers(health, self.settings.gauge_offset))

    def _work(self) -> None:
        try:
            while (msg := self._mailbox.take()) is not None:
                self.process(msg)
        except (
            BaseException
        ) as error:  # Not handled: handed to the main thread, which ends with it.
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
            self._subscription = _with_qos_overrides(
                lambda: self.create_subscription(
                    PointCloud2,
                    "~/input/pointcloud",
                    self.receive,
                    sensor_qos(),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
            )
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
        silence = self.status.seconds_without_scan(now)
        is_due = now - self._last_stale_time >= _STALE_REPEAT_S
        if self.status.lifecycle != "active" or silence < self.settings.stale_timeout or not is_due:
            return
        self._last_stale_time = now
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        self._publish_unread(HealthLevel.STALE, f"no scan for {silence:.1f} s", header)

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

    # ------------------------------------------------------------------ construction

    def _create_publishers(self) -> None:
        def create(kind: type, topic: str) -> Any:
            return _with_qos_overrides(
                lambda: self.create_lifecycle_publisher(
                    kind,
                    topic,
                    result_qos(),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
            )

        self._detections = create(Detection3DArray, "~/output/detections")
        self._markers = create(MarkerArray, "~/output/markers")
        self._health = create(EntropyHealth, "~/output/entropy_health")
        self._gauge = create(MarkerArray, "~/output/entropy_gauge")
        self._processing_time = create(ProcessingTime, "~/debug/processing_time")
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def _refuse_impossible_transitions(self) -> None:
        """Makes `change_state` answer a request that does not fit the state.

        rclpy lets the state machine's error escape from the service's callback, which would end
        the executor, and with it the node, at one wrong request.
        """
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = _answering(service.callback)


def _answering(change_state: Callable[..., Any]) -> Callable[..., Any]:
    def callback(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError:  # rclpy's RCLError; what transitions raise does not come this far
            response.success = False
            return response

    return callback


def _with_qos_overrides(create: Callable[[], _Entity]) -> _Entity:
    try:
        return create()
    except Exception as error:  # rclpy checks overrides by using them: anything may come of it.
        raise ConfigError(f"parameter qos_overrides: {error}") from error
