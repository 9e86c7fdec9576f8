# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PCD, PLY and NumPy files as clouds that say of themselves how to read them.

Only the description is worked out here; `points_from_msg` turns it into points, as it does with
messages. Whatever a header claims is checked against the size of the file before memory is
allocated for it, and nothing in a file is ever executed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.lzf import decompress_points
from eloss_perception.errors import CloudError, printable

# sensor_msgs/PointField's number of a type; others can only be stepped over.
_DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
_PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "double": "f8", "float32": "f4", "float64": "f8",
}  # fmt: skip
_MAX_HEADER = 65536
_MAX_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class FileField:
    """As sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int
    count: int


@dataclass(slots=True)
class FileCloud:
    """As sensor_msgs/PointCloud2."""

    height: int
    width: int
    fields: tuple[FileField, ...]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: NDArray[np.uint8]


class _Column(NamedTuple):
    """What every point has of one field: some values of a type such as "f4"."""

    name: str
    type: str
    num_values: int = 1

    @property
    def size(self) -> int:
        return int(self.type[1:]) * self.num_values


def read_pcd(content: bytes) -> FileCloud:
    """Reads a PCD file of any encoding: ascii, binary or binary_compressed.

    Args:
        content: The whole file.

    Raises:
        CloudError: If the header contradicts itself or the data.
    """
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header:
        line, start = _header_line(content, start)
        words = line.split()
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
    names = header.get("FIELDS", header.get("COLUMNS", []))
    types = header.get("TYPE", [])
    sizes = header.get("SIZE", [])
    counts = header.get("COUNT", ["1"] * len(names))
    if not len(names) == len(types) == len(sizes) == len(counts):
        raise CloudError("FIELDS, SIZE, TYPE and COUNT of the header are of different lengths")
    columns = []
    for name, kind, size, count in zip(names, types, sizes, counts, strict=True):
        if kind not in ("I", "U", "F") or size not in ("1", "2", "4", "8"):
            shown = f"SIZE {printable(size)}, TYPE {printable(kind)}"
            raise CloudError(f"field '{printable(name)}' of the header has {shown}")
        columns.append(_Column(name, kind.lower() + size, _whole(count, "COUNT")))
    points = [_whole(word, "POINTS") for word in header.get("POINTS", [])[:1]]
    width = _whole("".join(header.get("WIDTH", [])[:1]) or str(*points), "WIDTH")
    height = _whole("".join(header.get("HEIGHT", ["1"])[:1]), "HEIGHT")
    if points and width == height == 0:  # left at that by some who fill in only the number
        width, height = points[0], 1
    if points and width * height != points[0]:
        raise CloudError(f"WIDTH {width} x HEIGHT {height} is not POINTS {points[0]}")
    body = content[start:]
    encoding = " ".join(header["DATA"])
    if encoding == "ascii":
        values = _numbers(body)
        return _text_cloud(values, columns, height, width, is_whole=True)
    if encoding == "binary_compressed":
        body = decompress_points(body, [column.size for column in columns], width * height)
    elif encoding != "binary":
        raise CloudError(f"DATA {printable(encoding)}: must be ascii, binary or binary_compressed")
    return _binary_cloud(body, columns, height, width, is_bigendian=False)


def read_ply(content: bytes) -> FileCloud:
    """Reads the vertices of a PLY file: ascii or binary of either byte order.

    Args:
        content: The whole file.

    Raises:
        CloudError: If the header contradicts itself or the data, or there are no plain vertices.
    """
    encoding = ""
    elements: list[tuple[str, int, list[_Column]]] = []
    start = 0
    while True:
        line, start = _header_line(content, start)
        match line.split():
            case ["end_header"]:
                break
            case ["format", name, _]:
                encoding = name
            case ["element", name, count]:
                elements.append((name, _whole(count, "element"), []))
            case ["property", kind, *_, name] if elements:
                # CloudCompare's prefix of what is no coordinate, normal or colour.
                column = _Column(name.removeprefix("scalar_"), _PLY_TYPES.get(kind, ""))
                elements[-1][2].append(column)
    num_skipped, num_values = 0, 0  # bytes and numbers before the vertices
    for element, num_points, columns in elements:
        if any(not column.type for column in columns):
            raise CloudError(f"element {printable(element)} has a list or a type that is unknown")
        if element == "vertex":
            break
        num_skipped += num_points * sum(column.size for column in columns)
        num_values += num_points * len(columns)
    else:
        raise CloudError("the header has no element vertex")
    if encoding == "ascii":
        values = _numbers(content[start:])[num_values:]
        return _text_cloud(values, columns, 1, num_points, is_whole=False)
    if encoding not in ("binary_little_endian", "binary_big_endian"):
        raise CloudError(f"format {printable(encoding) or 'missing'} of the header is unknown")
    body = content[start + num_skipped :]
    needed = num_points * sum(column.size for column in columns)
    if element == elements[-1][0] and len(body) > needed:
        raise CloudError(f"{len(body)} bytes of data, {num_points} vertices need {needed}")
    is_bigendian = encoding == "binary_big_endian"
    return _binary_cloud(body, columns, 1, num_points, is_bigendian)


def read_npy(content: bytes, intensity: str) -> FileCloud:
    """Reads an array that NumPy saved: rows of x, y, z, intensity, ..., or named fields.

    Args:
        content: The whole file.
        intensity: What the fourth of unnamed columns is called.

    Raises:
        CloudError: If the array is of another shape or type, or is cut off.
    """
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) == (1, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # whatever NumPy, its tokenizer and its literals come to
        raise CloudError(f"the header cannot be read: {printable(error, 100)}") from None
    body = content[file.tell() :]
    shown = f"{dtype.name} of the shape {printable(shape)}"
    num_values = int(np.prod([int(n) for n in shape], dtype=object))
    if dtype.hasobject or dtype.itemsize == 0 or min(shape, default=0) < 0:
        raise CloudError(f"{shown} holds no points")
    if len(body) != num_values * dtype.itemsize:
        raise CloudError(f"{len(body)} bytes of data, {shown} needs {num_values * dtype.itemsize}")
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    array: NDArray[Any] = np.frombuffer(body, dtype).reshape(shape, order=order)
    if dtype.names is not None:
        return _structured_cloud(array)
    if array.ndim != 2 or not 3 <= array.shape[1] <= _MAX_COLUMNS or dtype.kind != "f":
        raise CloudError(f"{shown} holds no points: they are rows of floats x, y, z, intensity")
    names = ["x", "y", "z", intensity, *(f"column {i}" for i in range(4, array.shape[1]))]
    columns = [_Column(name, "f8") for name in names[: array.shape[1]]]
    return _binary_cloud(array.astype("<f8").tobytes(), columns, 1, len(array), is_bigendian=False)


def _structured_cloud(array: NDArray[Any]) -> FileCloud:
    if array.ndim > 2:
        raise CloudError(f"points of the shape {printable(array.shape)}: at most rows and columns")
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    fields = []
    described: Any = native.dtype.fields or {}
    for name, (dtype, offset, *_) in described.items():
        datatype = _DATATYPES.get(f"{dtype.base.kind}{dtype.base.itemsize}", 0)
        count = int(np.prod(dtype.shape, dtype=object))
        fields.append(FileField(name, offset, datatype, count))
    height, width = native.shape if native.ndim == 2 else (1, native.size)
    step = native.dtype.itemsize
    data = np.frombuffer(native.tobytes(), np.uint8)
    return FileCloud(height, width, tuple(fields), False, step, width * step, data)


def _header_line(content: bytes, start: int) -> tuple[str, int]:
    """The line that starts there, and where the next one does."""
    end = content.find(b"\n", start, _MAX_HEADER)
    if end < 0:
        raise CloudError("no header ends in the file, or within its first bytes")
    return content[start:end].decode("latin-1"), end + 1


def _whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise CloudError(f"{what} {printable(text) or 'missing'} in the header is no count")
    return int(text)


def _numbers(text: bytes) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", DeprecationWarning
        )  # what NumPy raises for text that it could not read
        try:
            return np.fromstring(text, np.float64, sep=" ") if text.strip() else np.empty(0)
        except (ValueError, DeprecationWarning):
            raise CloudError("the data is not numbers only") from None


def _text_cloud(
    values: NDArray[np.float64],
    columns: Sequence[_Column],
    height: int,
    width: int,
    *,
    is_whole: bool,
) -> FileCloud:
    """A cloud of the numbers of a text; others may follow unless they are the whole."""
    num_columns = sum(column.num_values for column in columns)
    needed = height * width * num_columns
    if len(values) < needed or (is_whole and len(values) > needed):
        raise CloudError(
            f"{len(values)} numbers, {height * width} points of {num_columns} need {needed}"
        )
    as_doubles = [_Column(column.name, "f8", column.num_values) for column in columns]
    data = values[:needed].astype("<f8").tobytes()
    return _binary_cloud(data, as_doubles, height, width, is_bigendian=False)


def _binary_cloud(
    data: bytes, columns: Sequence[_Column], height: int, width: int, is_bigendian: bool
) -> FileCloud:
    fields, offset = [], 0
    for column in columns:
        datatype = _DATATYPES.get(column.type, 0)
        fields.append(FileField(column.name, offset, datatype, column.num_values))
        offset += column.size
    whole = np.frombuffer(data, np.uint8)
    return FileCloud(height, width, tuple(fields), is_bigendian, offset, width * offset, whole)
