# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages laid out as bytes, against rclpy's own serialiser."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, Pose, PoseArray, Vector3
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState, NavSatFix, PointCloud2, PointField
from std_msgs.msg import Header
from vision_msgs.msg import Detection3D, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.cdr import LITTLE_ENDIAN, Messages, Stencil, Stencils, joined
from eloss_perception.ros.messages import array_begin

HEADER = Header(frame_id="größe")
CLOUD = PointCloud2(header=HEADER, fields=[PointField(name="x", count=1)], data=[1, 2, 3])
STATUS = DiagnosticStatus(level=b"\x02", name="a", values=[KeyValue(key="k", value="value")])
HEALTH = EntropyHealth(
    header=HEADER, level=b"\x01", layer_names=["a", "", "bc"], layer_entropy=array("f", [1, 2])
)
POINTS = Marker(ns="lines", points=[Point(x=1.0, y=2.0, z=3.0)] * 5, text="ab")


@pytest.mark.parametrize(
    "example",
    [
        *(Marker(), MarkerArray(markers=[Marker(ns=n * "n") for n in range(5)]), POINTS, CLOUD),
        *(HEALTH, DiagnosticArray(status=[STATUS, DiagnosticStatus(), STATUS])),
        *(NavSatFix(position_covariance=np.arange(9.0)), PoseArray(poses=[Pose(), Pose()])),
        *(JointState(name=["a", "bcd"], position=[1.0], effort=[2.0, 3.0]), Header()),
    ],
    ids=lambda example: type(example).__name__,
)
def test_a_message_is_laid_out_as_rclpy_does(example: object) -> None:
    stencil = Stencil(example)
    ours = LITTLE_ENDIAN + stencil.words.tobytes()[: stencil.num_bytes]
    expected = serialize_message(example)
    assert len(ours) <= len(expected)  # rclpy reserves more at times
    received = deserialize_message(ours, type(example))
    assert received == deserialize_message(expected, type(example))


# rosidl's strings end at the first zero.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
NAMESPACES = st.lists(st.sampled_from(["", "n", "na", "nam", "name"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(TEXTS, NAMESPACES, st.integers(0, 2**31 - 1))
def test_numbers_are_set_where_they_belong(frame_id: str, names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = sorted(set(names))
    stencils = Stencils([Marker(header=Header(frame_id=frame_id), ns=kind) for kind in kinds])
    begin = array_begin(MarkerArray(), len(names))
    markers = Messages(stencils, [kinds.index(name) for name in names], len(begin))
    numbers = rng.normal(size=(len(names), 10))
    colors = rng.uniform(size=(len(names), 4)).astype(np.float32)
    markers.set("id", 7)
    markers.set("id", np.arange(1, len(names))[:, None], slice(1, None))
    markers.set("pose", numbers[:, :7])
    markers.set("scale", numbers[:, 7:])
    markers.set("color", colors)
    array = deserialize_message(joined(begin, markers), MarkerArray)
    assert [marker.ns for marker in array.markers] == names
    assert [marker.id for marker in array.markers] == [7, *range(1, len(names))]
    for marker, row, color in zip(array.markers, numbers, colors, strict=True):
        position, turn, size = marker.pose.position, marker.pose.orientation, marker.scale
        said = [position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]
        assert [*said, size.x, size.y, size.z] == row.tolist()
        rgba = marker.color
        assert [rgba.r, rgba.g, rgba.b, rgba.a] == color.tolist()
        assert marker.header.frame_id == frame_id
        assert marker.mesh_resource == ""


def test_one_element_many_times_over_is_one_span() -> None:
    stencils = Stencils([POINTS])
    lines = Messages(stencils, [0], 0)
    lines.set("points", np.arange(15.0)[None])
    received = deserialize_message(joined(b"", lines), Marker)
    assert received.points[4] == Point(x=12.0, y=13.0, z=14.0)
    assert received.text == "ab"


def test_what_is_not_one_type_of_number_cannot_be_set() -> None:
    lines = Messages(Stencils([POINTS]), [0], 0)
    for path in ("header", "nonsense", ""):
        with pytest.raises(KeyError):
            lines.set(path, 0)


def test_text_can_be_set_in_its_length() -> None:
    marker = Messages(Stencils([POINTS]), [0], 0)
    marker.set("text", list(b"yz"))
    assert deserialize_message(joined(b"", marker), Marker).text == "yz"


def test_a_kind_without_a_number_of_eight_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="eight bytes"):
        Stencils([KeyValue(key="k")])


def test_every_place_of_a_detection_can_be_named() -> None:
    example = Detection3D(header=HEADER, results=[ObjectHypothesisWithPose()])
    stencil = Stencil(example, 4)
    assert stencil.span("results[0].pose.pose").count == 7
    assert stencil.span("results[0].pose.covariance").count == 36
    assert stencil.span("bbox").count == 10
    assert Stencil(Vector3(), 4).span("y").offset == 16
