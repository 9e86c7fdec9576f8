# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to the (N, 4) points that the detector takes.

Everything a message may get wrong is checked here, once, before a single byte is interpreted; the
layout of a stream's messages rarely changes, so what was worked out for one is kept for the next.
Needs no ROS: any object with a PointCloud2's attributes will do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.point_fields import copy_words, has_unit_intensity, scale_intensity
from eloss_perception.core.sensors import SensorModel, to_network_frame
from eloss_perception.errors import CloudError

try:  # ROS has this module everywhere; the wheels of ROS do not.
    from sensor_msgs_py.point_cloud2 import dtype_from_fields as _ros_dtype_from_fields
except ImportError:
    _ros_dtype_from_fields = None

# Twice the points of the densest automotive LiDARs' dual-return scans (128 beams x 4096 columns x
# 2 returns = 1 M); a count beyond it is a broken header, not a scan.
MAX_NUM_POINTS = 4_000_000

# No driver describes more than some dozens; a count field of garbage must not become as many names.
_MAX_NUM_VALUES_PER_POINT = 1024

_NETWORK_FIELDS = ("x", "y", "z")

# sensor_msgs/PointField: datatype -> numpy type (native order; the cloud's order is applied later).
POINT_FIELD_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.int8),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int16),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int32),
    6: np.dtype(np.uint32),
    7: np.dtype(np.float32),
    8: np.dtype(np.float64),
}


_FLOAT32 = 7


class PointCloudLike(Protocol):
    """The attributes of sensor_msgs/PointCloud2 that are read here."""

    height: int
    width: int
    fields: Any
    is_bigendian: bool
    point_step: int
    row_step: int
    data: Any


@dataclass(frozen=True, slots=True)
class _Field:
    """A PointField as a value, so that layouts can be compared and kept."""

    name: str
    offset: int
    datatype: int
    count: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """How to read the points of one kind of cloud.

    Attributes:
        dtype: One point.
        intensity_field: Which field holds the intensity.
        is_contiguous_xyzi: Whether a point is nothing but native float32 x, y, z, intensity.
        word_offsets: (4,) where these are, if all are little-endian float32.
    """

    dtype: np.dtype[Any]
    intensity_field: str
    is_contiguous_xyzi: bool
    word_offsets: NDArray[np.int64] | None


def points_from_msg(msg: PointCloudLike, sensor: SensorModel) -> NDArray[np.float32]:
    """Reads the points of a cloud by its own description.

    Non-finite points are passed on (the pillarizer counts them, REP-117). Where the message holds
    nothing but native float32 x, y, z, intensity in the network's frame and range, the result is a
    view of the message's own bytes.

    Args:
        msg: A sensor_msgs/PointCloud2, organised or not, of either byte order.
        sensor: The sensor that published it.

    Returns:
        (N, 4) float32 x, y, z [m] in the network frame and intensity in [0, 1]; N is height *
        width, 0 included.

    Raises:
        CloudError: If the message contradicts itself or lacks a field that is needed.
    """
    height, width = int(msg.height), int(msg.width)
    if height < 0 or width < 0:
        raise CloudError(f"height {height} and width {width}: neither may be negative")
    num_points = height * width
    if num_points == 0:
        return np.empty((0, 4), dtype=np.float32)
    if num_points > MAX_NUM_POINTS:
        raise CloudError(
            f"height {height} x width {width} is {num_points} points, more than the"
            f" {MAX_NUM_POINTS} allowed"
        )
    data = _checked_data(msg, height, width)
    fields = tuple(_Field(f.name, f.offset, f.datatype, f.count) for f in msg.fields)
    layout = _layout(fields, msg.point_step, bool(msg.is_bigendian), sensor)

    is_packed = height == 1 or msg.row_step == width * msg.point_step
    if layout.is_contiguous_xyzi and is_packed and sensor.intensity_scale == 1.0:
        points = data[: 16 * num_points].view(np.float32).reshape(-1, 4)  # (N, 4), no copy
        if not has_unit_intensity(points):
            points = points.copy()
            scale_intensity(points, np.float32(1.0))
        return to_network_frame(points, sensor)

    grid = np.empty((height, width, 4), dtype=np.float32)
    if layout.word_offsets is not None:
        copy_words(data, msg.row_step, msg.point_step, layout.word_offsets, grid.view(np.uint32))
    else:
        cloud: NDArray[Any] = np.ndarray(
            (height, width), layout.dtype, buffer=data, strides=(msg.row_step, msg.point_step)
        )
        with np.errstate(over="ignore", invalid="ignore"):  # A float64 beyond float32 becomes Inf.
            for column, name in enumerate((*_NETWORK_FIELDS, layout.intensity_field)):
                grid[..., column] = cloud[name]
    points = grid.reshape(-1, 4)  # (height * width, 4)
    scale_intensity(points, np.float32(sensor.intensity_scale))
    return to_network_frame(points, sensor)


def warm_up() -> None:
    """Compiles what the first cloud would have to wait for."""
    data = np.frombuffer(bytearray(16), np.uint8)
    points = np.empty((1, 1, 4), np.float32)
    copy_words(data, 16, 16, np.arange(0, 16, 4), points.view(np.uint32))
    scale_intensity(points[0], np.float32(1.0))
    has_unit_intensity(points[0])


