# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the player changes in recorded messages: the points of clouds, and stamps.

A corruption moves, dims and loses points; whatever else a driver tells of them (ring, time, range)
has to stay with its point, in the driver's own layout and units.

CDR puts a leading `std_msgs/Header`'s stamp right behind the 4 bytes of encapsulation, so a point
cloud or an image gets a new stamp by exchanging 8 bytes. A type whose headers are inside (a
MarkerArray, a TFMessage) is taken apart and put together again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from eloss_perception.detection.sensors import (
    NETWORK_SENSOR_HEIGHT,
    SENSORS,
    SensorModel,
    to_network_frame,
)
from eloss_perception.errors import CloudError, DataError
from eloss_perception.ros.convert import INTENSITY_TYPES, POINT_FIELD_TYPES, points_from_msg
from eloss_perception.simulation.corruptions.scan import PointArray, is_return

Rows = npt.NDArray[np.void]

_HEADER = "std_msgs/msg/Header"
_STAMP_START, _STAMP_END = 4, 12


@dataclass(frozen=True, slots=True)
class CloudRows:
    """A point cloud taken apart.

    Attributes:
        cloud: The message.
        sensor: What recorded it.
        rows: (N,) one structured element a point: x, y, z, intensity, and all its bytes.
        points: (N, 4) float32 in the network frame, intensity in [0, 1].
        is_measured: (N,) whether there was a return; drivers write NaN or zeros where not.
    """

    cloud: Any
    sensor: SensorModel
    rows: Rows
    points: PointArray
    is_measured: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, cloud: Any, sensor: SensorModel) -> CloudRows:
        """Takes a sensor_msgs/PointCloud2 apart.

        Raises:
            CloudError: It contradicts itself or lacks a field.
        """
        points = points_from_msg(cloud, sensor)
        fields = {field.name: field for field in reversed(cloud.fields)}
        lower = {field.name.lower(): field.name for field in reversed(cloud.fields)}
        wanted = sensor.intensity_fields
        intensity = next((lower[name.lower()] for name in wanted if name.lower() in lower), None)
        if any(name in fields for name in wanted):
            intensity = next(name for name in wanted if name in fields)
        used = {"x": "x", "y": "y", "z": "z"} | ({"intensity": intensity} if intensity else {})
        layout: Any = {
            "names": list(used),
            "formats": [
                (INTENSITY_TYPES if key == "intensity" else POINT_FIELD_TYPES)[
                    fields[name].datatype
                ].newbyteorder(">" if cloud.is_bigendian else "<")
                for key, name in used.items()
            ],
            "offsets": [fields[name].offset for name in used.values()],
            "itemsize": cloud.point_step,
        }
        dtype: np.dtype[np.void] = np.dtype(layout)
        height, width = (cloud.height, cloud.width) if len(points) else (0, 0)
        raw = np.frombuffer(cloud.data, np.uint8)
        packed = width * cloud.point_step
        # As `points_from_msg` sees it: what follows a single row does not count.
        step = packed if height <= 1 or raw.size == height * packed else cloud.row_step
        grid: Rows = np.ndarray((height, width), dtype, raw, strides=(step, cloud.point_step))
        rows = grid.view(f"V{cloud.point_step}").reshape(-1).copy().view(dtype)
        is_at_origin = (rows["x"] == 0) & (rows["y"] == 0) & (rows["z"] == 0)
        return cls(cloud, sensor, rows, points, is_return(points) & ~is_at_origin)

    def fits(self, other: CloudRows) -> bool:
        """Whether the two clouds have one layout and, where it is a grid, one size."""
        mine, its = self.cloud, other.cloud
        return self.rows.dtype == other.rows.dtype and (
            (mine.height == its.height == 1) or (mine.height, mine.width) == (its.height, its.width)
        )

    def measured(self, first_row: int = 0) -> PointArray:
        """(M, 5) float32: the points that were measured, and behind each the number of its row."""
        numbers = np.arange(first_row, first_row + len(self.points), dtype=np.float32)
        return np.column_stack([self.points, numbers])[self.is_measured]

    def message(self, points: PointArray, previous: CloudRows | None, make: Any) -> Any:
        """Returns the cloud with other points in it, under its own header.

        Args:
            points: (M, 5) as `measured` gave them, after what happened to them; numbers from
                `len(self.points)` on are rows of `previous`.
            previous: The scan before.
            make: Makes a message of a type from its fields.
        """
        size = len(self.rows)
        number = points[:, 4].astype(np.int64)
        place = np.where(number < size, number, number - size)
        order = np.argsort(place, kind="stable")
        points, number, place = points[order], number[order], place[order]
        rows, before = self.rows, self.points
        if previous is not None:
            rows = np.concatenate([_bytes(rows), _bytes(previous.rows)]).view(rows.dtype)
            before = np.concatenate([before, previous.points])
        changed = self._written(
            _bytes(rows)[number].view(rows.dtype), before[number], points[:, :4]
        )
        if self.cloud.height == 1:
            untouched = np.flatnonzero(~self.is_measured)
            everything = np.concatenate([_bytes(changed), _bytes(self.rows)[untouched]])
            order = np.argsort(np.concatenate([place, untouched]), kind="stable")
            data, shape = everything[order], (1, len(order))
        else:
            grid = _bytes(self.rows).copy().view(self.rows.dtype)
            lost = self.is_measured.copy()
            lost[place] = False
            nothing = 0.0 if self._writes_zeros() else np.nan
            for name in ("x", "y", "z"):
                grid[name][lost] = nothing
            data, shape = _bytes(grid), (self.cloud.height, self.cloud.width)
            data[place] = _bytes(changed)
        step = self.cloud.point_step
        has_no_return = bool((~self.is_measured).any()) or len(np.unique(place)) < size
        return make(
            "sensor_msgs/msg/PointCloud2",
            header=self.cloud.header,
            height=shape[0],
            width=shape[1],
            fields=self.cloud.fields,
            is_bigendian=self.cloud.is_bigendian,
            point_step=step,
            row_step=shape[1] * step,
            data=np.frombuffer(data.tobytes(), np.uint8),
            is_dense=bool(self.cloud.is_dense) and (shape[0] == 1 or not has_no_return),
        )

    def _written(self, rows: Rows, before: PointArray, after: PointArray) -> Rows:
        """The rows with what is new of their points, in the driver's frame and units."""
        back = replace(
            self.sensor,
            forward_yaw=-self.sensor.forward_yaw,
            mounting_height=2.0 * NETWORK_SENSOR_HEIGHT - self.sensor.mounting_height,
        )
        is_moved = (after[:, :3] != before[:, :3]).any(axis=1)
        moved = to_network_frame(after[is_moved], back)
        for column, name in enumerate(("x", "y", "z")):
            rows[name][is_moved] = moved[:, column]
        if rows.dtype.names and "intensity" in rows.dtype.names:
            is_dimmed = after[:, 3] != before[:, 3]
            raw = after[is_dimmed, 3] * np.float32(self._intensity_unit())
            kind = rows.dtype["intensity"]
            if kind.kind in "iu":
                limits = np.iinfo(kind)
                raw = np.clip(np.rint(raw), limits.min, limits.max)
            rows["intensity"][is_dimmed] = raw
        return rows

    def _intensity_unit(self) -> float:
        """Raw intensity that was read as 1: a driver's fields have units of their own."""
        points = self.points[:, 3]
        is_inside = self.is_measured & (points > 0.0) & (points < 1.0)
        if not is_inside.any():
            return self.sensor.intensity_scale
        raw = self.rows["intensity"][is_inside].astype(np.float64)
        return float(np.median(raw / points[is_inside]))

    def _writes_zeros(self) -> bool:
        """Whether this driver says "no return" with zeros, not with NaN."""
        x = self.rows["x"][~self.is_measured]
        return bool(len(x)) and not bool(np.isnan(x).any())


def _bytes(rows: Rows) -> Rows:
    """The same memory as elements without fields: copying those takes all their bytes along."""
    return rows.view(f"V{rows.dtype.itemsize}")


def likely_sensor(cloud: Any) -> str:
    """The sensor that nobody named, by the names and the largest value of the intensity.

    Raises:
        CloudError: The cloud cannot be read.
    """
    names = {field.name for field in cloud.fields}
    if "reflectivity" in names and {"t", "ring"} <= names:
        return "ouster"
    unscaled = CloudRows.of(cloud, replace(SENSORS["velodyne"], intensity_scale=1.0)).rows
    if unscaled.dtype.names is None or "intensity" not in unscaled.dtype.names:
        raise CloudError("the cloud has no intensity")
    largest = float(np.nanmax(unscaled["intensity"], initial=0.0))
    return "kitti_hdl64" if largest <= 1.0 else "velodyne" if largest <= 255.0 else "ouster"


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
