# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network's file: read once, hashed, checked, and passed on as bytes.

What was hashed is what runs, on every backend and at every reload: nothing reads the path again.
A runtime does whatever a file says: it reads weights from other files, loops for ever, allocates
memory for any shape. So whatever our networks do not contain is refused before a runtime sees it.
Vehicles have no ``onnx`` package; this reads only the needed fields of its protobuf
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eloss_perception.errors import BundleError, printable
from eloss_perception.files import opened, read_up_to

# Our networks have 2 to 10 MB and 300 nodes; these limit the time of a hostile one to seconds.
_MAX_BYTES = 256_000_000
_MAX_INTEGERS = 2_000_000
_MAX_NODES = 20_000

_STANDARD_DOMAINS = ("", "ai.onnx")
# Elements that a byte of a tensor may hold: two bits are ONNX's smallest type.
_ELEMENTS_PER_BYTE = 4
_MAX_DIMENSIONS = 64

# Start and end of a message or a string in the file.
_Span = tuple[int, int]
# Size of each dimension, None for an open one; None if the file states no shape.
Shape = tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxFile:
    """Content of a network's file.

    Attributes:
        path: Where it was read from; for messages.
        content: All of it.
        sha256: Its checksum, in hex.
    """

    path: Path
    content: bytes = field(repr=False)
    sha256: str

    @classmethod
    def read(cls, path: Path | str) -> OnnxFile:
        """Reads a file.

        Raises:
            BundleError: If it cannot be read, is not a regular file or larger than any network.
        """
        try:
            with opened(path) as file:
                content = read_up_to(file, path, _MAX_BYTES)
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}") from None
        return cls(Path(path), content, hashlib.sha256(content).hexdigest())

    def shapes(self) -> dict[str, Shape]:
        """Returns the shape of every input and output by name.

        Raises:
            BundleError: If the file is no ONNX, refers to other files, holds graphs within graphs
                or operators outside of the standard, or states shapes that it does not fill.
        """
        try:
            return _Reader(self.content).model()
        except ValueError as error:
            raise BundleError(f"{self.path}: {error}; export the bundle again") from None


class _Reader:
    """Walks through a file; a ValueError says what is wrong with it.

    Fields are numbers as in ``onnx.proto``. A field of another wire type than expected is skipped,
    as protobuf's own readers do; a repeated one is checked each time.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._integers_left = _MAX_INTEGERS
        self._nodes_left = _MAX_NODES

    def model(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        has_graph = False
        for number, value in self._fields((0, len(self._content))):
            match number, value:
                case 7, (int(), int()) as span:
                    has_graph = True
                    shapes |= self._graph(span)
                case 20 | 25, _:
                    raise ValueError("it holds training steps or functions of its own")
        if not has_graph or self._nodes_left == _MAX_NODES:
            raise ValueError("it holds no network")
        return shapes

    def _graph(self, graph: _Span) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for number, value in self._fields(graph):
            match number, value:
                case 1, (int(), int()) as span:
                    self._node(span)
                case 5, (int(), int()) as span:
                    self._tensor(span)
                case 11 | 12, (int(), int()) as span:
                    name, shape = self._value_info(span)
                    shapes[name] = shape
                case 15, _:
                    raise ValueError("it holds sparse tensors")
        return shapes

    def _node(self, node: _Span) -> None:
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise ValueError(f"it holds more than {_MAX_NODES} operators")
        operator = ""
        attributes: list[_Span] = []
        for number, value in self._fields(node):
            match number, value:
                case 4, (int(), int()) as span:
                    operator = self._text(span)
                case 5, (int(), int()) as span:
                    attributes.append(span)
                case 7, (int(), int()) as span:
                    if (domain := self._text(span)) not in _STANDARD_DOMAINS:
                        raise ValueError(
                            f"operators of {printable(domain)} are not part of the ONNX standard"
                        )
        for attribute in attributes:
            for number, value in self._fields(attribute):
                match number, value:
                    case 5 | 10, (int(), int()) as span:
                        self._tensor(span)
                    case 6 | 11, _:  # Loop, If, Scan and their like
                        raise ValueError(f"operator {printable(operator)} holds a graph of its own")
                    case 22 | 23, _:
                        raise ValueError("it holds sparse tensors")

    def _tensor(self, tensor: _Span) -> None:
        sizes: list[int] = []
        for number, value in self._fields(tensor):
            match number, value:
                case 1, int() as size:
                    sizes.append(size)
                case 1, (int() as at, int() as end):  # the same, packed
                    while at < end:
                        size, at = self._varint(at, end)
                        sizes.append(size)
                case (13, _) | (14, int()) if (number, value) != (14, 0):
                    raise ValueError("its weights are in another file, which no checksum covers")
        most = _ELEMENTS_PER_BYTE * (tensor[1] - tensor[0])
        if len(sizes) > _MAX_DIMENSIONS or math.prod(sizes) > most:
            raise ValueError("it states a tensor of more values than it holds")

    def _value_info(self, info: _Span) -> tuple[str, Shape]:
        name, shape = "", None
        for number, value in self._fields(info):
            match number, value:
                case 1, (int(), int()) as span:
                    name = self._text(span)
                case 2, (int(), int()) as span:
                    shape = self._shape(span)
        return name, shape

    def _shape(self, type_: _Span) -> Shape:
        """Of a TypeProto: tensor_type (1) holds shape (2) holds a list of dim (1)."""
        shape: Shape = None
        for tensor in self._messages(type_, 1):
            for found in self._messages(tensor, 2):
                shape = tuple(
                    next((v for n, v in self._fields(dim) if n == 1 and isinstance(v, int)), None)
                    for dim in self._messages(found, 1)
                )
        return shape

    def _messages(self, span: _Span, wanted: int) -> Iterator[_Span]:
        for number, value in self._fields(span):
            if number == wanted and isinstance(value, tuple):
                yield value

    def _text(self, span: _Span) -> str:
        return self._content[span[0] : span[1]].decode(errors="replace")

    def _fields(self, message: _Span) -> Iterator[tuple[int, int | _Span | None]]:
        """Yields number and value of each field: an integer, a span, or None for fixed sizes."""
        at, end = message
        while at < end:
            tag, at = self._varint(at, end)
            value: int | _Span | None = None
            match tag & 7:
                case 0:
                    value, at = self._varint(at, end)
                case 2:
                    size, at = self._varint(at, end)
                    value = (at, at + size)
                    at += size
                case 1:
                    at += 8
                case 5:
                    at += 4
                case _:
                    raise ValueError("it is no ONNX file")
            if at > end or not 0 < tag >> 3 < 1 << 29:
                raise ValueError("it is cut off, or no ONNX file")
            yield tag >> 3, value

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Returns an integer, and where the next field begins."""
        self._integers_left -= 1
        if self._integers_left < 0:
            raise ValueError("it holds more fields than any network")
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self._content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise ValueError("it is cut off, or no ONNX file")
