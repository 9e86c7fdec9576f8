# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Records topics into a rosbag2 where `ros2 bag` is not installed: the executable `recorder`.

Messages are stored as they came over DDS; the definitions of their types go with them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from eloss_perception.errors import ElossError
from eloss_perception.interrupts import StopSignal
from eloss_perception.replay.ros_arguments import split_ros_arguments


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
    from eloss_perception.replay.recorder_node import RecorderNode
    from eloss_perception.ros.middleware import start_rclpy

    with ExitStack() as stack:
        context = rclpy.Context()
        start_rclpy(ros_arguments, context)
        stack.callback(context.try_shutdown)
        with BagSink(path, storage, overwrite=overwrite) as sink:
            node = RecorderNode(topics, sink, context)
            stack.callback(node.destroy_node)
            node.record(stop)
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


if __name__ == "__main__":
    raise SystemExit(main())
