# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the ROS tools share: arguments, a context, message classes, QoS, and a node that listens.

rclpy is imported inside functions: a tool heeds signals before it is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from eloss_perception.errors import DataError

if TYPE_CHECKING:
    from rclpy.context import Context
    from rclpy.qos import QoSProfile
    from rosbags.interfaces import Qos
    from rosbags.typesys.store import Typestore

# Recorded depths may be 0 (unspecified) or huge (keep all): a player needs neither.
_DEFAULT_DEPTH, _MAX_DEPTH = 10, 1000


def split_ros_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits off what stands between `--ros-args` and `--` (or the end), as rcl defines it.

    Returns:
        The program's own arguments, and the ROS ones with their markers.
    """
    own: list[str] = []
    ros: list[str] = []
    current = own
    for argument in arguments:
        if argument == "--ros-args":
            current = ros
        current.append(argument)
        if argument == "--" and current is ros:
            current = own
    return own, ros


@contextmanager
def ros_context(arguments: Sequence[str] = (), domain_id: int | None = None) -> Iterator[Context]:
    """Yields a context that leaves signals to `StopSignal`; shut down at the end."""
    import rclpy

    from eloss_perception.ros.middleware import start_rclpy

    context = rclpy.Context()
    start_rclpy(arguments, context, domain_id)
    try:
        yield context
    finally:
        context.try_shutdown()


def import_message(message_type: str) -> Any | None:
    """Returns the class of a type such as ``std_msgs/msg/Header``; None if it is not installed."""
    package, _, name = message_type.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None


def playable_class(message_type: str, recorded: Typestore) -> Any:
    """Returns the class to publish a recorded type with.

    Raises:
        DataError: It is not installed, nobody defines it, or it was another one when recorded.
    """
    from eloss_perception.datasets.bags.definitions import InstalledTypes, same_fields

    message_class = import_message(message_type)
    if message_class is None:
        raise DataError("its type is not installed")
    if message_type not in recorded.fielddefs:
        raise DataError("its type is not defined in the bag nor by what is installed")
    installed = InstalledTypes()
    try:
        installed.require(message_type)
    except DataError:
        return message_class
    if not all(
        same_fields(body, recorded.fielddefs.get(name))
        for name, body in installed.typestore.fielddefs.items()
    ):
        raise DataError("the bag defines its type otherwise than what is installed")
    return message_class


def qos_profile(recorded: Qos | None) -> QoSProfile:
    """Returns the profile to publish a recorded topic with; reliable where none was recorded."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
    from rosbags.interfaces import QosDurability, QosReliability

    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEFAULT_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )
    if recorded is None:
        return profile
    if 0 < recorded.depth <= _MAX_DEPTH:
        profile.depth = recorded.depth
    if recorded.reliability == QosReliability.BEST_EFFORT:
        profile.reliability = ReliabilityPolicy.BEST_EFFORT
    if recorded.durability == QosDurability.TRANSIENT_LOCAL:
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


class GraphListener:
    """Context manager with a node of its own; who derives from it subscribes in `subscribe`."""

    node_name = "listener"

    def __init__(self, domain_id: int) -> None:
        self._ros = ros_context(domain_id=domain_id)

    def __enter__(self) -> Any:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        context = self._ros.__enter__()
        self.node = rclpy.create_node(self.node_name, context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.subscribe()
        return self

    def subscribe(self) -> None:
        """Creates what the node listens with."""
        raise NotImplementedError

    def spin_once(self, timeout_s: float) -> None:
        """Serves one thing that has arrived, or waits for it this long at most."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._ros.__exit__(None, None, None)
