# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Records topics into a rosbag2 where `ros2 bag` is not installed: the executable `recorder`.

Messages are stored as they came over DDS; the definitions of their types go with them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.errors import ElossError
from eloss_perception.interrupts import StopSignal
from eloss_perception.replay.ros_graph import import_message, ros_context, split_ros_arguments

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.topic_endpoint_info import TopicEndpointInfo
    from rosbags.interfaces import Qos

    from eloss_perception.datasets.bags.writer import BagSink


_DISCOVERY_PERIOD_S = 0.1
_SLICE_S = 0.05
# A scan of 120,000 points takes 2 MB: three seconds of them may wait in DDS.
_DEPTH = 32
# After the signal: what is already on its way still belongs to the recording.
_DRAIN_QUIET_S, _DRAIN_LIMIT_S = 0.15, 0.6


def record(
    path: Path,
    topics: Sequence[str],
    stop: StopSignal,
    *,
    storage: str = "mcap",
    overwrite: bool = False,
    ros_arguments: Sequence[str] = (),
) -> int:
    """Records topics until a signal, each as soon as somebody publishes it.

    Returns:
        The number of messages recorded.

    Raises:
        DataError: The bag cannot be written, or a type has no definition; no half bag is left.
    """
    # What takes a while to load comes only now, so that a signal is heeded from the start.
    import rclpy

    from eloss_perception.datasets.bags.writer import BagSink

    with ros_context(ros_arguments) as context, ExitStack() as stack:
        with BagSink(path, storage, overwrite=overwrite) as sink:
            node = rclpy.create_node("recorder", context=context)
            stack.callback(node.destroy_node)
            Recorder(node, topics, sink).record(stop)
        log = node.get_logger()
        log.info(f"recorded {sink.num_written} messages into {path}")
        if sink.num_lost:
            log.error(f"{sink.num_lost} messages lost: the disk did not keep up")
    return sink.num_written


def main(argv: Sequence[str] | None = None) -> int:
    """Records what the command line names until SIGINT or SIGTERM.

    Returns:
        0 after a signal, 2 after an expected error.
    """
    own_arguments, ros_arguments = split_ros_arguments(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="recorder",
        description="Record topics into a rosbag2 until interrupted.",
        epilog="example: recorder run1/ /velodyne_points /detector_node/output/entropy_health",
    )
    parser.add_argument("bag", type=Path, help="folder of the new rosbag2")
    parser.add_argument("topics", nargs="+", metavar="TOPIC")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument("--overwrite", action="store_true", help="replace a bag of this name")
    with StopSignal() as stop:
        arguments = parser.parse_args(own_arguments)
        try:
            record(
                arguments.bag,
                arguments.topics,
                stop,
                storage=arguments.storage,
                overwrite=arguments.overwrite,
                ros_arguments=ros_arguments,
            )
        except ElossError as error:
            sys.stderr.write(f"recorder: {error}\n")
            return 2
    return 0


class Recorder:
    """Subscribes to topics as soon as they are published, with a QoS that all publishers meet."""

    def __init__(self, node: Node, topics: Sequence[str], sink: BagSink) -> None:
        self._node = node
        self._waiting = list(dict.fromkeys(map(node.resolve_topic_name, topics)))
        self._sink = sink
        self._last_message = 0.0

    def record(self, stop: StopSignal) -> None:
        """Records until a signal."""
        from rclpy.executors import SingleThreadedExecutor

        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
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
            executor.remove_node(self._node)
            executor.shutdown()

    def _subscribe_to_new(self) -> None:
        for topic in tuple(self._waiting):
            publishers = self._node.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            message_type = publishers[0].topic_type
            message_class = import_message(message_type)
            if message_class is None:
                self._node.get_logger().error(f"{topic} left out: {message_type} is not installed")
                self._waiting.remove(topic)
                continue
            qos, offered = _qos_for(publishers)
            self._sink.add_topic(topic, message_type, offered)
            self._node.create_subscription(
                message_class, topic, self._callback_for(topic), qos, raw=True
            )
            self._waiting.remove(topic)
            self._node.get_logger().info(f"recording {topic}")

    def _callback_for(self, topic: str) -> Callable[[bytes], None]:
        def on_message(data: bytes) -> None:
            self._last_message = time.monotonic()
            self._sink.put(topic, time.time_ns(), data)

        return on_message


def _qos_for(publishers: Sequence[TopicEndpointInfo]) -> tuple[QoSProfile, Qos]:
    """Returns what all publishers of a topic meet, to subscribe with and to write into the bag."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    from eloss_perception.datasets.bags.writer import offered_qos

    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
    latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    profile = QoSProfile(
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
    depth = 1 if latched else 5
    return profile, offered_qos(reliable=reliable, transient_local=latched, depth=depth)


if __name__ == "__main__":
    raise SystemExit(main())
