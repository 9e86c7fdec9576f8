# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Point clouds that no driver should send, by number: what `hostile_clouds.py` throws.

Each is a PointCloud2 of some layout and byte order that lies about its size, its fields or its
names, or whose points are not finite, denormal, huge, on the exact borders of the network's tables,
all in one place, or nothing out of the ordinary.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

# sensor_msgs/PointField datatypes and what numpy calls them.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_ANY_UINT32 = (0, 1, 3, 4, 12, 15, 16, 17, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_NAMES = ("x", "y", "z", "intensity", "i", "reflectivity", "ring", "t", "time", "_", "", "X", "x_0")
_HOSTILE_NAMES = (
    *("\n", "\x1b[31mx\x1b[0m", "a\0b", "λ" * 60, "\ufffd", "%s%n{0}", "'; drop", "n" * 5000),
    *("\udcff", "intensity\n", "x y"),
)
_FRAMES = ("velodyne", "", "base_link", "\n", "\x1b[2J", "λ/μ", "\ufffd", "{}%s", "f" * 256)
# Borders of cells, bins, sectors and grids: `health/scan_statistics.py`, `detection/grid.py`.
_EDGES = np.float32(
    [
        *(0.0, 0.3, 0.5, 1.0, 1.73, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 19.5, 20.0, 20.48, 30.0),
        *(40.0, 40.96, 45.0, 61.44, 65.0, 69.12, 81.92, 100.0, 200.0, 300.0, 1e6, 2.0**31),
    ]
)
_SPECIAL = np.float32(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-42, 1e-30, 1e19, -1e30, 3.4e38, -3.4e38]
)
_BORDERS = np.concatenate(
    [np.nextafter(s * _EDGES, np.float32(e)) for s in (-1, 1) for e in (-np.inf, 0, np.inf)]
    + [_EDGES, -_EDGES]
)


_LOWEST = np.float32([-60.0, -40.0, -2.5, 0.0])
_EXTENT = np.float32([120.0, 80.0, 4.0, 1.0])
_SIZES = ("width", "height", "point_step", "row_step")


