# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A detector node and a listener on real DDS, each spinning in a thread, for the node's tests."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import suppress
from typing import Any

import rclpy
from cloud_factory import Cloud
from diagnostic_msgs.msg import DiagnosticArray
from fake_detector import FakeDetector
from processes import HANG_S, wait_for
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2, PointField
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from eloss_perception.msg import EntropyHealth, ProcessingTime
from eloss_perception.replay.demo.processes import ReservedDomain
from eloss_perception.ros.node import DetectorNode
from eloss_perception.ros.node_settings import DetectorNodeSettings

OUTPUTS = {
    "output/detections": Detection3DArray,
    "output/markers": MarkerArray,
    "output/entropy_health": EntropyHealth,
    "output/entropy_gauge": MarkerArray,
    "debug/processing_time": ProcessingTime,
}


def cloud_msg(cloud: Cloud, stamp_ns: int = 0, frame_id: str = "velodyne") -> PointCloud2:
    """A cloud of the tests as the real message."""
    msg = PointCloud2(height=cloud.height, width=cloud.width, is_bigendian=cloud.is_bigendian)
    msg.header.frame_id = frame_id
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    msg.point_step, msg.row_step, msg.is_dense = cloud.point_step, cloud.row_step, False
    msg.fields = [
        PointField(name=f.name, offset=f.offset, datatype=f.datatype, count=f.count)
        for f in cloud.fields
    ]
    msg.data = cloud.data
    return msg


class Harness:
    """A `DetectorNode` with a detector, by default a fake one, and everything it published."""

    def __init__(self, detector: Any = None, **parameters: Any) -> None:
        # A domain of its own: nodes of earlier tests, hung ones above all, are still in theirs.
        self._domain = ReservedDomain()
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=self._domain.number)
        self.detector = detector or FakeDetector()
        self.failed = threading.Event()
        try:
            self.node = DetectorNode(
                detector_factory=self._make,
                on_failure=self.failed.set,
                context=self.context,
                parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()],
            )
        except BaseException:
            self.context.try_shutdown()
            self._domain.release()
            raise
        self.listener = Node("listener", context=self.context)
        self.received: dict[str, list[Any]] = defaultdict(list)
        for topic, kind in OUTPUTS.items():
            self._listen(kind, f"/detector_node/{topic}", topic)
        self._listen(DiagnosticArray, "/diagnostics", "diagnostics")
        self.publisher = self.listener.create_publisher(
            PointCloud2, "/detector_node/input/pointcloud", 10
        )
        self._is_closing = False
        self._threads = []
        for node in (self.node, self.listener):
            executor = SingleThreadedExecutor(context=self.context)
            executor.add_node(node)
            thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _make(self, settings: DetectorNodeSettings) -> Any:
        self.detector.thresholds = settings.detection_thresholds(self.detector.class_names)
        return self.detector

    def _listen(self, kind: type, topic: str, key: str) -> None:
        self.listener.create_subscription(kind, topic, self.received[key].append, 100)

    def _spin(self, executor: SingleThreadedExecutor) -> None:
        with suppress(ExternalShutdownException):
            while self.context.ok() and not self._is_closing:
                executor.spin_once(timeout_sec=0.05)

    def start(self) -> None:
        """Activates the node and waits until DDS has matched all of its topics."""
        self.node.start()
        assert self.is_matched()

    def is_matched(self) -> bool:
        """Waits until publisher, node and listener know of each other."""
        return wait_for(
            lambda: (
                self.publisher.get_subscription_count()
                and all(
                    self.listener.count_publishers(f"/detector_node/{topic}") for topic in OUTPUTS
                )
                and self.node.outputs.markers.get_subscription_count()
                and self.node.outputs.gauge.get_subscription_count()
                and self.node.outputs.health.get_subscription_count()
                and self.node.outputs.detections.get_subscription_count()
                and self.node.outputs.processing_time.get_subscription_count()
            )
        )

    def publish(self, cloud: Cloud, stamp_ns: int = 0) -> None:
        """Sends a cloud through DDS."""
        self.publisher.publish(cloud_msg(cloud, stamp_ns))

    def close(self) -> None:
        """Ends everything."""
        self._is_closing = True
        for thread in self._threads:
            thread.join(timeout=HANG_S)
            assert not thread.is_alive()
        # Not before: rclpy's executor raises where its context ends while it is at work.
        self.node.close()
        self.node.destroy_node()
        self.listener.destroy_node()
        self.context.try_shutdown()
        self._domain.release()
