# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is played and when: a bag's messages on an absolute schedule, corrupted and stamped anew.

No ROS in here: the player asks for the next message and when it is due, and publishes its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from eloss_perception.bags import messages
from eloss_perception.bags.reader import BagReader, RawMessage
from eloss_perception.core.sensors import SENSORS
from eloss_perception.replay.restamp import Restamper
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.simulation.corruptions import PointArray
from eloss_perception.simulation.schedule import (
    CorruptionWindow,
    corrupt_on_schedule,
    is_stuck,
)

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
# A frame that comes later than this makes the timing of what follows it doubtful.
LATE_NS = 10_000_000
# Bags to be corrupted hold points as the network takes them.
_SENSOR = SENSORS["kitti_hdl64"]


@dataclass(frozen=True, slots=True)
class DueMessage:
    """A message ready to be published: `due_ns` after the start of playing, at rate 1 or not."""

    topic: str
    message_type: str
    data: bytes
    bag_ns: int
    due_ns: int


@dataclass(slots=True)
class PlaybackReport:
    """What was played.

    Attributes:
        num_published: Messages by topic.
        num_clouds: Point clouds among them.
        num_late: Clouds published more than 10 ms after they were due.
        worst_delay_ms: The latest of them [ms].
    """

    num_published: dict[str, int] = field(default_factory=dict)
    num_clouds: int = 0
    num_late: int = 0
    worst_delay_ms: float = 0.0

    def count(self, message: DueMessage, delay_ns: int) -> None:
        """Adds a message published this long after it was due [ns]."""
        self.num_published[message.topic] = self.num_published.get(message.topic, 0) + 1
        if message.message_type == CLOUD_TYPE:
            self.num_clouds += 1
            self.num_late += delay_ns > LATE_NS
            self.worst_delay_ms = max(self.worst_delay_ms, delay_ns / 1e6)


class Playback:
    """The messages of a bag in the order and at the times they are to be published.

    Args:
        bag: An open bag; it stays the caller's.
        rate: Speed, 1 as recorded.
        loop: Start over at the end.
        corruptions: What the sensor suffers, and when in the bag; needs clouds in the network frame
            with intensity in [0, 1], as `eloss bag` and `eloss simulate` write them.
        topics: Those to play; all if None.
        seed: Draws the corruptions: the same seed, bag and windows give the same scans.
    """

    def __init__(
        self,
        bag: BagReader,
        *,
        rate: float = 1.0,
        loop: bool = False,
        corruptions: Sequence[CorruptionWindow] = (),
        topics: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self._bag = bag
        self._rate = rate
        self._loop = loop
        self._corruptions = tuple(corruptions)
        self._topics = topics
        self._seed = seed
        self._restamper = Restamper(bag.typestore)
        self._stamp_of_moment = (-1, 0)
        # Cloud topic -> its last clean scan: as recorded until something asks for its points.
        self._previous: dict[str, RawMessage | PointArray] = {}

    def __iter__(self) -> Iterator[DueMessage]:
        """Yields the messages; a corrupted cloud is made when asked for, ahead of its time."""
        start_ns = self._bag.start_ns
        turn_offset_ns = 0
        while True:
            frame = 0
            self._previous.clear()
            for raw in self._bag.messages(self._topics):
                data = raw.data
                if raw.message_type == CLOUD_TYPE:
                    data = self._corrupt(raw, (raw.stamp_ns - start_ns) / 1e9, frame)
                    frame += 1
                due_ns = round((turn_offset_ns + raw.stamp_ns - start_ns) / self._rate)
                yield DueMessage(raw.topic, raw.message_type, data, raw.stamp_ns, due_ns)
            if not self._loop:
                return
            turn_offset_ns += self._bag.end_ns - start_ns + self._period_ns()

    def stamp(self, message: DueMessage, now_ns: int) -> bytes:
        """Returns the bytes, stamped now; what was recorded at one time gets one stamp."""
        if self._stamp_of_moment[0] != message.due_ns:
            self._stamp_of_moment = (message.due_ns, now_ns)
        return self._restamper.restamp(message.data, message.message_type, self._stamp_of_moment[1])

    def warm_up(self) -> None:
        """Compiles what the schedule will need, so that no frame waits for it."""
        # One point at a distance and one at the sensor reach both branches of every corruption.
        points = np.array([[10, 0, 0, 0.5], [0, 0, 0, 0]], dtype=np.float32)
        cloud = messages.point_cloud(points, 0, "")
        data = bytes(messages.TYPESTORE.serialize_cdr(cloud, CLOUD_TYPE))
        for window in self._corruptions:
            self._corrupt(RawMessage("", CLOUD_TYPE, 0, data), window.start_s, 0)

    def _corrupt(self, raw: RawMessage, time_s: float, frame: int) -> bytes:
        """Returns the cloud as the sensor delivers it at this time, under the stamp it had.

        A driver that repeats a scan does so under new stamps: it knows no better.
        """
        if not any(window.holds(time_s) for window in self._corruptions):
            self._previous[raw.topic] = raw
            return raw.data
        cloud = self._bag.deserialize(raw)
        points = points_from_msg(cloud, _SENSOR)
        previous = self._previous_points(raw.topic)
        if previous is None or not is_stuck(self._corruptions, time_s):
            self._previous[raw.topic] = points
        points = corrupt_on_schedule(points, self._corruptions, time_s, frame, self._seed, previous)
        stamp_ns = cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec
        corrupted = messages.point_cloud(points, stamp_ns, cloud.header.frame_id)
        return bytes(messages.TYPESTORE.serialize_cdr(corrupted, CLOUD_TYPE))

    def _previous_points(self, topic: str) -> PointArray | None:
        previous = self._previous.get(topic)
        if isinstance(previous, RawMessage):
            previous = points_from_msg(self._bag.deserialize(previous), _SENSOR)
            self._previous[topic] = previous
        return previous

    def _period_ns(self) -> int:
        """Time between two messages of the most frequent topic: the pause before a new turn."""
        most = max(topic.num_messages for topic in self._bag.topics.values())
        return (self._bag.end_ns - self._bag.start_ns) // max(most - 1, 1)
