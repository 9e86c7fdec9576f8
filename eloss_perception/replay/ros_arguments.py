# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Command lines that mix a program's own options with ROS arguments."""

from __future__ import annotations

from collections.abc import Sequence


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
