# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a rosbag2 (MCAP or sqlite3) without ROS; the bag brings its own message types.

The one place that opens a bag. What can be read is read; what is lost, damaged or left out is
reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys.store import Typestore

from eloss_perception.datasets.bags.definitions import recorded_types
from eloss_perception.datasets.bags.folder import (
    find_files,
    open_storage,
    read_metadata,
    read_promises,
)
from eloss_perception.datasets.bags.storage import (
    LZ4_MAGIC,
    NEVER_NS,
    ZSTD_MAGIC,
    Channel,
    OnDamage,
    StorageFile,
    decompress,
)
from eloss_perception.errors import DataError, ElossError, printable


class BagTopic(NamedTuple):
    """A recorded topic: name, message type, offered QoS (None if not recorded), message count."""

    name: str
    message_type: str
    qos: Qos | None
    num_messages: int


class RawMessage(NamedTuple):
    """A recorded message: topic, type, time of recording [ns], CDR bytes, and its place."""

    topic: str
    message_type: str
    stamp_ns: int
    data: bytes
    place: str = ""


class BagReader:
    """An open rosbag2; use as a context manager.

    Args:
        path: The bag's folder, or a single storage file.

    Attributes:
        losses: What the bag is known to have lost, one line each: a file, the end of a file, fewer
            messages than `metadata.yaml` promises.
        warnings: What else is not as it should be: topics left out, counts that differ.

    Raises:
        DataError: Missing, or nothing in it can be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.losses: list[str] = []
        self.warnings: list[str] = []
        self.topics: dict[str, BagTopic] = {}
        self._files: list[StorageFile] = []
        self._typestore: Typestore | None = None
        with ExitStack() as stack:
            try:
                metadata = read_metadata(self.path, self.warnings)
                for file in find_files(self.path, metadata, self.warnings):
                    self._open_file(file, stack)
            except OSError as error:
                raise DataError(f"{error.filename or self.path}: {error.strerror}") from None
            if not self._files:
                raise DataError(self.losses[0])
            promised, encodings = read_promises(self.path, metadata, self.warnings)
            self._collect_topics(encodings)
            if metadata:
                self._compare_counts(promised)
            self._stack = stack.pop_all()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def num_messages(self) -> int:
        """Messages on all topics that can be read."""
        return sum(topic.num_messages for topic in self.topics.values())

    @property
    def start_ns(self) -> int:
        """Time of the first message [ns since the epoch]; 0 without any."""
        return min((f.start_ns for f in self._files if f.start_ns != NEVER_NS), default=0)

    @property
    def end_ns(self) -> int:
        """Time of the last message [ns since the epoch]."""
        return max(file.end_ns for file in self._files)

    def messages(
        self, topics: Sequence[str] | None = None, *, on_damage: OnDamage | None = None
    ) -> Iterator[RawMessage]:
        """Yields the messages in order of recording, one chunk of the file in memory at a time.

        Args:
            topics: Those to read; all if None.
            on_damage: Called with each damage found; reading goes on behind it.

        Raises:
            DataError: Something is damaged that is not among `losses`, and there is no `on_damage`.
        """
        report = on_damage or _raise
        wanted = [t for t in self.topics.values() if topics is None or t.name in topics]
        for file in self._files:
            types = {
                number: (topic.name, topic.message_type)
                for number, channel in file.channels.items()
                for topic in wanted
                if _is_of(channel, topic)
            }
            if not types:
                continue
            damage: list[DataError] = []
            num_read: Counter[int] = Counter()
            for message in file.messages(types, damage.append):
                while damage:
                    report(damage.pop(0))
                num_read[message.channel] += 1
                try:
                    data = _unpacked(message.data)
                except DataError as error:
                    report(DataError(f"{message.place} is damaged: {error}"))
                    continue
                yield RawMessage(*types[message.channel], message.stamp_ns, data, message.place)
            if not damage:
                damage = [
                    DataError(
                        f"{file.path} is damaged: {num_read[number]} of {file.counts[number]}"
                        f" messages of {types[number][0]} were read"
                    )
                    for number in types
                    if num_read[number] < file.counts.get(number, 0)
                ]
            for found in damage:
                report(found)

    @property
    def typestore(self) -> Typestore:
        """The types of this bag; see `recorded_types`."""
        if self._typestore is None:
            self._typestore = recorded_types(
                {c.message_type: c.definition for f in self._files for c in f.channels.values()}
            )
        return self._typestore

    def definition(self, topic: str) -> str:
        """Returns the definition of a topic's type as the bag has it; empty where it has none."""
        channels = (c for file in self._files for c in file.channels.values())
        return next((c.definition[1] for c in channels if c.topic == topic), "")

    def prepare(self, message_type: str) -> None:
        """Generates the code that deserialises messages of a type, so that none waits for it."""
        if message_type in self.typestore.fielddefs:
            self.typestore.get_msgdef(message_type)

    def make(self, message_type: str, /, **fields: Any) -> Any:
        """Returns a message of a type of this bag."""
        return self.typestore.types[message_type](**fields)

    def deserialize(self, message: RawMessage) -> Any:
        """Returns the message as an object with the fields of its type.

        Raises:
            DataError: Its bytes are not of its type, or the type is not defined.
        """
        if message.message_type not in self.typestore.fielddefs:
            raise DataError(f"{message.topic}: no definition of {message.message_type} is known")
        try:
            return self.typestore.deserialize_cdr(message.data, message.message_type)
        except Exception as error:  # what generated code raises on garbage is not promised
            raise DataError(
                f"{message.place or self.path} is damaged: its {len(message.data)} bytes are no"
                f" {message.message_type} ({type(error).__name__} on {message.topic})"
            ) from None

    def _open_file(self, path: Path, stack: ExitStack) -> None:
        """Opens a storage file; one of several that cannot be opened is a loss, no more."""
        try:
            file = open_storage(path, path, stack)
        except DataError as error:
            self.losses.append(str(error))
            return
        stack.callback(file.close)
        self._files.append(file)
        self.losses += file.losses
        self.warnings += file.warnings

    def _collect_topics(self, encodings: dict[str, str]) -> None:
        """Lists the topics that can be read, and warns of those left out."""
        for file in self._files:
            for number, channel in file.channels.items():
                kind = re.sub(r"^(\w+)/(\w+)$", r"\1/msg/\2", channel.message_type)
                encoding = channel.encoding or "cdr"
                if encoding == "cdr":
                    encoding = encodings.get(channel.topic, "cdr")
                channel = channel._replace(message_type=kind, encoding=encoding)
                file.channels[number] = channel
                before = self.topics.get(channel.topic)
                if encoding != "cdr":
                    self._leave_out(channel, f"its encoding is '{printable(encoding)}', not 'cdr'")
                elif not re.fullmatch(r"\w+(/\w+){1,2}", kind, re.ASCII):
                    self._leave_out(channel, "that is no name of a type")
                elif before is not None and before.message_type != kind:
                    self._leave_out(channel, f"it is of {before.message_type} elsewhere in the bag")
                else:
                    count = file.counts.get(number, 0) + (before.num_messages if before else 0)
                    qos = (before.qos if before else None) or _first_qos(channel.qos)
                    self.topics[channel.topic] = BagTopic(channel.topic, kind, qos, count)

    def _leave_out(self, channel: Channel, reason: str) -> None:
        kind = printable(channel.message_type) or "no type"
        text = f"{printable(channel.topic)} ({kind}) is left out: {reason}"
        if text not in self.warnings:
            self.warnings.append(text)

    def _compare_counts(self, promised: Counter[str]) -> None:
        """Notes each topic of which the storage holds another number than the metadata promise."""
        held: Counter[str] = Counter()
        for file in self._files:
            for number, count in file.counts.items():
                held[file.channels[number].topic] += count
        for topic in sorted(held.keys() | promised.keys()):
            if held[topic] != promised[topic]:
                (self.losses if held[topic] < promised[topic] else self.warnings).append(
                    f"{self.path}: metadata.yaml promises {promised[topic]} messages of {topic},"
                    f" the storage holds {held[topic]}"
                )


def _raise(error: ElossError) -> None:
    raise error


def _is_of(channel: Channel, topic: BagTopic) -> bool:
    names = (channel.topic, channel.message_type)
    return channel.encoding == "cdr" and names == (topic.name, topic.message_type)


def _unpacked(data: bytes) -> bytes:
    """A message's CDR, which begins with a zero, be it compressed or not."""
    if not data.startswith((ZSTD_MAGIC, LZ4_MAGIC)):
        return data
    unpacked, is_whole = decompress(data)
    if not is_whole:
        raise DataError("the compressed data are cut off")
    return unpacked


def _first_qos(profiles: str) -> Qos | None:
    try:
        return next(iter(parse_qos(profiles)), None)
    except (
        Exception
    ):  # of a version that is not known: the topic is played without a profile of its own
        return None
