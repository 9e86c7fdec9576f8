# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a rosbag2 sqlite3 file of any version, and what its write-ahead log holds."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

from eloss_perception.datasets.bags.storage import (
    NEVER_NS,
    Channel,
    OnDamage,
    StorageFile,
    StoredMessage,
)
from eloss_perception.errors import DataError
from eloss_perception.interrupts import check_interrupt

MAGIC = b"SQLite format 3\x00"

# What a recorder that was killed leaves beside its file: messages, or a rollback journal.
_JOURNALS = ("-wal", "-journal")
_ROWS_PER_CHECK = 1000  # for Ctrl-C


class SqliteFile(StorageFile):
    """An open sqlite3 file; it and what lies beside it stay as they are.

    Raises:
        DataError: It cannot be read as a rosbag2.
    """

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        super().__init__(shown or path)
        self._is_damaged = False
        with ExitStack() as stack:
            try:
                self._database = stack.enter_context(closing(self._connect(path, stack)))
                self._read_topics()
            except sqlite3.Error as error:
                raise DataError(f"{self.path} is no readable rosbag2: {error}") from None
            try:
                self._count()
            except sqlite3.DatabaseError:
                self._count_one_by_one()
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Closes the file."""
        self._stack.close()

    def _connect(self, path: Path, stack: ExitStack) -> sqlite3.Connection:
        journals = [j for j in (Path(f"{path}{end}") for end in _JOURNALS) if _has_content(j)]
        size, wanted = path.stat().st_size, _size_by_header(path)
        if not journals and size < wanted:
            self.losses.append(f"{self.path} is cut off: {size} of {wanted} bytes are there")
        elif not journals:
            # Not even a shared-memory file appears beside it; read-only folders will do.
            return _open(path.absolute(), "?mode=ro&immutable=1")
        # sqlite merges a journal by writing, and refuses a file that is too short: a copy it is.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eloss_bag_"))
        copy = Path(folder, path.name)
        try:
            for source in (path, *journals):
                shutil.copyfile(source, Path(folder, source.name))
            if not journals:
                os.truncate(copy, wanted)
        except OSError as error:
            raise DataError(
                f"{self.path} was not closed and is read from a copy, which cannot be made in"
                f" {folder}: {error.strerror}; TMPDIR names another place"
            ) from None
        return _open(copy, "")

    def _read_topics(self) -> None:
        definitions: dict[str, tuple[str, str]] = {}
        if self._columns("message_definitions"):
            for name, language, text in self._database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                definitions.setdefault(str(name), (str(language), str(text)))
        columns = self._columns("topics")
        if not columns or not self._columns("messages"):
            raise DataError(f"{self.path} is no rosbag2: it has no table of topics and messages")
        # Before Eloquent there was no profile.
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        for number, topic, kind, encoding, profiles in self._database.execute(
            f"SELECT id, name, type, serialization_format, {qos} FROM topics"
        ):
            self.channels[int(number)] = Channel(
                str(topic), str(kind), str(encoding), str(profiles), definitions.get(kind, ("", ""))
            )

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _count(self) -> None:
        for topic, count, first, last in self._database.execute(
            "SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages"
            " GROUP BY topic_id"
        ):
            if topic not in self.channels:
                self.losses.append(f"{self.path}: {count} messages belong to no topic")
                continue
            self.counts[topic] = count
            self.start_ns, self.end_ns = min(self.start_ns, first), max(self.end_ns, last)
        # Messages are read in the order of an index, which may be damaged on its own.
        self._database.execute("SELECT count(timestamp) FROM messages").fetchone()

    def _count_one_by_one(self) -> None:
        """Goes through a damaged file row by row, as far as there are any."""
        self._is_damaged = True
        self.counts.clear()
        self.start_ns, self.end_ns = NEVER_NS, 0
        rows = 0
        query = "SELECT topic_id, timestamp FROM messages NOT INDEXED"
        try:
            for topic, stamp_ns in self._database.execute(query):
                rows += 1
                if topic in self.channels:
                    self.counts[topic] = self.counts.get(topic, 0) + 1
                    self.start_ns = min(self.start_ns, stamp_ns)
                    self.end_ns = max(self.end_ns, stamp_ns)
        except sqlite3.DatabaseError as error:
            self.losses.append(f"{self.path} is damaged: {error} after {rows} messages")

    def messages(self, channels: Collection[int], on_damage: OnDamage) -> Iterator[StoredMessage]:
        """Yields messages in order of time; of a damaged file, in that of recording."""
        numbers = ",".join(str(int(channel)) for channel in channels)
        query = "SELECT id, topic_id, timestamp, data FROM messages"
        query += " NOT INDEXED" if self._is_damaged else ""
        query += f" WHERE topic_id IN ({numbers})"
        query += " ORDER BY id" if self._is_damaged else " ORDER BY timestamp, id"
        done = 0
        cursor = self._database.cursor()
        try:
            for row, channel, stamp_ns, data in cursor.execute(query):
                done += 1
                if done % _ROWS_PER_CHECK == 0:
                    check_interrupt()
                place = f"{self.path}, row {row}"
                if isinstance(data, bytes) and isinstance(stamp_ns, int):
                    yield StoredMessage(channel, stamp_ns, data, place)
                else:
                    on_damage(DataError(f"{place} is damaged: it holds no message"))
        except sqlite3.DatabaseError as error:
            if not self._is_damaged:  # else it is among the losses
                on_damage(DataError(f"{self.path} is damaged: {error} after {done} messages"))
        finally:
            cursor.close()


def _open(path: Path, options: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}{options}"
    database = sqlite3.connect(address, uri=True, check_same_thread=False)
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    return database


def _size_by_header(path: Path) -> int:
    """Bytes that the file's header says it has; 0 where an old sqlite did not write that down."""
    with path.open("rb") as stream:
        head = stream.read(100)
    if len(head) < 100 or head[24:28] != head[92:96]:
        return 0
    page = int.from_bytes(head[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
