# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Gives recorded messages a new time, as cheaply as their type allows.

CDR puts a leading `std_msgs/Header`'s stamp right behind the 4 bytes of encapsulation, so a point
cloud or an image gets a new stamp by exchanging 8 bytes. A type whose headers are inside (a
MarkerArray, a TFMessage) is taken apart and put together again.
"""

from __future__ import annotations

import struct
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from eloss_perception.errors import DataError

_HEADER = "std_msgs/msg/Header"
_STAMP_START, _STAMP_END = 4, 12


class Restamper:
    """Exchanges the stamps of serialized messages.

    Args:
        typestore: Knows the types of the messages.
    """

    def __init__(self, typestore: Typestore) -> None:
        self._typestore = typestore
        self._holds_header: dict[str, bool] = {}

    def has_leading_header(self, message_type: str) -> bool:
        """Whether the first field is a std_msgs/Header."""
        fields = self._typestore.fielddefs[message_type][1]
        return bool(fields) and fields[0][1] == (Nodetype.NAME, _HEADER)

    def holds_header(self, message_type: str) -> bool:
        """Whether there is a std_msgs/Header anywhere inside."""
        if message_type not in self._holds_header:
            self._holds_header[message_type] = any(
                inner == _HEADER or self.holds_header(inner)
                for inner in map(_inner_type, self._typestore.fielddefs[message_type][1])
                if inner is not None
            )
        return self._holds_header[message_type]

    def restamp(self, data: bytes, message_type: str, stamp_ns: int) -> bytes:
        """Returns the message with every header in it stamped anew [ns since the epoch]."""
        if not self.holds_header(message_type):
            return data
        message = None
        if self.has_leading_header(message_type):
            data = stamp_leading_header(data, stamp_ns)
            rest = self._typestore.fielddefs[message_type][1][1:]
            if not any(
                inner is not None and self.holds_header(inner) for inner in map(_inner_type, rest)
            ):
                return data
        message = self._typestore.deserialize_cdr(data, message_type)
        self._stamp_fields(message, message_type, stamp_ns)
        return bytes(self._typestore.serialize_cdr(message, message_type))

    def _stamp_fields(self, message: Any, message_type: str, stamp_ns: int) -> None:
        for field in self._typestore.fielddefs[message_type][1]:
            inner = _inner_type(field)
            if inner is None:
                continue
            value = getattr(message, field[0])
            for item in value if isinstance(value, list) else [value]:
                if inner == _HEADER:
                    item.stamp.sec, item.stamp.nanosec = divmod(stamp_ns, 10**9)
                elif self.holds_header(inner):
                    self._stamp_fields(item, inner, stamp_ns)


def stamp_leading_header(data: bytes, stamp_ns: int) -> bytes:
    """Returns CDR bytes whose leading header carries another stamp; one copy, no parsing.

    Raises:
        DataError: Too short to hold a header.
    """
    if len(data) < _STAMP_END:
        raise DataError(f"a message of {len(data)} bytes holds no header")
    order = "<" if data[1] & 1 else ">"
    stamp = struct.pack(f"{order}iI", *divmod(stamp_ns, 10**9))
    return b"".join((data[:_STAMP_START], stamp, memoryview(data)[_STAMP_END:]))


def _inner_type(field: Any) -> str | None:
    """Name of the message type that a field is, or is a sequence of; None for plain values."""
    kind, description = field[1]
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        kind, description = description[0]
    return description if kind == Nodetype.NAME else None