def dtype_from_fields(fields: Iterable[Any], point_step: int) -> np.dtype[Any]:
    """Returns the structured dtype of one point, in native byte order.

    Equal to `sensor_msgs_py.point_cloud2.dtype_from_fields` for every layout that this module lets
    through: a field of count n > 1 becomes the n fields `name_0` ... `name_<n-1>`, a field without
    a name `unnamed_field_<index>`; fields may overlap and leave gaps.

    Args:
        fields: sensor_msgs/PointFields with distinct names and known datatypes, each of which ends
            within `point_step`.
        point_step: Bytes of one point.
    """
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    for index, field in enumerate(fields):
        element = POINT_FIELD_TYPES[field.datatype]
        name = field.name or f"unnamed_field_{index}"
        for i in range(field.count):
            names.append(name if field.count == 1 else f"{name}_{i}")
            formats.append(element.str)
            offsets.append(field.offset + i * element.itemsize)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": point_step}
    )


def _checked_data(msg: PointCloudLike, height: int, width: int) -> NDArray[np.uint8]:
    try:
        data = np.frombuffer(msg.data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        # An empty buffer ends here too: it holds too few bytes for any point.
        if len(msg.data) != 0:
            raise CloudError(f"data is {type(msg.data).__name__}, must be bytes") from error
        data = np.empty(0, dtype=np.uint8)
    if msg.point_step <= 0:
        raise CloudError(f"point_step is {msg.point_step}, must be above 0")
    if msg.row_step < width * msg.point_step:
        raise CloudError(
            f"row_step is {msg.row_step}, below width {width} x point_step {msg.point_step}"
        )
    if data.size < height * msg.row_step:
        raise CloudError(
            f"data holds {data.size} bytes, height {height} x row_step {msg.row_step} needs"
            f" {height * msg.row_step}"
        )
    return data


@lru_cache(maxsize=64)
def _layout(
    fields: tuple[_Field, ...], point_step: int, is_bigendian: bool, sensor: SensorModel
) -> _Layout:
    _check_fields(fields, point_step)
    names = [field.name for field in fields]
    by_name = {field.name: field for field in fields}
    for name in _NETWORK_FIELDS:
        if name not in by_name:
            raise CloudError(f"field {name!r} is missing; present: {_listed(names)}")
        if POINT_FIELD_TYPES[by_name[name].datatype].kind != "f":
            kind = POINT_FIELD_TYPES[by_name[name].datatype].name
            raise CloudError(f"field {name!r} is {kind}, must be float32 or float64")
    intensity = next((name for name in sensor.intensity_fields if name in by_name), None)
    if intensity is None:
        raise CloudError(
            f"no intensity field (looked for {_listed(sensor.intensity_fields)}); present:"
            f" {_listed(names)}"
        )
    wanted = (*_NETWORK_FIELDS, intensity)
    for name in wanted:
        if by_name[name].count != 1:
            raise CloudError(f"field {name!r} has count {by_name[name].count}, must be 1")

    make_dtype = _ros_dtype_from_fields or dtype_from_fields
    dtype = make_dtype(fields, point_step)
    if is_bigendian != (sys.byteorder == "big"):
        dtype = dtype.newbyteorder()
    are_float32 = all(by_name[name].datatype == _FLOAT32 for name in wanted)
    offsets = np.array([by_name[name].offset for name in wanted], np.int64)
    is_contiguous_xyzi = (
        point_step == 16
        and are_float32
        and is_bigendian == (sys.byteorder == "big")
        and offsets.tolist() == [0, 4, 8, 12]
    )
    can_copy = are_float32 and not is_bigendian and sys.byteorder == "little"
    return _Layout(dtype, intensity, is_contiguous_xyzi, offsets if can_copy else None)


def _check_fields(fields: tuple[_Field, ...], point_step: int) -> None:
    num_values = sum(field.count for field in fields)
    if num_values > _MAX_NUM_VALUES_PER_POINT:
        raise CloudError(
            f"a point has {num_values} values, more than the {_MAX_NUM_VALUES_PER_POINT} allowed"
        )
    seen: set[str] = set()
    for index, field in enumerate(fields):
        if field.datatype not in POINT_FIELD_TYPES:
            raise CloudError(f"field {field.name!r} has datatype {field.datatype}, must be 1..8")
        if field.count <= 0:
            raise CloudError(f"field {field.name!r} has count {field.count}, must be above 0")
        end = field.offset + field.count * POINT_FIELD_TYPES[field.datatype].itemsize
        if field.offset < 0 or end > point_step:
            raise CloudError(
                f"field {field.name!r} covers bytes {field.offset}..{end} of a point of"
                f" point_step {point_step}"
            )
        name = field.name or f"unnamed_field_{index}"
        expanded = [name] if field.count == 1 else [f"{name}_{i}" for i in range(field.count)]
        for entry in expanded:
            if entry in seen:
                raise CloudError(f"field {entry!r} appears twice")
            seen.add(entry)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
