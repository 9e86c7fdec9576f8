# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's recording scan by scan, its phases, and how many of the true cars were boxed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.datasets.bags.messages import boxes_from_markers
from eloss_perception.datasets.bags.reader import BagReader
from eloss_perception.detection.boxes import (
    CLASS_NAMES,
    Boxes3D,
    bev_iou,
    points_in_boxes,
    wrap_angle,
)
from eloss_perception.detection.sensors import SENSORS
from eloss_perception.errors import DataError
from eloss_perception.replay.drives import GROUND_TRUTH_TOPIC, POINTS_TOPIC
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.simulation.schedule import CorruptionWindow

DETECTOR = "/detector_node"
DETECTIONS_TOPIC = f"{DETECTOR}/output/detections"
HEALTH_TOPIC = f"{DETECTOR}/output/entropy_health"
TIME_TOPIC = f"{DETECTOR}/debug/processing_time"
STAGES = ("preprocess", "inference", "postprocess", "health", "total", "pipeline_latency")


# A true car counts if it stands ahead within this range [m] and shows at least this many points.
CAR_RANGE_M = 40.0
CAR_MIN_POINTS = 10
CAR_MIN_IOU = 0.5


@dataclass(slots=True)
class Frame:
    """One scan and what came back for it.

    Attributes:
        stamp_ns: The scan's stamp.
        time_s: Its place in the drive [s].
        condition: How the scan was corrupted, such as ``fog:4``; empty when clean.
        boxes: The answer; None if there was none.
        health: The EntropyHealth message; None if there was none.
        stage_ms: Milliseconds by stage; empty if there was no answer.
        truth_boxes: (M, 7) true boxes.
        truth_labels: (M,) their classes; -1 is not to be found.
    """

    stamp_ns: int
    time_s: float
    condition: str
    boxes: Boxes3D | None = None
    health: Any | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)
    truth_boxes: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 7), dtype=np.float32)
    )
    truth_labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class DemoRecord:
    """A run of the demo.

    Attributes:
        path: The recording.
        frames: One for each recorded scan, in order.
        num_sent: Scans that the player published.
        num_dropped: Scans that the detector says it received and did not answer.
        num_received: Scans that the detector says it received.
    """

    path: Path
    frames: tuple[Frame, ...]
    num_sent: int
    num_dropped: int
    num_received: int

    @property
    def num_answered(self) -> int:
        """Scans with boxes (or an empty array of them) in return."""
        return sum(frame.boxes is not None for frame in self.frames)

    @property
    def num_undelivered(self) -> int:
        """Scans that never came to the detector: scans are sent with best effort."""
        return self.num_sent - max(self.num_received, self.num_answered + self.num_dropped)

    @property
    def num_lost(self) -> int:
        """Scans received and neither answered nor counted as dropped: there should be none."""
        return max(self.num_received - self.num_answered - self.num_dropped, 0)

    def points(self) -> Iterator[tuple[Frame, npt.NDArray[np.float32]]]:
        """Yields each frame with its points, read again from the recording."""
        by_stamp = {frame.stamp_ns: frame for frame in self.frames}
        with BagReader(self.path) as bag:
            for raw in bag.messages([POINTS_TOPIC]):
                cloud = bag.deserialize(raw)
                yield (
                    by_stamp[_stamp_ns(cloud.header)],
                    points_from_msg(cloud, SENSORS["kitti_hdl64"]),
                )


