# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads an MCAP file (https://mcap.dev/spec), whole or not: no index, no footer, damaged chunks.

A file whose summary can be trusted is read by its index, one chunk in memory at a time. Any other
is walked through once, record by record, as far as there are records.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from eloss_perception.datasets.bags.storage import (
    MAX_BYTES,
    NEVER_NS,
    Channel,
    OnDamage,
    StorageFile,
    StoredMessage,
    decompress,
)
from eloss_perception.errors import DataError
from eloss_perception.interrupts import check_interrupt

MAGIC = b"\x89MCAP0\r\n"

_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_CHUNK_INDEX, _STATISTICS, _DATA_END = 0x08, 0x0B, 0x0F
_LAST_OPCODE = 0x0F
# Opcodes from here on are for private records, which are passed over.
_FIRST_PRIVATE_OPCODE = 0x80
_RECORD_HEAD, _MESSAGE_HEAD = struct.Struct("<BQ"), struct.Struct("<HIQQ")
_FOOTER_HEAD = _RECORD_HEAD.pack(_FOOTER, 20)
_FOOTER_BYTES = 37  # with the magic behind it


class _Entry(NamedTuple):
    """A chunk, or a message outside of chunks: its first time [ns], where it is, what is in it."""

    start_ns: int
    offset: int
    channels: frozenset[int] | None  # None: not known