def hostile_cloud(seed: int, index: int) -> PointCloud2:
    """The cloud of this number."""
    draw = random.Random(seed << 48 | index)
    msg = _laid_out(_points(draw), draw)
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 3))):
        draw.choice(_LIES)(msg, draw)
    # What is sent of a frame is made anew with its name: in stretches, as from a sensor.
    msg.header.frame_id = _FRAMES[index // 500 % len(_FRAMES)]
    if draw.random() < 1e-3:
        msg.header.frame_id = "f" * draw.choice((1000, 100_000))
    msg.header.stamp.sec = draw.choice((0, index, -1, 2**31 - 1, -(2**31)))
    msg.header.stamp.nanosec = draw.choice((0, 999_999_999, 2**32 - 1))
    msg.is_dense = draw.random() < 0.5
    return msg


def _points(draw: random.Random) -> np.ndarray:
    """(N, 4) float32: x, y, z, intensity of some kind."""
    rng = np.random.default_rng(draw.getrandbits(64))
    number = 20_000 if draw.random() < 0.002 else draw.choice((0, 1, 2, 7, 60, 200, 200, 1000))
    points = rng.random((number, 4), np.float32) * _EXTENT + _LOWEST
    kind = draw.randrange(10)
    if kind == 0:
        points = _BORDERS[rng.integers(0, len(_BORDERS), (number, 4))]
    elif kind == 1:  # an exact border in one column
        points[:, draw.randrange(4)] = _BORDERS[rng.integers(0, len(_BORDERS), number)]
    elif kind == 2:  # one place, or as good as
        points[:, :3] *= np.float32(1e-4)
        points[:, :3] += [draw.choice(_BORDERS) for _ in range(3)]
    elif kind == 3:  # the same points again and again
        points = points[rng.integers(0, 3, number)] if number > 2 else points
    elif kind == 4:
        points = _SPECIAL[rng.integers(0, len(_SPECIAL), (number, 4))]
    elif kind == 5:
        points[rng.random((number, 4)) < draw.random()] = draw.choice(_SPECIAL)
    elif kind == 6:  # any bits at all
        points = np.frombuffer(rng.bytes(16 * number), np.float32).reshape(-1, 4)
    elif kind == 7:  # drivers' "no return"
        points[rng.random(number) < draw.random()] = draw.choice((0.0, np.nan))
    elif kind == 8:  # intensities of another scale
        points[:, 3] *= np.float32(draw.choice((255, 65535, -1, 1e30)))
    return points


def _laid_out(points: np.ndarray, draw: random.Random) -> PointCloud2:
    """A valid message of these points, of a layout that drivers use or might."""
    order = ">" if draw.random() < 0.2 else "<"
    names = ["x", "y", "z", draw.choice(("intensity", "intensity", "i", "reflectivity"))]
    kinds = [7, 7, 7, draw.choice((7, 7, 2, 4))] if draw.random() < 0.9 else [8, 8, 8, 8]
    for k in range(draw.choice((0, 0, 0, 1, 3))):
        names.append(f"{draw.choice(_NAMES[6:10])}{k}")
        kinds.append(draw.randrange(1, 9))
    places = list(range(len(names)))
    if draw.random() < 0.3:
        draw.shuffle(places)
    offsets, offset = [0] * len(names), 0
    for k in places:
        offset += draw.choice((0, 0, 0, 0, 1, 4))
        offsets[k] = offset
        offset += int(_TYPES[kinds[k]][1])
    step = offset + draw.choice((0, 0, 0, 1, 16))
    dtype = np.dtype(
        {
            "names": ["x", "y", "z", "i"],
            "formats": [order + _TYPES[kind] for kind in kinds[:4]],
            "offsets": offsets[:4],
            "itemsize": step,
        }
    )
    height = draw.choice((1, 1, 1, 2, 4))
    width = len(points) // height
    cloud = np.zeros(height * width, dtype)
    with np.errstate(all="ignore"):
        for column, name in enumerate("xyzi"):
            cloud[name] = points[: len(cloud), column]
    rows = cloud.view(np.uint8).reshape(height, -1)
    padding = draw.choice((0, 0, 0, 1, 16))
    data = np.pad(rows, ((0, 0), (0, padding))).tobytes() if padding else rows.tobytes()
    msg = PointCloud2(height=height, width=width, point_step=step, is_bigendian=order == ">")
    msg.row_step = width * step + padding
    msg.fields = [_field(*f) for f in zip(names, offsets, kinds, strict=True)]
    msg.data = array("B", data)
    return msg


def _field(name: str, offset: int, datatype: int, count: int = 1) -> PointField:
    return PointField(name=name, offset=offset, datatype=datatype, count=count)


def _set_size(msg: PointCloud2, draw: random.Random) -> None:
    setattr(msg, draw.choice(_SIZES), draw.choice(_ANY_UINT32))


def _nudge_size(msg: PointCloud2, draw: random.Random) -> None:
    name = draw.choice(_SIZES)
    setattr(msg, name, max(0, getattr(msg, name) + draw.choice((-4, -1, 1, 4))))


def _wrap_around(msg: PointCloud2, draw: random.Random) -> None:
    """Sizes whose product is small in 32 or 64 bits."""
    msg.width, msg.height = draw.choices((2**16, 2**31, 2**32 - 1, 2**20), k=2)
    msg.row_step = msg.width * msg.point_step % 2**32


def _cut(msg: PointCloud2, draw: random.Random) -> None:
    msg.data = msg.data[: draw.randrange(len(msg.data) + 1)]


def _lengthen(msg: PointCloud2, draw: random.Random) -> None:
    msg.data = msg.data + array("B", bytes(draw.randrange(1, 100)))


def _flip_bits(msg: PointCloud2, draw: random.Random) -> None:
    for _ in range(min(len(msg.data), 40)):
        msg.data[draw.randrange(len(msg.data))] ^= 1 << draw.randrange(8)


def _swap_bytes(msg: PointCloud2, draw: random.Random) -> None:
    msg.is_bigendian = not msg.is_bigendian


def _no_rows(msg: PointCloud2, draw: random.Random) -> None:
    msg.row_step = 0


def _turn_over(msg: PointCloud2, draw: random.Random) -> None:
    msg.width, msg.height = msg.height, msg.width


def _spoil_field(msg: PointCloud2, draw: random.Random) -> None:
    if not msg.fields:
        return
    entry, what = draw.choice(msg.fields), draw.randrange(5)
    if what == 0:
        entry.offset = draw.choice(_ANY_UINT32)
    elif what == 1:
        entry.datatype = draw.randrange(256)
    elif what == 2:
        entry.count = draw.choice(_ANY_UINT32)
    else:
        entry.name = draw.choice(_NAMES if what == 3 else _HOSTILE_NAMES)


def _all_in_one_place(msg: PointCloud2, draw: random.Random) -> None:
    """Fields that overlap."""
    for entry in msg.fields:
        entry.offset = 0


def _drop_field(msg: PointCloud2, draw: random.Random) -> None:
    fields = list(msg.fields)
    if fields:
        del fields[draw.randrange(len(fields))]
    msg.fields = fields


def _repeat_fields(msg: PointCloud2, draw: random.Random) -> None:
    msg.fields = (list(msg.fields) * draw.choice((2, 40)))[:200]


def _many_fields(msg: PointCloud2, draw: random.Random) -> None:
    names = (f"f{k}" for k in range(draw.choice((5, 5, 60, 300))))
    msg.fields = [*msg.fields, *(_field(name, 0, 2) for name in names)]


_LIES: tuple[Callable[[PointCloud2, random.Random], None], ...] = (
    *(_set_size, _nudge_size, _wrap_around, _cut, _lengthen, _flip_bits, _swap_bytes, _no_rows),
    *(_turn_over, _spoil_field, _spoil_field, _spoil_field, _all_in_one_place, _drop_field),
    *(_repeat_fields, _many_fields),
)
