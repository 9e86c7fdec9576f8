# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""On a vehicle: ros2 launch eloss_perception detector.launch.py input_topic:=/points.

A lifecycle manager (autostart:=false) has to do without a bond: `bond_timeout: 0.0` in
nav2_lifecycle_manager. A node that is started again is unconfigured then, and the manager's to
configure.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, TimerAction
from launch.conditions import IfCondition
from launch.events.process import ProcessExited
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

# What the node ends with when it was asked to, and when it cannot be started as it was configured.
# After anything else (a bug, a backend that hangs, a signal that killed it) it is started again.
STOPPED, REFUSED = 0, 1


def detector_node(context: LaunchContext, is_first: bool = True) -> list[Node]:
    given = {name: context.launch_configurations[name] for name in OVERRIDES}
    overrides = {name: value for name, value in given.items() if value}
    if "autostart" in overrides:
        overrides["autostart"] = ParameterValue(LaunchConfiguration("autostart"), value_type=bool)
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)

    # Not launch's own `respawn`, which starts again after exit code 0 and after a refusal as well.
    def start_again(event: ProcessExited, context: LaunchContext) -> list[LogInfo | TimerAction]:
        # What could be started once was configured well: a device may need a while to come back.
        final = (STOPPED, REFUSED) if is_first else (STOPPED,)
        is_wanted = context.launch_configurations["respawn"] == "true" and not context.is_shutdown
        if not is_wanted or event.returncode in final:
            return []
        delay = context.launch_configurations["respawn_delay"]
        text = f"detector_node ended with {event.returncode}: started again in {delay} s"
        again = detector_node(context, is_first=False)
        return [LogInfo(msg=text), TimerAction(period=float(delay), actions=again)]

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
            on_exit=start_again,
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
            argument(
                "respawn",
                default_value="true",
                choices=["true", "false"],
                description="start the node again unless it was stopped or refused its settings",
            ),
            argument("respawn_delay", default_value="2.0", description="time before that [s]"),
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
