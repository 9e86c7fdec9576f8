# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bag that is written from a thread of its own, so that the disk never holds up DDS."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Qos

from eloss_perception.datasets.bags.definitions import InstalledTypes
from eloss_perception.datasets.bags.writer import BagWriter
from eloss_perception.errors import DataError, ElossError

# A disk that stalls may cost memory, but not all of it: this much waits, then messages are lost.
_MAX_WAITING_BYTES = 1_000_000_000


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
