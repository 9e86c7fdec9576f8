# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MCAP files as other programs write them: with and without chunks, index, checksums, footer."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

import lz4.frame  # type: ignore[import-untyped]
from rosbags.rosbag2.storage_mcap import zstd

MAGIC = b"\x89MCAP0\r\n"


def record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def schema(number: int, name: str, definition: str = "", language: str = "ros2msg") -> bytes:
    return record(3, struct.pack("<H", number) + text(name) + text(language) + text(definition))


def channel(number: int, topic: str, schema_number: int, encoding: str = "cdr") -> bytes:
    head = struct.pack("<HH", number, schema_number)
    return record(4, head + text(topic) + text(encoding) + struct.pack("<I", 0))


def message(number: int, stamp_ns: int, data: bytes) -> bytes:
    return record(5, struct.pack("<HIQQ", number, 0, stamp_ns, stamp_ns) + data)


def chunk(first_ns: int, last_ns: int, records: bytes, compression: str, crc: int | None) -> bytes:
    packed = {"zstd": zstd.compress, "lz4": lz4.frame.compress, "": bytes}[compression](records)
    checksum = crc32(records) if crc is None else crc
    head = struct.pack("<QQQI", first_ns, last_ns, len(records), checksum)
    return record(6, head + text(compression) + struct.pack("<Q", len(packed)) + packed)


def mcap(
    head: bytes,
    messages: Sequence[tuple[int, int, bytes]],
    *,
    per_chunk: int = 2,
    compression: str = "",
    crc: int | None = None,
    has_summary: bool = True,
    has_statistics: bool = True,
    is_closed: bool = True,
) -> bytes:
    """A file of messages (channel, time [ns], data).

    Args:
        head: Its schemas and channels.
        per_chunk: Messages in a chunk; 0 for none.
        crc: Of all chunks; right ones where None.
    """
    data = MAGIC + record(1, text("ros2") + text("test"))
    index = b""
    num_chunks = 0
    if not per_chunk:
        data += head + b"".join(message(*item) for item in messages)
    for start in range(0, len(messages), per_chunk) if per_chunk else ():
        part = messages[start : start + per_chunk]
        times = [stamp for _, stamp, _ in part]
        inside = b"".join(message(*item) for item in part)
        if not num_chunks:
            inside = head + inside
        body = chunk(min(times), max(times), inside, compression, crc)
        ids = b"".join(struct.pack("<HQ", n, 1) for n in sorted({n for n, _, _ in part}))
        index += record(
            8,
            struct.pack("<QQQQI", min(times), max(times), len(data), len(body), len(ids))
            + ids
            + struct.pack("<Q", 0)
            + text(compression)
            + struct.pack("<QQ", 0, 0),
        )
        data += body
        num_chunks += 1
    if not is_closed:
        return data
    data += record(15, bytes(4))
    summary = head + index if has_summary else b""
    if has_summary and has_statistics:
        times = [stamp for _, stamp, _ in messages] or [0]
        counts = {n: sum(n == m for m, _, _ in messages) for n, _, _ in messages}
        packed = b"".join(struct.pack("<HQ", n, c) for n, c in counts.items())
        numbers = (len(messages), 1, len(counts), 0, 0, num_chunks, min(times), max(times))
        summary += record(11, struct.pack("<QHIIIIQQI", *numbers, len(packed)) + packed)
    start = len(data) if summary else 0
    footer = struct.pack("<BQQQ", 2, 20, start, 0)
    footer += struct.pack("<I", crc32(summary + footer) if summary else 0)
    return data + summary + footer + MAGIC
