# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings without ROS."""

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
