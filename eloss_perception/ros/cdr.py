# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialises many messages at once: laid out once, filled in by numpy.

As a rosidl object that is then serialised, a box costs some 30 µs, nearly all of it for attributes
that never change. Here an example of each kind of message is laid out once; a frame's messages are
copies of it, and each of their numbers is set in all of them at once.

The layout is CDR, which every ROS middleware takes (OMG DDSI-RTPS 2.5, section 10; XCDR version 1):
a number is aligned to its own size, counted from the start of the message; a string is its length,
its bytes and a zero; a sequence is its length and its elements. The fields of a message are read
from its class, so that the layout is that of the installed ROS distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LITTLE_ENDIAN = bytes([0, 1, 0, 0])
"""The encapsulation header before a serialised message."""

_NUMBERS = {
    **{"boolean": "u1", "octet": "u1", "uint8": "u1", "int8": "i1", "int16": "<i2"},
    **{"uint16": "<u2", "int32": "<i4", "uint32": "<u4", "int64": "<i8", "uint64": "<u8"},
    **{"float": "<f4", "double": "<f8"},
}
# Where a message may start, modulo 8: its alignment depends on that only through numbers of eight
# bytes, and every message begins with a number of four.
_STARTS = (0, 4)


@dataclass(frozen=True, slots=True)
class _Span:
    """Consecutive numbers of one type."""

    offset: int
    dtype: np.dtype[Any]
    count: int

    @property
    def end(self) -> int:
        return self.offset + self.count * self.dtype.itemsize


