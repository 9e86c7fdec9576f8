# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to the (N, 4) points that the detector takes.

Everything that is needed of a message is checked here, once, before a byte is interpreted; other
fields are ignored. The layout of a stream's messages rarely changes, so it is cached. Needs no ROS:
any object with a PointCloud2's attributes will do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.points import are_finished, copy_words, finish_points
from eloss_perception.detection.sensors import (
    NEUTRAL_INTENSITY,
    NO_INTENSITY,
    SensorModel,
    to_network_frame,
)
from eloss_perception.errors import CloudError, printable

# Twice the points of the densest automotive LiDARs' dual-return scans (128 beams x 4096 columns x
# 2 returns = 1 M); a count beyond it is a broken header, not a scan.
MAX_NUM_POINTS = 4_000_000

# Drivers describe a few dozen fields at most; an error message lists the first ones.
_MAX_NUM_FIELDS, _MAX_LISTED = 1024, 16

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

# Intensities are not negative: drivers that declare int8 write a byte, 0 to 255.
INTENSITY_TYPES = {**POINT_FIELD_TYPES, 1: np.dtype(np.uint8)}

_FLOAT32 = 7


class PointCloudLike(Protocol):
    """The attributes of sensor_msgs/PointCloud2 that are used here."""

    height: int
    width: int
    fields: Any
    is_bigendian: bool
    point_step: int
    row_step: int
    data: Any


@dataclass(frozen=True, slots=True)
class _Field:
    """A PointField that is needed, hashable so that layouts can be cached."""

    name: str
    offset: int
    datatype: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """How to read the points of one kind of cloud.

    Attributes:
        dtype: What is needed of one point: `x`, `y`, `z` and, if there is one, `intensity`.
        is_contiguous_xyzi: Whether a point is exactly native float32 x, y, z, intensity.
        word_offsets: (4,) their offsets, if all are little-endian float32; without an intensity
            the last one is arbitrary.
    """

    dtype: np.dtype[Any]
    is_contiguous_xyzi: bool
    word_offsets: NDArray[np.int64] | None


