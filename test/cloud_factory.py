# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Point clouds for the tests: well-formed ones of any layout, and hostile ones from a seed."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FLOAT32, FLOAT64, INT8, UINT8, UINT16, INT32 = 7, 8, 1, 2, 4, 5


@dataclass
class Field:
    """Stands in for sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int = FLOAT32
    count: int = 1


@dataclass
class Cloud:
    """Stands in for sensor_msgs/PointCloud2."""

    height: int
    width: int
    fields: list[Field]
    point_step: int
    row_step: int
    data: object
    is_bigendian: bool = False
    is_dense: bool = True
    stamp: tuple[int, int] = field(default=(0, 0))


XYZI = [Field("x", 0), Field("y", 4), Field("z", 8), Field("intensity", 12)]


def xyzi_cloud(points: NDArray[np.float32]) -> Cloud:
    """The layout that the network takes as it is: (N, 4) float32."""
    points = np.ascontiguousarray(points, dtype=np.float32)
    data = array("B")
    data.frombytes(points.tobytes())
    return Cloud(1, len(points), list(XYZI), 16, 16 * len(points), data)


def random_points(num_points: int, seed: int = 0) -> NDArray[np.float32]:
    """(N, 4) float32 points around a vehicle, ground and clutter."""
    rng = np.random.default_rng(seed)
    points = np.empty((num_points, 4), dtype=np.float32)
    points[:, 0] = rng.uniform(-60.0, 60.0, num_points)
    points[:, 1] = rng.uniform(-40.0, 40.0, num_points)
    points[:, 2] = rng.uniform(-2.0, 1.0, num_points)
    points[:, 3] = rng.uniform(0.0, 1.0, num_points)
    return points


def packed_cloud(
    points: NDArray[np.float32],
    fields: list[Field],
    point_step: int,
    *,
    height: int = 1,
    row_padding: int = 0,
    is_bigendian: bool = False,
) -> Cloud:
    """Writes points value by value with `struct`: slow, obvious, independent of numpy's dtypes."""
    columns = {"x": 0, "y": 1, "z": 2, "intensity": 3, "i": 3, "reflectivity": 3}
    codes = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}
    order = ">" if is_bigendian else "<"
    width = len(points) // height
    row_step = width * point_step + row_padding
    data = bytearray(b"\xa5" * (height * row_step))
    for index, point in enumerate(points):
        row, column = divmod(index, width)
        for entry in fields:
            if entry.name not in columns:
                continue
            value = float(point[columns[entry.name]])
            code = codes[entry.datatype]
            packed = struct.pack(order + code, value if code in "fd" else round(value))
            start = row * row_step + column * point_step + entry.offset
            data[start : start + len(packed)] = packed
    return Cloud(height, width, fields, point_step, row_step, array("B", bytes(data)), is_bigendian)


def hostile_cloud(rng: np.random.Generator) -> Cloud:
    """One cloud that is wrong in up to three ways, or right but unusual, or right."""
    num_points = int(rng.integers(0, 60))
    points = random_points(num_points, seed=int(rng.integers(0, 1000)))
    cloud = xyzi_cloud(points)
    for _ in range(int(rng.integers(0, 4))):
        _spoil(cloud, rng)
    return cloud


def _spoil(cloud: Cloud, rng: np.random.Generator) -> None:
    any_uint32 = [0, 1, 3, 15, 17, 2**16, 2**31 - 1, 2**32 - 1]
    pick = int(rng.integers(0, 15))
    data = bytearray(bytes(cloud.data))  # type: ignore[call-overload]
    if pick == 0:  # cut off in transport
        del data[int(rng.integers(0, len(data) + 1)) :]
    elif pick == 1:
        cloud.point_step = int(rng.choice(any_uint32))
    elif pick == 2:
        cloud.row_step = int(rng.choice(any_uint32))
    elif pick == 3:
        cloud.width = int(rng.choice(any_uint32))
    elif pick == 4:
        cloud.height = int(rng.choice(any_uint32))
    elif pick == 5:  # a field that overlaps, or lies outside the point
        index = int(rng.integers(0, 4))
        _replace(cloud, index, offset=int(rng.choice([*range(17), *any_uint32])))
    elif pick == 6:
        _replace(cloud, int(rng.integers(0, 4)), datatype=int(rng.integers(0, 256)))
    elif pick == 7:
        _replace(cloud, int(rng.integers(0, 4)), count=int(rng.choice(any_uint32)))
    elif pick == 8:
        names = ["", "x", "X", "ring", "i", "reflectivity", "x_0", "\u03bb" * 40]
        _replace(cloud, int(rng.integers(0, 4)), name=str(rng.choice(names)))
    elif pick == 9 and cloud.fields:
        del cloud.fields[int(rng.integers(0, len(cloud.fields)))]
    elif pick == 10:
        cloud.is_bigendian = True
    elif pick == 11 and data:  # garbage bytes: NaN, Inf, denormals, anything
        start = int(rng.integers(0, len(data)))
        data[start:] = rng.bytes(len(data) - start)
    elif pick == 12:
        values = np.frombuffer(bytes(data[: len(data) // 4 * 4]), dtype=np.float32).copy()
        if values.size:
            chosen = rng.integers(0, values.size, size=max(1, values.size // 4))
            values[chosen] = rng.choice(np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-42]))
            data[: 4 * values.size] = values.tobytes()
    elif pick == 13 and cloud.width and cloud.width % 2 == 0 and cloud.height == 1:  # organised
        cloud.height, cloud.width = 2, cloud.width // 2
        cloud.row_step = cloud.width * cloud.point_step
    elif pick == 14:
        cloud.height, cloud.width, data = 0, int(rng.integers(0, 9)), bytearray()
    cloud.data = array("B", bytes(data))


def _replace(cloud: Cloud, index: int, **changes: object) -> None:
    if index < len(cloud.fields):
        old = cloud.fields[index]
        values = {"name": old.name, "offset": old.offset, "datatype": old.datatype}
        values["count"] = old.count
        values.update(changes)  # type: ignore[arg-type]
        cloud.fields[index] = Field(**values)  # type: ignore[arg-type]