class McapFile(StorageFile):
    """An open MCAP file; raises DataError where it does not begin as one."""

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        super().__init__(shown or path)
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._entries: list[_Entry] = []
        self._cut_at = -1
        self._first_damage: DataError | None = None
        self._stream = path.open("rb")
        self._size = path.stat().st_size
        try:
            if self._stream.read(8) != MAGIC:
                raise DataError(f"{self.path} does not begin as an MCAP file")
            if not self._read_summary():
                self._walk()
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def messages(self, channels: Collection[int], on_damage: OnDamage) -> Iterator[StoredMessage]:
        """Yields messages in order of time; chunks may overlap."""
        waiting: list[tuple[int, int, StoredMessage]] = []
        order = 0
        for entry in sorted(self._entries):
            check_interrupt()
            if entry.channels is not None and entry.channels.isdisjoint(channels):
                continue
            while waiting and waiting[0][0] < entry.start_ns:
                yield heapq.heappop(waiting)[2]
            try:
                for message in self._read_entry(entry.offset):
                    if message.channel in channels:
                        heapq.heappush(waiting, (message.stamp_ns, order, message))
                        order += 1
            except DataError as error:
                if entry.offset != self._cut_at:
                    on_damage(error)
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _read_summary(self) -> bool:
        """Reads schemas, channels, index and counts behind the data; False if one is missing."""
        self._stream.seek(max(self._size - _FOOTER_BYTES, 0))
        tail = self._stream.read()
        has_footer = tail.startswith(_FOOTER_HEAD) and tail.endswith(MAGIC)
        if len(tail) != _FOOTER_BYTES or not has_footer:
            return False
        start, _, crc = struct.unpack_from("<QQI", tail, 9)
        if not 0 < start <= self._size - _FOOTER_BYTES:
            return False
        self._stream.seek(start)
        summary = self._stream.read(self._size - _FOOTER_BYTES - start)
        if crc and crc32(summary + tail[:25]) != crc:
            return False
        statistics = b""
        try:
            for opcode, content, _ in _records(summary, start):
                if opcode == _CHUNK_INDEX:
                    first_ns, _, offset, _, size = struct.unpack_from("<QQQQI", content)
                    indexed = struct.iter_unpack("<HQ", content[36 : 36 + size])
                    ids = frozenset(channel for channel, _ in indexed)
                    self._entries.append(_Entry(first_ns, offset, ids or None))
                elif opcode == _STATISTICS:
                    statistics = content
                else:
                    self._define(opcode, content)
            total, _, _, _, _, num_chunks, self.start_ns, self.end_ns, size = struct.unpack_from(
                "<QHIIIIQQI", statistics
            )
            self.counts = dict(struct.iter_unpack("<HQ", statistics[46 : 46 + size]))
        except (DataError, struct.error, UnicodeDecodeError):
            total, num_chunks = 1, 0
        # Counts without the channels, a chunk that is not listed, messages outside of chunks: the
        # summary is not all of it.
        has_chunks = num_chunks == len(self._entries) and (num_chunks or not total)
        has_counts = sum(self.counts.values()) == total
        if has_chunks and has_counts and self.counts.keys() <= self.channels.keys():
            return True
        self.channels, self.counts, self._schemas, self._entries = {}, {}, {}, []
        self.start_ns, self.end_ns = NEVER_NS, 0
        return False

    def _walk(self) -> None:
        """Collects from all records what a summary would say."""
        position, has_end = len(MAGIC), False
        while position < self._size and not has_end:
            check_interrupt()
            self._stream.seek(position)
            head = self._stream.read(_RECORD_HEAD.size)
            if head == MAGIC:
                break
            opcode, size = _RECORD_HEAD.unpack(head.ljust(9, b"\xff"))
            end = position + _RECORD_HEAD.size + size
            if end > self._size or len(head) < 9:
                self.losses.append(
                    f"{self.path}: the file ends in the middle of a record at byte {position}"
                )
                if opcode == _CHUNK and len(head) == 9:
                    self._cut_at = position  # what is there of it is served
                    self._walk_entry(position)
                break
            if not _is_opcode(opcode):
                rest = self._size - position
                what = f"no record at byte {position}; the last {rest} bytes cannot be read"
                self.losses.append(f"{self.path}: {what}")
                break
            if opcode in (_FOOTER, _DATA_END):
                has_end = True
            elif opcode in (_CHUNK, _MESSAGE):
                self._walk_entry(position)
            elif opcode in (_SCHEMA, _CHANNEL) and size <= MAX_BYTES:
                try:
                    self._define(opcode, self._stream.read(size))
                except (struct.error, UnicodeDecodeError):
                    self.losses.append(f"{self.path}: the record at byte {position} is damaged")
            position = end
        if self._first_damage is not None and not self.channels:
            raise self._first_damage  # nobody can ask for the messages
        if not has_end and not self.losses:
            self.warnings.append(f"{self.path} has no end: its recording was not closed")

    def _walk_entry(self, position: int) -> None:
        """Indexes a chunk or a message."""
        found: dict[int, int] = {}
        times: list[int] = []
        whole = True
        try:
            for message in self._read_entry(position, defining=True):
                found[message.channel] = found.get(message.channel, 0) + 1
                times.append(message.stamp_ns)
        except DataError as error:
            whole = False  # reported when the messages are read
            self._first_damage = self._first_damage or error
        for channel, count in found.items():
            self.counts[channel] = self.counts.get(channel, 0) + count
        if times or not whole:
            first_ns = min(times, default=self.end_ns)
            self._entries.append(_Entry(first_ns, position, frozenset(found) if whole else None))
            self.start_ns = min(self.start_ns, first_ns)
            self.end_ns = max(self.end_ns, *times, first_ns)

    def _read_entry(self, offset: int, defining: bool = False) -> Iterator[StoredMessage]:
        """Yields the messages of the chunk, or the message, that begins at a byte of the file.

        Raises:
            DataError: It is damaged; what could be read has been yielded.
        """
        self._stream.seek(offset)
        head = self._stream.read(_RECORD_HEAD.size)
        opcode, size = _RECORD_HEAD.unpack(head) if len(head) == 9 else (0, 0)
        if opcode not in (_CHUNK, _MESSAGE) or size > MAX_BYTES:
            raise DataError(f"{self.path} is damaged at byte {offset}: no chunk there")
        content = self._stream.read(size)
        problem = f"cut off after {len(content)} of {size} bytes" if len(content) < size else ""
        if opcode == _CHUNK:
            try:
                data, chunk_problem = _open_chunk(content)
            except (DataError, struct.error, UnicodeDecodeError) as error:
                raise DataError(
                    f"{self.path} is damaged: chunk at byte {offset}: {problem or error}"
                ) from None
            records, problem = _records(data, 0), problem or chunk_problem
        else:
            records = iter([(opcode, content, 0)])
        try:
            for number, (inner, body, _) in enumerate(records):
                if inner == _MESSAGE and not (problem and opcode == _MESSAGE):
                    channel, _, stamp_ns, _ = _MESSAGE_HEAD.unpack_from(body)
                    place = f"{self.path}, byte {offset}, record {number}"
                    yield StoredMessage(channel, stamp_ns, body[_MESSAGE_HEAD.size :], place)
                elif defining:
                    self._define(inner, body)
        except (DataError, struct.error, UnicodeDecodeError) as error:
            problem = problem or str(error)
        if problem:
            what = "chunk" if opcode == _CHUNK else "message"
            raise DataError(f"{self.path} is damaged: {what} at byte {offset}: {problem}")

    def _define(self, opcode: int, content: bytes) -> None:
        """Notes a schema or a channel; other records are not needed."""
        stream = BytesIO(content)
        if opcode == _SCHEMA:
            (number,) = struct.unpack("<H", stream.read(2))
            name, language, text = (_string(stream) for _ in range(3))
            self._schemas[number] = (name, language, text)
        elif opcode == _CHANNEL:
            number, schema = struct.unpack("<HH", stream.read(4))
            topic, encoding = _string(stream), _string(stream)
            metadata = BytesIO(_bytes(stream))
            qos = ""
            while metadata.tell() < len(metadata.getvalue()):
                key, value = _string(metadata), _string(metadata)
                qos = value if key == "offered_qos_profiles" else qos
            name, language, text = self._schemas.get(schema, ("", "", ""))
            self.channels[number] = Channel(topic, name, encoding, qos, (language, text))


