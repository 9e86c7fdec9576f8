# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is played and when: a bag's messages on an absolute schedule, corrupted and stamped anew.

No ROS in here: the player asks for the next message and when it is due, and publishes its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eloss_perception.datasets.bags import CLOUD_TYPE
from eloss_perception.datasets.bags.reader import BagReader, RawMessage
from eloss_perception.datasets.bags.storage import OnDamage
from eloss_perception.detection.sensors import SensorModel, find_sensor
from eloss_perception.errors import CloudError, DataError
from eloss_perception.replay.message_edits import CloudRows, Restamper, likely_sensor
from eloss_perception.simulation.schedule import (
    CorruptionWindow,
    corrupt_on_schedule,
    is_stuck,
)

# A frame that comes later than this makes the timing of what follows it doubtful.
LATE_NS = 10_000_000
# A turn of a loop takes at least as long as a LiDAR's: one message alone has no period.
MIN_TURN_NS = 100_000_000
# A bag may be damaged all over: this much of it is told in words.
_MAX_TOLD = 10


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
        num_damaged: How often a message, a chunk or a file could not be read.
        damage: What and where, the first ten.
    """

    num_published: dict[str, int] = field(default_factory=dict)
    num_clouds: int = 0
    num_late: int = 0
    worst_delay_ms: float = 0.0
    num_damaged: int = 0
    damage: list[str] = field(default_factory=list)

    def add_damage(self, error: DataError) -> bool:
        """Takes down what could not be read; returns whether it is worth telling."""
        self.num_damaged += 1
        is_new = len(self.damage) < _MAX_TOLD
        if is_new:
            self.damage.append(str(error))
        return is_new

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
        corruptions: What the sensor suffers, and when in the bag.
        sensor: What recorded the clouds that are to be corrupted; None to go by their intensity.
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
        sensor: SensorModel | None = None,
        topics: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self._bag = bag
        self._rate = rate
        self._loop = loop
        self._corruptions = tuple(corruptions)
        self._topics = topics
        self._seed = seed
        self.sensor = sensor
        self._restamper = Restamper(bag.typestore)
        self._stamp_of_moment = (-1, 0)
        # Cloud topic -> its last clean scan.
        self._previous: dict[str, CloudRows | Any] = {}

    def __iter__(self) -> Iterator[DueMessage]:
        """Yields the messages; raises `DataError` at the first that cannot be read."""
        return self.messages()

    def messages(self, on_damage: OnDamage | None = None) -> Iterator[DueMessage]:
        """Yields the messages; a corrupted cloud is made when asked for, ahead of its time.

        Args:
            on_damage: Called with what cannot be read, which is left out; None to raise it.

        Raises:
            DataError: There is no message, or none that can be read.
        """
        start_ns = self._bag.start_ns
        turn_offset_ns = 0
        while True:
            frame = number = 0
            self._previous.clear()
            for raw in self._bag.messages(self._topics, on_damage=on_damage):
                data = raw.data
                if raw.message_type == CLOUD_TYPE:
                    try:
                        data = self._corrupt(raw, (raw.stamp_ns - start_ns) / 1e9, frame)
                    except DataError as error:
                        if on_damage is None:
                            raise
                        on_damage(error)
                        continue
                    frame += 1
                number += 1
                due_ns = round((turn_offset_ns + raw.stamp_ns - start_ns) / self._rate)
                yield DueMessage(raw.topic, raw.message_type, data, raw.stamp_ns, due_ns)
            if not number:
                what = ", ".join(self._topics or sorted(self._bag.topics)) or "no topic at all"
                raise DataError(f"{self._bag.path} holds no message that can be read: {what}")
            if not self._loop:
                return
            turn_ns = self._bag.end_ns - start_ns + self._period_ns()
            turn_offset_ns += max(turn_ns, MIN_TURN_NS)

    def stamp(self, message: DueMessage, now_ns: int) -> bytes:
        """Returns the bytes, stamped now; what was recorded at one time gets one stamp."""
        if self._stamp_of_moment[0] != message.due_ns:
            self._stamp_of_moment = (message.due_ns, now_ns)
        return self._restamper.restamp(message.data, message.message_type, self._stamp_of_moment[1])

    def warm_up(self) -> None:
        """Compiles what the schedule will need, so that no frame waits for it."""
        # One point at a distance and one at the sensor reach both branches of every corruption.
        points = np.array([[10, 0, 0, 0.5, 0], [0, 0, 0, 0, 1]], dtype=np.float32)
        for window in self._corruptions:
            corrupt_on_schedule(points, [window], window.start_s, 0, self._seed)
        for topic in self._bag.topics.values():
            if self._topics is None or topic.name in self._topics:
                self._bag.prepare(topic.message_type)

    def _corrupt(self, raw: RawMessage, time_s: float, frame: int) -> bytes:
        """Returns the cloud as the sensor delivers it at this time, under the stamp it had.

        A driver that repeats a scan does so under new stamps: it knows no better.
        """
        cloud = self._bag.deserialize(raw)
        if not any(window.holds(time_s) for window in self._corruptions):
            self._previous[raw.topic] = cloud
            return raw.data
        try:
            if self.sensor is None:
                self.sensor = find_sensor(likely_sensor(cloud))
            scan = CloudRows.of(cloud, self.sensor)
            before = self._previous_scan(raw.topic, scan, self.sensor)
        except CloudError as error:
            raise DataError(
                f"{raw.place}: the cloud of {raw.topic} cannot be read: {error}"
            ) from None
        if before is None or not is_stuck(self._corruptions, time_s):
            self._previous[raw.topic] = scan
        points = corrupt_on_schedule(
            scan.measured(),
            self._corruptions,
            time_s,
            frame,
            self._seed,
            None if before is None else before.measured(len(scan.rows)),
        )
        corrupted = scan.message(points, before, self._bag.make)
        return bytes(self._bag.typestore.serialize_cdr(corrupted, CLOUD_TYPE))

    def _previous_scan(self, topic: str, scan: CloudRows, sensor: SensorModel) -> CloudRows | None:
        previous = self._previous.get(topic)
        if previous is not None and not isinstance(previous, CloudRows):
            previous = CloudRows.of(previous, sensor)
        return previous if previous is not None and scan.fits(previous) else None

    def _period_ns(self) -> int:
        """Time between two messages of the most frequent topic: the pause before a new turn."""
        topics = self._bag.topics.values()
        played = [t for t in topics if self._topics is None or t.name in self._topics]
        most = max(topic.num_messages for topic in played)
        return (self._bag.end_ns - self._bag.start_ns) // max(most - 1, 1)
