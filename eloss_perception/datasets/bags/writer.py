# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a rosbag2 folder that appears under its name only once it is complete.

`BagWriter` writes at once, `BagSink` from a thread of its own, so that the disk never holds up DDS.
"""

from __future__ import annotations

import queue
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys.store import Typestore

from eloss_perception.datasets.bags.definitions import InstalledTypes
from eloss_perception.datasets.bags.messages import TYPESTORE
from eloss_perception.errors import ConfigError, DataError, ElossError
from eloss_perception.files import new_folder

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}

# Metadata version 8 is the newest that Humble reads as well: later ones spell QoS differently.
_METADATA_VERSION = 8
# RMW_DURATION_INFINITE, as rosbag2 itself writes it.
_INFINITE = QosTime(9223372036, 854775807)
# A disk that stalls may cost memory, but not all of it: this much waits, then messages are lost.
_MAX_WAITING_BYTES = 1_000_000_000


def offered_qos(*, reliable: bool = True, transient_local: bool = False, depth: int = 5) -> Qos:
    """The QoS profile with which a topic is to be published again."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if transient_local else QosDurability.VOLATILE,
        deadline=_INFINITE,
        lifespan=_INFINITE,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_INFINITE,
        avoid_ros_namespace_conventions=False,
    )


STREAM_QOS = offered_qos()
LATCHED_QOS = offered_qos(transient_local=True, depth=1)


class BagWriter:
    """A rosbag2 being written; use as a context manager.

    It appears under its name on a clean exit; when the block raises, nothing is left behind.

    Args:
        path: The bag's folder; must not exist unless `overwrite`.
        storage: ``mcap`` or ``sqlite3``.
        overwrite: Replace a bag of this name, once the new one is complete.
        typestore: Knows the types that are written.

    Raises:
        ConfigError: Unknown storage.
        DataError: The folder exists, is no bag, or cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        storage: str = "mcap",
        *,
        overwrite: bool = False,
        typestore: Typestore = TYPESTORE,
    ) -> None:
        if storage not in STORAGES:
            raise ConfigError(f"unknown storage {storage!r}; valid are {', '.join(STORAGES)}")
        self.path = Path(path).absolute()
        if self.path.exists():
            if not overwrite:
                raise DataError(f"{self.path} exists; choose another name or remove it")
            if not (self.path / "metadata.yaml").is_file():
                raise DataError(f"{self.path} exists and is no bag; it is not replaced")
        self._overwrite = overwrite
        self._storage = STORAGES[storage]
        self._typestore = typestore
        self._topics: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        with ExitStack() as stack:
            folder = stack.enter_context(new_folder(self.path, overwrite=self._overwrite))
            # The file takes its folder's name: so there is one of that name within.
            self._workplace = folder / self.path.name
            with self._explained():
                self._writer = Writer(
                    self._workplace, version=_METADATA_VERSION, storage_plugin=self._storage
                )
                self._writer.open()
            self._stack = stack.pop_all()
        return self

    def add_topic(
        self,
        topic: str,
        message_type: str,
        qos: Qos = STREAM_QOS,
        *,
        definition: tuple[str, str] | None = None,
    ) -> None:
        """Announces a topic.

        Args:
            topic: Fully qualified name, such as ``/velodyne_points``.
            message_type: Such as ``sensor_msgs/msg/PointCloud2``.
            qos: Offered profile.
            definition: Message definition and RIHS01 hash of a type the type store does not know.
        """
        text, digest = definition or (None, None)
        with self._explained():
            self._topics[topic] = self._writer.add_connection(
                topic,
                message_type,
                typestore=self._typestore,
                msgdef=text,
                rihs01=digest,
                offered_qos_profiles=[qos],
            )

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        """Writes a message of the type store at a time [ns since the epoch]."""
        connection = self._topics[topic]
        self.write_serialized(
            topic, stamp_ns, self._typestore.serialize_cdr(message, connection.msgtype)
        )

    def write_serialized(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """Writes a message that is CDR already."""
        with self._explained():
            self._writer.write(self._topics[topic], stamp_ns, data)

    @property
    def num_messages(self) -> int:
        """Messages written so far."""
        return sum(self._writer.counts.values())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.push(self._close)
        self._stack.__exit__(exc_type, exc, traceback)

    def _close(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._explained():
            self._writer.__exit__(exc_type, exc, traceback)
        if exc_type is None:
            for file in self._workplace.iterdir():
                file.replace(self._workplace.parent / file.name)
            self._workplace.rmdir()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what the storages raise into one error; OSError is explained further out."""
        try:
            yield
        except (sqlite3.Error, WriterError, struct.error, OverflowError) as error:
            raise DataError(f"{self.path}: cannot write: {error}") from error


class BagSink:
    """Context manager that queues serialized messages and writes them in the background.

    Args:
        path: The bag's folder; it appears on a clean exit.
        storage: ``mcap`` or ``sqlite3``.
        overwrite: Replace a bag of this name.

    Attributes:
        num_lost: Messages lost because the disk did not keep up.
    """

    def __init__(self, path: Path, storage: str = "mcap", *, overwrite: bool = False) -> None:
        self._types = InstalledTypes()
        self._bag = BagWriter(path, storage, overwrite=overwrite, typestore=self._types.typestore)
        self._queue: queue.SimpleQueue[Callable[[BagWriter], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="bag_sink")
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self.num_lost = 0
        self.num_written = 0

    @property
    def is_working(self) -> bool:
        """False once writing has failed."""
        return self._error is None

    def add_topic(self, topic: str, message_type: str, qos: Qos) -> None:
        """Announces a topic.

        Raises:
            DataError: No definition of the type is installed.
        """
        self._types.require(message_type)
        self._queue.put(lambda bag: bag.add_topic(topic, message_type, qos))

    def put(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Queues a CDR message received at a time [ns since the epoch]."""
        with self._lock:
            if self._waiting_bytes > _MAX_WAITING_BYTES:
                self.num_lost += 1
                return
            self._waiting_bytes += len(data)

        def write(bag: BagWriter) -> None:
            bag.write_serialized(topic, stamp_ns, data)
            with self._lock:
                self._waiting_bytes -= len(data)

        self._queue.put(write)

    def _write(self) -> None:
        try:
            with self._bag as bag:
                while (step := self._queue.get()) is not None:
                    step(bag)
                self.num_written = bag.num_messages
        except Exception as error:  # the thread that waits for this one raises it
            self._error = error

    def __enter__(self) -> BagSink:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and exc is None:
            if isinstance(self._error, ElossError):
                raise self._error
            raise DataError(f"recording failed: {self._error}") from self._error