def points_from_msg(msg: PointCloudLike, sensor: SensorModel) -> NDArray[np.float32]:
    """Returns the points of a cloud.

    Points without a return stay in their places as NaN (the pillarizer counts them, REP-117): those
    that have a NaN already, and those at the origin of the cloud's frame. If the message holds
    exactly native float32 x, y, z, intensity in the network's frame and range, the result is a view
    of its bytes.

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
    data, row_step = _checked_data(msg, height, width)
    fields, scale = _needed_fields(msg.fields, num_points, sensor)
    layout = _layout(fields, msg.point_step, bool(msg.is_bigendian))

    if layout.is_contiguous_xyzi and row_step == 16 * width and scale == 1.0:
        points = data[: 16 * num_points].view(np.float32).reshape(-1, 4)  # (N, 4), no copy
        if not are_finished(points):
            points = points.copy()
            finish_points(points, np.float32(1.0))
        return to_network_frame(points, sensor)

    grid = np.empty((height, width, 4), dtype=np.float32)
    if layout.word_offsets is not None:
        copy_words(data, row_step, msg.point_step, layout.word_offsets, grid.view(np.uint32))
    else:
        cloud: NDArray[Any] = np.ndarray(
            (height, width), layout.dtype, buffer=data, strides=(row_step, msg.point_step)
        )
        with np.errstate(over="ignore", invalid="ignore"):  # A float64 beyond float32 becomes Inf.
            for column, name in enumerate(layout.dtype.names or ()):
                grid[..., column] = cloud[name]
    if len(fields) == len(_NETWORK_FIELDS):
        grid[..., 3] = NEUTRAL_INTENSITY
    points = grid.reshape(-1, 4)  # (height * width, 4)
    finish_points(points, np.float32(scale))
    return to_network_frame(points, sensor)


def warm_up() -> None:
    """Compiles what the first cloud would otherwise wait for."""
    data = np.frombuffer(bytearray(16), np.uint8)
    points = np.empty((1, 1, 4), np.float32)
    copy_words(data, 16, 16, np.arange(0, 16, 4), points.view(np.uint32))
    finish_points(points[0], np.float32(1.0))
    are_finished(points[0])


def _checked_data(msg: PointCloudLike, height: int, width: int) -> tuple[NDArray[np.uint8], int]:
    """Returns the bytes, and the distance from one row to the next."""
    try:
        data = np.frombuffer(msg.data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        # An empty buffer ends here too; it is refused below.
        if len(msg.data) != 0:
            raise CloudError(f"data is {type(msg.data).__name__}, must be bytes") from error
        data = np.empty(0, dtype=np.uint8)
    if msg.point_step <= 0:
        raise CloudError(f"point_step is {msg.point_step}, must be above 0")
    packed = width * msg.point_step
    if height == 1:
        # Many drivers leave row_step at 0 if there is only one row.
        row_step = packed
    elif data.size == height * packed and (
        msg.row_step < packed or msg.row_step == height * packed
    ):
        # A row_step that cannot be right, and data that fits packed rows exactly.
        row_step = packed
    else:
        row_step = int(msg.row_step)
    if row_step < packed:
        raise CloudError(
            f"row_step is {row_step}, below width {width} x point_step {msg.point_step}"
        )
    needed = (height - 1) * row_step + packed  # The last row needs no padding.
    if data.size < needed:
        raise CloudError(
            f"data holds {data.size} bytes, height {height} x width {width} with point_step"
            f" {msg.point_step} and row_step {row_step} needs {needed}"
        )
    return data, row_step


def _needed_fields(
    fields: Any, num_points: int, sensor: SensorModel
) -> tuple[tuple[_Field, ...], float]:
    """Returns x, y, z and the intensity, if any, and the raw intensity that counts as 1."""
    if len(fields) > _MAX_NUM_FIELDS:
        raise CloudError(f"{len(fields)} fields, more than the {_MAX_NUM_FIELDS} allowed")
    names = [field.name for field in fields]
    for name in _NETWORK_FIELDS:
        if name not in names:
            raise CloudError(f"field {name!r} is missing; present: {_listed(names)}")
    wanted, scale = [*_NETWORK_FIELDS], 1.0
    if sensor.intensity_fields:
        intensity = sensor.find_intensity(names)
        if intensity is None:
            raise CloudError(
                f"no intensity field (looked for {_listed(sensor.intensity_fields)}); present:"
                f" {_listed(names)}; name it with intensity_field, or set that to {NO_INTENSITY}"
            )
        wanted.append(intensity)
        scale = sensor.scale_of(intensity)
    found = []
    for name in wanted:
        field = fields[names.index(name)]
        shown = f"field '{printable(name)}'"
        if names.count(name) > 1 and any(
            (f.offset, f.datatype) != (field.offset, field.datatype)
            for f in fields
            if f.name == name
        ):
            raise CloudError(f"{shown} appears twice")
        # Some drivers give a count of 0, or that of all points, for one value a point.
        if field.count not in (0, 1, num_points):
            raise CloudError(f"{shown} has count {field.count}, must be 1")
        found.append(_Field(name, int(field.offset), int(field.datatype)))
    return tuple(found), scale


@lru_cache(maxsize=64)
def _layout(fields: tuple[_Field, ...], point_step: int, is_bigendian: bool) -> _Layout:
    formats = []
    for field in fields:
        shown = f"field '{printable(field.name)}'"
        types = POINT_FIELD_TYPES if field.name in _NETWORK_FIELDS else INTENSITY_TYPES
        element = types.get(field.datatype)
        if element is None:
            raise CloudError(f"{shown} has datatype {field.datatype}, must be 1..8")
        if field.name in _NETWORK_FIELDS and element.kind != "f":
            raise CloudError(f"{shown} is {element.name}, must be float32 or float64")
        end = field.offset + element.itemsize
        if field.offset < 0 or end > point_step:
            raise CloudError(
                f"{shown} covers bytes {field.offset}..{end} of a point of point_step {point_step}"
            )
        formats.append(element.newbyteorder(">" if is_bigendian else "<"))
    dtype = np.dtype(
        {
            "names": [*_NETWORK_FIELDS, "intensity"][: len(fields)],
            "formats": formats,
            "offsets": [field.offset for field in fields],
            "itemsize": point_step,
        }
    )
    are_words = all(field.datatype == _FLOAT32 for field in fields) and not is_bigendian
    offsets = [field.offset for field in fields]
    return _Layout(
        dtype,
        is_contiguous_xyzi=are_words
        and sys.byteorder == "little"
        and point_step == 16
        and offsets == [0, 4, 8, 12],
        word_offsets=np.array([*offsets, offsets[0]][:4], np.int64) if are_words else None,
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = [printable(name) or "''" for name in names[:_MAX_LISTED]]
    more = [f"and {len(names) - _MAX_LISTED} more"] if len(names) > _MAX_LISTED else []
    return ", ".join(shown + more) or "none"
