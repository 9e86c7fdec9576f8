# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rules that RViz sets for a marker array, for the tests of all that is drawn in it."""

from __future__ import annotations

import math

import pytest
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray


def check_marker_rules(array: MarkerArray, header: Header) -> None:
    first, *others = array.markers
    assert first.action == Marker.DELETEALL
    keys = [(marker.ns, marker.id) for marker in others]
    assert len(keys) == len(set(keys))
    for marker in array.markers:
        assert marker.header == header
    for marker in others:
        assert marker.action == Marker.ADD
        assert marker.ns
        assert marker.lifetime.sec or marker.lifetime.nanosec
        q = marker.pose.orientation
        assert math.hypot(q.x, q.y, q.z, q.w) == pytest.approx(1.0, abs=1e-6)
        assert marker.color.a > 0.0
        if marker.type == Marker.CUBE:
            assert min(marker.scale.x, marker.scale.y, marker.scale.z) > 0.0
        assert len(marker.colors) in (0, len(marker.points))
    serialize_message(array)
