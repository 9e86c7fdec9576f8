# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector on a recording: ros2 launch eloss_perception replay.launch.py bag:=path/to/bag."""

import os

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

# Handed on to detector.launch.py: name, default.
DETECTOR_ARGUMENTS = {
    "input_topic": "/velodyne_points",
    "bundle": "",
    "sensor": "",
    "backend": "",
    "log_level": "info",
    "respawn": "false",
    "rviz": "true",
}


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """`ros2 bag play` where it is installed, else the player of this package."""
    bag, rate = LaunchConfiguration("bag"), LaunchConfiguration("rate")
    loop = ["--loop"] if context.launch_configurations["loop"] == "true" else []
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return [
            Node(
                package="eloss_perception",
                executable="player",
                arguments=[bag, "--rate", rate, "--clock", *loop],
                output="screen",
            )
        ]
    command = ["ros2", "bag", "play", bag, "--rate", rate, "--clock", *loop]
    return [ExecuteProcess(cmd=command, output="screen", additional_env=large_messages())]


def large_messages() -> dict[str, PathJoinSubstitution]:
    """Returns our Fast DDS profile for large messages, unless the user has set one."""
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    if any(name in os.environ for name in names):
        return {}
    share = FindPackageShare("eloss_perception")
    profile = PathJoinSubstitution([share, "config", "fastdds_large_messages.xml"])
    return dict.fromkeys(names, profile)


def generate_launch_description() -> LaunchDescription:
    argument = DeclareLaunchArgument
    detector = PathJoinSubstitution([ThisLaunchFileDir(), "detector.launch.py"])
    handed_on = {name: LaunchConfiguration(name) for name in DETECTOR_ARGUMENTS}
    return LaunchDescription(
        [
            argument("bag", description="folder of a rosbag2"),
            argument("rate", default_value="1.0", description="speed"),
            argument("loop", default_value="false", choices=["true", "false"]),
            *(
                argument(name, default_value=value, description="see detector.launch.py")
                for name, value in DETECTOR_ARGUMENTS.items()
            ),
            # The bag's own time: stamps, latencies and what RViz shows agree at any rate.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(detector),
                launch_arguments={**handed_on, "use_sim_time": "true"}.items(),
            ),
            OpaqueFunction(function=player),
        ]
    )
