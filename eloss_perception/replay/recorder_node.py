# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node behind the recorder: raw subscriptions that follow whoever publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from eloss_perception.datasets.bags.writer import BagSink, offered_qos
from eloss_perception.interrupts import StopSignal
from eloss_perception.replay.qos import import_message

_DISCOVERY_PERIOD_S = 0.1
_SLICE_S = 0.05
# A scan of 120,000 points takes 2 MB: three seconds of them may wait in DDS.
_DEPTH = 32
# After the signal: what is already on its way still belongs to the recording.
_DRAIN_QUIET_S, _DRAIN_LIMIT_S = 0.15, 0.6


class RecorderNode(Node):
    """Subscribes to topics as soon as they are published, with a QoS that all publishers meet."""

    def __init__(self, topics: Sequence[str], sink: BagSink, context: rclpy.Context) -> None:
        super().__init__("recorder", context=context)
        self._waiting = list(dict.fromkeys(self.resolve_topic_name(name) for name in topics))
        self._sink = sink
        self._last_message = 0.0

    def record(self, stop: StopSignal) -> None:
        """Records until a signal."""
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self)
        next_discovery = 0.0
        try:
            while not stop.is_set and self._sink.is_working:
                if time.monotonic() >= next_discovery:
                    self._subscribe_to_new()
                    next_discovery = time.monotonic() + _DISCOVERY_PERIOD_S
                executor.spin_once(timeout_sec=_SLICE_S)
            started = self._last_message = time.monotonic()
            while time.monotonic() < min(
                self._last_message + _DRAIN_QUIET_S, started + _DRAIN_LIMIT_S
            ):
                executor.spin_once(timeout_sec=0.02)
        finally:
            executor.remove_node(self)
            executor.shutdown()

    def _subscribe_to_new(self) -> None:
        for topic in tuple(self._waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            message_type = publishers[0].topic_type
            message_class = import_message(message_type)
            if message_class is None:
                self.get_logger().error(f"{topic} left out: {message_type} is not installed")
                self._waiting.remove(topic)
                continue
            reliable = all(
                info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in publishers
            )
            latched = all(
                info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
                for info in publishers
            )
            qos = QoSProfile(
                depth=_DEPTH,
                reliability=(
                    ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
                ),
                durability=(
                    DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
                ),
            )
            self._sink.add_topic(
                topic,
                message_type,
                offered_qos(reliable=reliable, transient_local=latched, depth=1 if latched else 5),
            )
            self.create_subscription(message_class, topic, self._callback_for(topic), qos, raw=True)
            self._waiting.remove(topic)
            self.get_logger().info(f"recording {topic}")

    def _callback_for(self, topic: str) -> Callable[[bytes], None]:
        def on_message(data: bytes) -> None:
            self._last_message = time.monotonic()
            self._sink.put(topic, time.time_ns(), data)

        return on_message
