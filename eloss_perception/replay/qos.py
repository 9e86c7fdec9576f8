# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From recorded names and QoS profiles to message classes and QoS profiles of rclpy, and back."""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosReliability
from rosbags.typesys.store import Typestore

from eloss_perception.datasets.bags.definitions import InstalledTypes, same_fields
from eloss_perception.errors import DataError

# Recorded depths may be 0 (unspecified) or huge (keep all): a player needs neither.
_DEFAULT_DEPTH, _MAX_DEPTH = 10, 1000


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