class Stencil:
    """The bytes of one message, and where its numbers are.

    Attributes:
        start: Where it starts, modulo 8.
        words: (W,) uint32, its bytes padded to where a next one may start.
        num_bytes: Number of bytes without the padding.
    """

    def __init__(self, example: Any, start: int = 0) -> None:
        """Lays out a message.

        Args:
            example: A rosidl message; strings and sequences keep the length they have in it.
            start: 0 or 4.
        """
        self.start = start
        self._bytes = bytearray(start)
        self._spans: dict[str, _Span | None] = {}
        self._add_message("", example)
        self.num_bytes = len(self._bytes) - start
        self._align(4)
        self.words = np.frombuffer(self._bytes, "<u4")[start // 4 :]

    def span(self, path: str) -> _Span:
        """Returns the numbers at a path, such as `header.stamp.sec` or `results[0].pose.pose`.

        Raises:
            KeyError: If there is no such path, or its numbers are of more than one type.
        """
        span = self._spans[path]
        if span is None:
            raise KeyError(f"{path} is of more than one type")
        return span

    def _add_message(self, path: str, message: Any) -> None:
        parts = []
        for name, kind in message.get_fields_and_field_types().items():
            parts.append(f"{path}.{name}" if path else name)
            self._add(parts[-1], kind, getattr(message, name))
        self._spans[path] = self._joined(parts)

    def _add(self, path: str, kind: str, value: Any) -> None:
        if kind in _NUMBERS:
            self._add_numbers(path, kind, value if kind == "octet" else [value])
        elif kind == "string":
            text = value.encode()
            self._add_length(len(text) + 1)
            self._add_numbers(path, "uint8", text)
            self._bytes.append(0)
        elif kind.startswith("sequence<"):
            self._add_length(len(value))
            self._add_elements(path, kind[len("sequence<") : -1].partition(",")[0], value)
        elif kind.endswith("]"):
            self._add_elements(path, kind.partition("[")[0], value)
        else:
            self._add_message(path, value)

    def _add_elements(self, path: str, kind: str, elements: Sequence[Any]) -> None:
        if kind in _NUMBERS:
            self._add_numbers(path, kind, elements)
            return
        parts: list[str] = []
        for index, element in enumerate(elements):
            parts.append(f"{path}[{index}]")
            self._add(parts[-1], kind, element)
            span = self._spans[parts[-1]]
            if (
                span
                and span.offset % 8 == span.end % 8
                and elements.count(element) == len(elements)
            ):
                # The same element many times, such as a hundred points: looked at once.
                self._bytes += self._bytes[span.offset :] * (len(elements) - 1)
                self._spans[path] = replace(span, count=span.count * len(elements))
                return
        self._spans[path] = self._joined(parts)

    def _add_numbers(self, path: str, kind: str, values: ArrayLike | bytes) -> None:
        dtype = np.dtype(_NUMBERS[kind])
        numbers = np.frombuffer(values, dtype) if isinstance(values, bytes) else values
        numbers = np.asarray(numbers, dtype)
        if numbers.size:
            self._align(dtype.itemsize)
        self._spans[path] = _Span(len(self._bytes), dtype, numbers.size)
        self._bytes += numbers.tobytes()

    def _add_length(self, length: int) -> None:
        self._align(4)
        self._bytes += length.to_bytes(4, "little")

    def _align(self, size: int) -> None:
        self._bytes += bytes(-len(self._bytes) % size)

    def _joined(self, parts: list[str]) -> _Span | None:
        """Returns the parts as one span, if they are consecutive numbers of one type."""
        spans = [self._spans[part] for part in parts]
        if not spans or spans[0] is None:
            return None
        whole = spans[0]
        for span in spans[1:]:
            if span is None or span.dtype != whole.dtype or span.offset != whole.end:
                return None
            whole = _Span(whole.offset, whole.dtype, whole.count + span.count)
        return whole


class Stencils:
    """Stencils of several kinds of messages, for each place where one may start."""

    def __init__(self, examples: Sequence[Any]) -> None:
        """Lays out an example of each kind.

        Raises:
            ValueError: If an example has no number of eight bytes: where the next message starts
                would depend on more than the kind.
        """
        stencils = [Stencil(example, start) for example in examples for start in _STARTS]
        self._stencils = stencils
        self.words = np.concatenate([stencil.words for stencil in stencils])
        self.num_words = np.array([len(stencil.words) for stencil in stencils])
        self.first_words = np.cumsum(self.num_words) - self.num_words
        ends = np.array([stencil.start // 4 for stencil in stencils]) + self.num_words
        self.ends = ends[::2] % 2  # (K,) where a next message starts, in words modulo 2
        if (self.ends != ends[1::2] % 2).any():
            raise ValueError("an example has no number of eight bytes")
        self.paddings = np.array([4 * len(s.words) - s.num_bytes for s in stencils])
        self._offsets: dict[str, tuple[NDArray[np.intp], np.dtype[Any], int]] = {}

    def find(self, path: str) -> tuple[NDArray[np.intp], np.dtype[Any], int]:
        """Returns (2 K,) offsets from the message's start, type and count of numbers at a path."""
        if path not in self._offsets:
            spans = [stencil.span(path) for stencil in self._stencils]
            offsets = [span.offset - s.start for span, s in zip(spans, self._stencils, strict=True)]
            self._offsets[path] = (np.array(offsets), spans[0].dtype, spans[0].count)
        return self._offsets[path]


class Messages:
    """Consecutive messages whose numbers are still to be set.

    Attributes:
        end: Where a next message starts, in bytes from the start of the first.
        padding: Bytes at the end that only a next message needs.
    """

    def __init__(self, stencils: Stencils, kinds: ArrayLike, start: int) -> None:
        """Copies the examples.

        Args:
            stencils: The kinds of messages.
            kinds: (N,) index of each message's kind; N is at least 1.
            start: Where the first one starts in the enclosing message [bytes]; a multiple of 4.
        """
        kinds = np.asarray(kinds, np.intp)
        self._stencils = stencils
        first = start // 4 % 2
        self._which = 2 * kinds
        self._which[0] += first
        self._which[1:] += stencils.ends[kinds[:-1]]
        lengths = stencils.num_words[self._which]
        ends = first + np.cumsum(lengths)
        begins = ends - lengths  # (N,) in words
        num_words = int(ends[-1])
        source = np.repeat(stencils.first_words[self._which] - begins, lengths)
        source += np.arange(first, num_words)
        # In pairs, so that numbers of eight bytes can be set in place.
        memory = np.zeros((num_words + 1) // 2, np.uint64)
        memory.view(np.uint32)[first:num_words] = stencils.words[source]
        self._memory, self._begins, self._extent = memory, 4 * begins, slice(first, num_words)
        self.end = start + 4 * (num_words - first)
        self.padding = int(stencils.paddings[self._which[-1]])

    def set(self, path: str, values: ArrayLike, of: slice = slice(None)) -> None:
        """Sets the numbers at a path.

        Args:
            path: As for `Stencil.span`.
            values: C numbers for each of N messages, in any shape that broadcasts to (N, C).
            of: Which messages.
        """
        offsets, dtype, count = self._stencils.find(path)
        places = (self._begins[of] + offsets[self._which[of]]) // dtype.itemsize
        self._memory.view(dtype)[places[:, None] + np.arange(count)] = values

    def tobytes(self) -> bytes:
        """Returns the messages' bytes."""
        return self._memory.view(np.uint32)[self._extent].tobytes()


def joined(begin: bytes, *parts: Messages) -> bytes:
    """Returns one message for rclpy's publishers: its beginning, then the messages it holds."""
    whole = b"".join([LITTLE_ENDIAN, begin, *(part.tobytes() for part in parts)])
    return whole[: len(whole) - parts[-1].padding] if parts else whole
