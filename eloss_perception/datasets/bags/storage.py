# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the two kinds of storage file have in common, and the compression around and in them."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame  # type: ignore[import-untyped]

from eloss_perception.errors import DataError
from eloss_perception.interrupts import check_interrupt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC, LZ4_MAGIC = b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"

# No message or chunk of a sane recording is larger; a length beyond it is damage, or an attack.
MAX_BYTES = 2**30

# Start of a recording without messages.
NEVER_NS = 2**63 - 1

OnDamage = Callable[[DataError], None]


class Channel(NamedTuple):
    """A topic as a storage file describes it.

    Attributes:
        topic: Its name.
        message_type: Such as ``sensor_msgs/msg/PointCloud2``.
        encoding: Of the messages: ``cdr`` where ROS 2 wrote them.
        qos: Offered profiles as YAML.
        definition: Language (``ros2msg``, ``ros2idl``, ...) and text of the type's definition.
    """

    topic: str
    message_type: str
    encoding: str
    qos: str
    definition: tuple[str, str]


class StoredMessage(NamedTuple):
    """A message of a storage file: channel, time [ns], bytes, and where in the file it lies."""

    channel: int
    stamp_ns: int
    data: bytes
    place: str


class StorageFile(ABC):
    """An open storage file.

    Attributes:
        path: The file, as messages to the user name it.
        channels: By the number that the file gives them.
        counts: Messages of each channel that the file holds.
        start_ns, end_ns: Times of the first and the last message; `NEVER_NS` and 0 without any.
        losses: What the file is known to have lost, one line each.
        warnings: What is irregular about it, though nothing is lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.counts: dict[int, int] = {}
        self.start_ns, self.end_ns = NEVER_NS, 0
        self.losses: list[str] = []
        self.warnings: list[str] = []

    @abstractmethod
    def messages(self, channels: Collection[int], on_damage: OnDamage) -> Iterator[StoredMessage]:
        """Yields the messages of some channels in order of time; reports what is damaged."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""


def decompress(data: bytes, *, limit: int = MAX_BYTES) -> tuple[bytes, bool]:
    """Returns what a zstd or LZ4 frame holds, and whether it is whole.

    Args:
        data: One frame or several; what follows the first that is cut off is not looked at.
        limit: No more bytes than this are made of it.

    Raises:
        DataError: The data are garbled, or more than `limit`.
    """
    parts: list[bytes] = []
    size = 0
    while data:
        if data.startswith(ZSTD_MAGIC):
            frame: Any = zstd.ZstdDecompressor()
        elif data.startswith(LZ4_MAGIC):
            frame = lz4.frame.LZ4FrameDecompressor()
        elif parts:
            break  # padding
        else:
            raise DataError("no zstd or LZ4 data")
        try:
            part = frame.decompress(data, limit - size + 1)
        except (zstd.ZstdError, RuntimeError, EOFError, MemoryError) as error:
            raise DataError(f"the compressed data are damaged ({error})") from None
        parts.append(part)
        size += len(part)
        if size > limit:
            raise DataError(f"the compressed data are more than {limit} bytes")
        if not frame.eof:
            return b"".join(parts), False
        data = frame.unused_data or b""
    return b"".join(parts), True


def decompress_file(source: Path, target: Path) -> None:
    """Writes what a zstd or LZ4 file holds to another file.

    Raises:
        DataError: The source is garbled or cut off, or the target cannot be written.
    """
    try:
        with source.open("rb") as raw:
            is_zstd = raw.read(4) == ZSTD_MAGIC
            raw.seek(0)
            packed: Any = zstd.open(raw) if is_zstd else lz4.frame.open(raw)
            with packed, target.open("wb") as out:
                while block := packed.read(2**20):
                    check_interrupt()
                    out.write(block)
    except (zstd.ZstdError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{source} is damaged: the compressed data end early or are garbled ({error})"
        ) from None
    except OSError as error:
        raise DataError(
            f"{source} cannot be decompressed to {target.parent}: {error.strerror}; TMPDIR names"
            " another place"
        ) from None
