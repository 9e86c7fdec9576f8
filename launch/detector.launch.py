# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""On a vehicle: ros2 launch eloss_perception detector.launch.py input_topic:=/points."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

CONFIG = PathJoinSubstitution([FindPackageShare("eloss_perception"), "config"])

# Parameters of the node that are arguments too: given, they win over the file.
OVERRIDES = {
    "bundle": "folder of the model bundle",
    "sensor": "which LiDAR publishes the clouds",
    "backend": "what runs the network",
    "backend_fallback": "what stands in while that fails",
    "autostart": "false leaves configuring and activating to a lifecycle manager",
}


def detector_node(context: LaunchContext) -> list[Node]:
    given = {name: context.launch_configurations[name] for name in OVERRIDES}
    overrides = {name: value for name, value in given.items() if value}
    if "autostart" in overrides:
        overrides["autostart"] = ParameterValue(LaunchConfiguration("autostart"), value_type=bool)
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    return [
        Node(
            package="eloss_perception",
            executable="detector_node",
            name="detector_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {"use_sim_time": use_sim_time, **overrides},
            ],
            remappings=[("~/input/pointcloud", LaunchConfiguration("input_topic"))],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    argument = DeclareLaunchArgument
    return LaunchDescription(
        [
            argument("input_topic", default_value="/velodyne_points", description="point clouds"),
            argument("namespace", default_value="", description="of the node and its topics"),
            argument(
                "params_file",
                default_value=PathJoinSubstitution([CONFIG, "detector.param.yaml"]),
                description="parameters of the node",
            ),
            *(
                argument(name, default_value="", description=f"{text} (empty: as in params_file)")
                for name, text in OVERRIDES.items()
            ),
            argument("use_sim_time", default_value="false", description="take time from /clock"),
            argument("log_level", default_value="info", description="debug, info, warn or error"),
            argument("rviz", default_value="false", description="open RViz 2"),
            OpaqueFunction(function=detector_node),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", PathJoinSubstitution([CONFIG, "eloss.rviz"])],
                parameters=[
                    {
                        "use_sim_time": ParameterValue(
                            LaunchConfiguration("use_sim_time"), value_type=bool
                        )
                    }
                ],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
