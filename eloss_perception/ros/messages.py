# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results of a frame as messages; each carries the cloud's header unchanged.

Messages of which a frame has one are rosidl objects; boxes are laid out as bytes (`cdr.py`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.pillars import PointCounts
from eloss_perception.errors import CloudError, printable
from eloss_perception.health.monitor import HealthLevel, HealthReport
from eloss_perception.health.reference import HealthReference
from eloss_perception.msg import EntropyHealth, ProcessingTime
from eloss_perception.ros.cdr import Messages, Stencil, Stencils, joined
from eloss_perception.ros.status import Durations

# A stamp this much older than the node's clock belongs to another time base: a replayed bag, or a
# sensor that counts from its own start.
_MAX_PIPELINE_LATENCY_S = 60.0

# Every box and marker repeats a scan's frame_id.
_MAX_FRAME_ID_BYTES = 256

MAX_REASON = 1000
"""Characters of a reason or an error's text in a message, in diagnostics and in the log."""


def check_frame_id(frame_id: str) -> None:
    """Checks that a frame_id is text, and short enough to be repeated.

    Raises:
        CloudError: If it is not.
    """
    try:
        is_bounded = len(frame_id[: _MAX_FRAME_ID_BYTES + 1].encode()) <= _MAX_FRAME_ID_BYTES
    except UnicodeEncodeError:  # halves of surrogate pairs
        is_bounded = False
    if not is_bounded:
        raise CloudError(
            f"frame_id '{printable(frame_id)}' is longer than the {_MAX_FRAME_ID_BYTES} bytes"
            " allowed, or not text: every box repeats it"
        )


def bounded_header(header: Header) -> Header:
    """Returns the header, with the start of its frame_id only if that is too long."""
    try:
        check_frame_id(header.frame_id)
    except CloudError:
        return Header(stamp=header.stamp, frame_id=printable(header.frame_id))
    return header


def detections_to_cdr(boxes: Boxes3D, class_names: Sequence[str], header: Header) -> bytes:
    """Returns boxes as a serialised vision_msgs/Detection3DArray.

    Args:
        boxes: Boxes in the cloud's frame.
        class_names: Names by label; `class_id` is the lower-case name, as RViz's plugin expects.
        header: The cloud's header.

    Returns:
        The bytes that rclpy makes of a message with one detection a box, in the boxes' order; the
        covariance is zero, which means unknown.
    """
    header = bounded_header(header)
    begin = array_begin(Detection3DArray(header=header), len(boxes))
    if len(boxes) == 0:
        return joined(begin)
    stencils = _detection_stencils(header.frame_id, tuple(class_names))
    detections = Messages(stencils, boxes.labels, len(begin))
    set_stamp(detections, header)
    pose = poses(boxes)
    detections.set("results[0].hypothesis.score", boxes.scores[:, None])
    detections.set("results[0].pose.pose", pose)
    detections.set("bbox.center", pose)
    detections.set("bbox.size", boxes.boxes[:, 3:6])
    return joined(begin, detections)


@lru_cache(maxsize=8)
def _detection_stencils(frame_id: str, class_names: tuple[str, ...]) -> Stencils:
    header = Header(frame_id=frame_id)
    examples = []
    for name in class_names:
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = name.lower()
        examples.append(Detection3D(header=header, results=[result]))
    return Stencils(examples)


def poses(boxes: Boxes3D) -> NDArray[np.float64]:
    """Returns (N, 7) positions and orientations (x, y, z, w of a rotation about z) of boxes."""
    pose = np.zeros((len(boxes), 7))
    pose[:, :3] = boxes.boxes[:, :3]
    half = (0.5 * boxes.boxes[:, 6].astype(np.float64)).tolist()
    # numpy's sine and cosine differ in the last bit between processors.
    pose[:, 5] = list(map(math.sin, half))
    pose[:, 6] = list(map(math.cos, half))
    return pose


def array_begin(empty: Any, length: int) -> bytes:
    """Returns the bytes before the elements of a message that ends with a sequence of them."""
    begin = Stencil(empty).words.tobytes()
    return begin[:-4] + length.to_bytes(4, "little")


def set_stamp(messages: Messages, header: Header) -> None:
    """Sets the stamp of all messages to that of a header."""
    messages.set("header.stamp.sec", header.stamp.sec)
    messages.set("header.stamp.nanosec", header.stamp.nanosec)


def health_to_msg(report: HealthReport, counts: PointCounts, header: Header) -> EntropyHealth:
    """Returns a frame's health as a message."""
    msg = EntropyHealth(header=bounded_header(header))
    msg.level = level_byte(report.level)
    msg.score = float(report.score)
    msg.smoothed_score = float(report.smoothed_score)
    msg.threshold = float(report.threshold)
    msg.eloss = float(report.eloss)
    msg.eloss_ratio = float(report.eloss_ratio)
    msg.layer_names = list(report.layer_names)
    msg.layer_entropy = _float_array(report.layer_entropy)
    msg.entropy_change = _float_array(report.entropy_change)
    msg.normal_mean = _float_array(report.layer_mean)
    msg.normal_std = _float_array(report.layer_std)
    msg.check_names = list(report.check_names)
    msg.check_ratio = _float_array(report.check_ratios)
    msg.likely_cause = report.likely_cause
    msg.num_points = counts.num_in_range
    msg.num_pillars = counts.num_occupied
    msg.num_non_finite = counts.num_non_finite
    msg.num_out_of_range = counts.num_out_of_range
    msg.reason = printable(report.reason, MAX_REASON)
    return msg


def health_unavailable_to_msg(
    level: HealthLevel, reason: str, reference: HealthReference, header: Header
) -> EntropyHealth:
    """Returns the message for a dropped frame (ERROR), or for no scan at all (STALE).

    Readings are NaN, not 0, so that nobody plots or averages them; the normal band is filled in.
    """
    unread = array("f", [math.nan] * len(reference.layer_names))
    msg = EntropyHealth(header=bounded_header(header))
    msg.level = level_byte(level)
    msg.score = msg.smoothed_score = msg.eloss = msg.eloss_ratio = math.nan
    msg.threshold = float(reference.threshold)
    msg.layer_names = list(reference.layer_names)
    msg.layer_entropy = unread
    msg.entropy_change = unread[1:]
    msg.normal_mean = _float_array(reference.layer_mean)
    msg.normal_std = _float_array(reference.layer_std)
    msg.check_names = list(reference.checks)
    msg.check_ratio = array("f", [math.nan] * len(reference.checks))
    msg.reason = printable(reason, MAX_REASON)
    return msg


def processing_time_to_msg(
    durations: Durations, num_dropped: int, header: Header
) -> ProcessingTime:
    """Returns the durations of a scan and the number of scans dropped so far as a message."""
    return ProcessingTime(
        header=bounded_header(header), num_frames_dropped=num_dropped, **durations._asdict()
    )


def stamp_ns(header: Header) -> int:
    """Returns a header's stamp [ns], whatever sec and nanosec are."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def pipeline_latency_ms(now_ns: int, header: Header) -> float:
    """Returns the age of a scan [ms]: the node's clock minus the header's stamp.

    NaN where the stamp is in the future or more than a minute old, so not of the node's clock: that
    of a bag replayed without simulated time, for example.
    """
    age_ns = now_ns - stamp_ns(header)
    return age_ns * 1e-6 if 0 <= age_ns < _MAX_PIPELINE_LATENCY_S * 1e9 else math.nan


def level_byte(level: HealthLevel) -> bytes:
    """Returns a level as rclpy takes a `byte` field."""
    return bytes([int(level)])


def _float_array(values: NDArray[np.floating]) -> array[float]:
    # rosidl takes array.array as it is, and copies any other sequence element by element.
    return array("f", np.asarray(values, dtype=np.float32).tobytes())