def _open_chunk(content: bytes) -> tuple[bytes, str]:
    """Returns the records of a chunk, and what is wrong with them.

    Raises:
        DataError: Nothing of the chunk can be used.
        struct.error: It ends before its records do begin.
    """
    _, _, size, crc = struct.unpack_from("<QQQI", content)
    stream = BytesIO(content)
    stream.seek(28)
    compression = _string(stream)
    (stored,) = struct.unpack("<Q", stream.read(8))
    data = stream.read(stored)
    if size > MAX_BYTES:
        raise DataError(f"its {size} bytes are more than the {MAX_BYTES} allowed")
    if compression in ("zstd", "lz4"):
        data, _ = decompress(data, limit=size)
    elif compression:
        raise DataError(f"compression {compression!r} is not supported")
    if len(data) != size:
        return data, f"{len(data)} of {size} bytes are there"
    if crc and crc32(data) != crc:
        raise DataError("its checksum is wrong")
    return data, ""


def _records(data: bytes, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Yields opcode, content and place of the records that follow one another.

    Raises:
        DataError: There is something else; what came before has been yielded.
    """
    position = 0
    while position < len(data):
        head = data[position : position + _RECORD_HEAD.size]
        opcode, size = _RECORD_HEAD.unpack(head) if len(head) == 9 else (0, 0)
        end = position + _RECORD_HEAD.size + size
        if not _is_opcode(opcode) or end > len(data):
            raise DataError(f"no record {start + position} bytes in")
        yield opcode, data[position + _RECORD_HEAD.size : end], start + position
        position = end


def _is_opcode(opcode: int) -> bool:
    return 0 < opcode <= _LAST_OPCODE or opcode >= _FIRST_PRIVATE_OPCODE


def _bytes(stream: BytesIO) -> bytes:
    (size,) = struct.unpack("<I", stream.read(4))
    data = stream.read(size)
    if len(data) < size:
        raise struct.error("cut off")
    return data


def _string(stream: BytesIO) -> str:
    return _bytes(stream).decode()