def read_record(
    path: Path, num_sent: int, period_s: float, corruptions: Sequence[CorruptionWindow]
) -> DemoRecord:
    """Reads a recording of the demo.

    Args:
        path: The recorded bag.
        num_sent: Scans that the player published.
        period_s: Time between two scans of the drive [s].
        corruptions: What was done to them.

    Raises:
        DataError: The bag is unreadable or holds no scan.
    """
    with BagReader(path) as bag:
        stamps = [_stamp_ns(bag.deserialize(raw).header) for raw in bag.messages([POINTS_TOPIC])]
        if not stamps:
            raise DataError(f"{path} holds no scan")
        frames = {}
        for stamp_ns in stamps:
            # The player's clock jitters by a millisecond; the drive's own does not.
            time_s = round((stamp_ns - stamps[0]) / 1e9 / period_s) * period_s
            active = [f"{w.name}:{w.severity}" for w in corruptions if w.holds(time_s + 1e-6)]
            frames[stamp_ns] = Frame(stamp_ns, time_s, " + ".join(active))
        num_dropped = num_received = 0
        topics = (DETECTIONS_TOPIC, HEALTH_TOPIC, TIME_TOPIC, GROUND_TRUTH_TOPIC, "/diagnostics")
        for raw in bag.messages(topics):
            message = bag.deserialize(raw)
            if raw.topic == "/diagnostics":
                num_dropped = max(num_dropped, _count_of_input(message, "num_dropped"))
                num_received = max(num_received, _count_of_input(message, "num_received"))
                continue
            if raw.topic == GROUND_TRUTH_TOPIC:
                frame = frames.get(_stamp_ns(message.markers[0].header))
                if frame is not None:
                    frame.truth_boxes, frame.truth_labels = boxes_from_markers(message)
                continue
            if raw.topic == TIME_TOPIC:
                num_dropped = max(num_dropped, int(message.num_frames_dropped))
            frame = frames.get(_stamp_ns(message.header))
            if frame is None:
                continue  # A STALE message carries its own time.
            if raw.topic == DETECTIONS_TOPIC:
                frame.boxes = boxes_from_detections(message)
            elif raw.topic == HEALTH_TOPIC:
                frame.health = message
            else:
                frame.stage_ms = {name: float(getattr(message, f"{name}_ms")) for name in STAGES}
    return DemoRecord(path, tuple(frames.values()), num_sent, num_dropped, num_received)


def boxes_from_detections(message: Any) -> Boxes3D:
    """Returns a vision_msgs/Detection3DArray as boxes; unknown classes get label -1."""
    label_of = {name.lower(): label for label, name in enumerate(CLASS_NAMES)}
    boxes, scores, labels = [], [], []
    for detection in message.detections:
        position, orientation = detection.bbox.center.position, detection.bbox.center.orientation
        size = detection.bbox.size
        yaw = 2.0 * float(np.arctan2(orientation.z, orientation.w))
        boxes.append((position.x, position.y, position.z, size.x, size.y, size.z, yaw))
        hypothesis = detection.results[0].hypothesis
        scores.append(hypothesis.score)
        labels.append(label_of.get(hypothesis.class_id.lower(), -1))
    array = np.array(boxes, dtype=np.float32).reshape(-1, 7)
    array[:, 6] = wrap_angle(array[:, 6])
    return Boxes3D(
        array, np.array(scores, dtype=np.float32), np.array(labels, dtype=np.int64).reshape(-1)
    )


def _count_of_input(message: Any, key: str) -> int:
    """The detector's own count, once a second: it includes drops after the last answer."""
    counts = [
        int(entry.value)
        for status in message.status
        if status.name.endswith(": input")
        for entry in status.values
        if entry.key == key
    ]
    return max(counts, default=0)


def _stamp_ns(header: Any) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive scans under the same condition."""

    title: str
    frames: tuple[Frame, ...]

    @property
    def start_s(self) -> float:
        """When it begins [s]."""
        return self.frames[0].time_s


def phases_of(frames: Sequence[Frame]) -> list[Phase]:
    """Groups a drive by how its scans were corrupted."""
    phases: list[Phase] = []
    for condition, group in groupby(frames, key=lambda frame: frame.condition):
        title = condition or ("recovery" if phases else "clean")
        phases.append(Phase(title, tuple(group)))
    return phases


@dataclass(frozen=True, slots=True)
class CarsFound:
    """How many of the true cars ahead were boxed, by the frame's stamp."""

    num_true: dict[int, int]
    num_found: dict[int, int]

    def share(self, frames: Iterable[Frame]) -> float | None:
        """Share found in these frames; None where there was no car."""
        stamps = [frame.stamp_ns for frame in frames]
        total = sum(self.num_true.get(stamp, 0) for stamp in stamps)
        return sum(self.num_found.get(stamp, 0) for stamp in stamps) / total if total else None


def count_cars(frame: Frame, points: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Returns the number of true cars ahead that the scan shows, and how many of them are boxed."""
    x, y = frame.truth_boxes[:, 0], frame.truth_boxes[:, 1]
    is_car = (frame.truth_labels == 0) & (x > 2.0) & (np.hypot(x, y) < CAR_RANGE_M)
    is_car &= np.abs(y) < x  # within 45 degrees of straight ahead
    cars = frame.truth_boxes[is_car]
    inside = points_in_boxes(points, cars)
    cars = cars[np.bincount(inside[inside >= 0], minlength=len(cars)) >= CAR_MIN_POINTS]
    if frame.boxes is None or not len(cars):
        return len(cars), 0
    found = frame.boxes.boxes[frame.boxes.labels == 0]
    overlap = bev_iou(cars, found)
    return len(cars), int((overlap.max(axis=1, initial=0.0) >= CAR_MIN_IOU).sum())
