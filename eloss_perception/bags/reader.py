# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a rosbag2 folder (MCAP or sqlite3) without ROS; the bag brings its own message types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat, Qos
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from eloss_perception.errors import DataError


class BagTopic(NamedTuple):
    """A recorded topic: name, message type, offered QoS (None if not recorded), message count."""

    name: str
    message_type: str
    qos: Qos | None
    num_messages: int


class RawMessage(NamedTuple):
    """A recorded message: topic, type, time of recording [ns], CDR bytes."""

    topic: str
    message_type: str
    stamp_ns: int
    data: bytes


class BagReader:
    """An open rosbag2; use as a context manager.

    Args:
        path: The bag's folder.

    Raises:
        DataError: Missing, incomplete or no rosbag2.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(f"{self.path} does not exist")
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except (ReaderError, OSError, KeyError, ValueError) as error:
            raise DataError(f"{self.path} is no readable rosbag2: {error}") from error
        self._typestore: Typestore | None = None

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def topics(self) -> dict[str, BagTopic]:
        """The topics by name."""
        return {
            connection.topic: BagTopic(
                connection.topic, connection.msgtype, _first_qos(connection), connection.msgcount
            )
            for connection in self._reader.connections
        }

    @property
    def start_ns(self) -> int:
        """Time of the first message [ns since the epoch]."""
        return self._reader.start_time

    @property
    def end_ns(self) -> int:
        """Time of the last message [ns since the epoch]."""
        # rosbags counts the end as exclusive.
        return self._reader.end_time - 1

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[RawMessage]:
        """Yields the messages in order of recording, one chunk of the file in memory at a time.

        Raises:
            DataError: The file is damaged.
        """
        connections = [
            connection
            for connection in self._reader.connections
            if topics is None or connection.topic in topics
        ]
        if not connections:
            return
        try:
            for connection, stamp_ns, data in self._reader.messages(connections=connections):
                yield RawMessage(connection.topic, connection.msgtype, stamp_ns, bytes(data))
        except (ReaderError, OSError) as error:
            raise DataError(f"{self.path} is damaged: {error}") from error

    @property
    def typestore(self) -> Typestore:
        """The types of this bag, from the definitions it carries."""
        if self._typestore is None:
            self._typestore = get_typestore(Stores.ROS2_HUMBLE)
            for connection in self._reader.connections:
                _register(self._typestore, connection)
        return self._typestore

    def deserialize(self, message: RawMessage) -> Any:
        """Returns the message as an object with the fields of its type."""
        return self.typestore.deserialize_cdr(message.data, message.message_type)


def _first_qos(connection: Connection) -> Qos | None:
    if isinstance(connection.ext, ConnectionExtRosbag2) and connection.ext.offered_qos_profiles:
        return connection.ext.offered_qos_profiles[0]
    return None


def _register(typestore: Typestore, connection: Connection) -> None:
    """Adds the types a connection defines; those already known stay as they are."""
    definition = connection.msgdef
    if definition.format == MessageDefinitionFormat.MSG:
        types = get_types_from_msg(definition.data, connection.msgtype)
    elif definition.format == MessageDefinitionFormat.IDL:
        types = get_types_from_idl(definition.data)
    else:
        return
    known = typestore.fielddefs
    with suppress(KeyError):
        typestore.register({name: body for name, body in types.items() if name not in known})
