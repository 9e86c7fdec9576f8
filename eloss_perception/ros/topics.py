# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node's topics: names, quality of service, and what is published together.

Quality of service follows REP-2003 (sensor data best effort, only the newest counts; results
reliable, with a shallow queue) and can be changed with rclpy's `qos_overrides` parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.errors import ConfigError, printable
from eloss_perception.msg import EntropyHealth, ProcessingTime
from eloss_perception.ros import convert
from eloss_perception.ros.gauge import gauge_to_cdr
from eloss_perception.ros.markers import box_markers_to_cdr, lifetime_for
from eloss_perception.ros.messages import detections_to_cdr
from eloss_perception.ros.node_settings import DetectorNodeSettings

_Entity = TypeVar("_Entity")


class Outputs:
    """The publishers of a node; all but that of health publish only while it is active."""

    def __init__(self, node: LifecycleNode) -> None:
        """Creates the publishers.

        Raises:
            ConfigError: If a QoS override is invalid.
        """
        managed = node.create_lifecycle_publisher
        self.detections = _create_output(managed, Detection3DArray, "~/output/detections")
        self.markers = _create_output(managed, MarkerArray, "~/output/markers")
        # Not managed: a scan that hangs is reported as STALE also once the node is inactive.
        self.health = _create_output(
            node.create_publisher, EntropyHealth, "~/output/entropy_health"
        )
        self.gauge = _create_output(managed, MarkerArray, "~/output/entropy_gauge")
        self.processing_time = _create_output(managed, ProcessingTime, "~/debug/processing_time")

    def publish_answer(
        self, boxes: Boxes3D, class_names: Sequence[str], health: EntropyHealth
    ) -> None:
        """Publishes a scan's boxes (in the cloud's frame) and health, under the health's header."""
        self.detections.publish(detections_to_cdr(boxes, class_names, health.header))
        self.health.publish(health)

    def publish_markers(
        self,
        boxes: Boxes3D,
        class_names: Sequence[str],
        health: EntropyHealth,
        settings: DetectorNodeSettings,
        period_s: float,
    ) -> None:
        """Publishes what RViz shows of an answer, if anyone has subscribed.

        Boxes are shown until the next answer, expected after `period_s`, and a little longer.
        """
        self._publish_gauge(health, settings)
        if settings.publish_markers and self.markers.get_subscription_count():
            lifetime = lifetime_for(period_s)
            self.markers.publish(box_markers_to_cdr(boxes, class_names, health.header, lifetime))

    def publish_health(self, health: EntropyHealth, settings: DetectorNodeSettings) -> None:
        """Publishes health without boxes, and the gauge that shows it."""
        self.health.publish(health)
        self._publish_gauge(health, settings)

    def _publish_gauge(self, health: EntropyHealth, settings: DetectorNodeSettings) -> None:
        if settings.publish_gauge and self.gauge.get_subscription_count():
            self.gauge.publish(gauge_to_cdr(health, settings.gauge_offset))


def create_input(node: LifecycleNode, callback: Callable[[PointCloud2], None]) -> Subscription:
    """Subscribes to the scans.

    Raises:
        ConfigError: If a QoS override is invalid.
    """
    convert.warm_up()
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    return _with_qos_overrides(
        lambda options: node.create_subscription(
            PointCloud2, "~/input/pointcloud", callback, qos, qos_overriding_options=options
        )
    )


def _create_output(create: Callable[..., Any], kind: type, topic: str) -> Any:
    # One for each publisher: rclpy writes the overrides into it.
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    return _with_qos_overrides(
        lambda options: create(kind, topic, qos, qos_overriding_options=options)
    )


def _with_qos_overrides(create: Callable[[QoSOverridingOptions], _Entity]) -> _Entity:
    try:
        return create(QoSOverridingOptions.with_default_policies())
    except Exception as error:  # rclpy checks overrides by applying them, and may raise anything
        raise ConfigError(f"parameter qos_overrides: {printable(error, 300)}") from error
