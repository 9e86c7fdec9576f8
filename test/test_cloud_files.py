# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PCD, PLY and NumPy files: every encoding reads the same points, and no header is believed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from eloss_perception.cli.scans import find_scans, read_scan
from eloss_perception.datasets import cloud_files
from eloss_perception.detection.sensors import SENSORS, find_sensor
from eloss_perception.errors import CloudError, DataError
from eloss_perception.ros.convert import points_from_msg

SENSOR = SENSORS["velodyne"]
NUM_POINTS = 600
# As drivers' point types are saved: not packed, and with what nobody needs.
RECORD = np.dtype(
    {
        "names": ["x", "y", "z", "_", "intensity", "ring"],
        "formats": ["<f4", "<f4", "<f4", ("u1", 4), "<f4", "<u2"],
    }
)


def records() -> np.ndarray:
    rng = np.random.default_rng(3)
    points = np.zeros(NUM_POINTS, RECORD)
    for name, low, high in (("x", -40, 40), ("y", -40, 40), ("z", -2, 2)):
        points[name] = rng.uniform(low, high, NUM_POINTS)
    points["intensity"] = rng.integers(0, 256, NUM_POINTS)
    points["ring"] = np.arange(NUM_POINTS) % 16
    points["x"][::50] = np.nan  # no returns
    for name in "xyz":
        points[name][7] = 0.0
    return points


def expected() -> np.ndarray:
    points = records()
    wanted = np.column_stack([points[name] for name in ("x", "y", "z", "intensity")])
    wanted[:, 3] /= 255.0
    wanted[7, :3] = np.nan
    return wanted.astype(np.float32)


def pcd(encoding: str, height: int = 1) -> bytes:
    points = records()
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z _ intensity ring\n"
        f"SIZE 4 4 4 1 4 2\nTYPE F F F U F U\nCOUNT 1 1 1 4 1 1\nWIDTH {NUM_POINTS // height}\n"
        f"HEIGHT {height}\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {NUM_POINTS}\nDATA {encoding}\n"
    ).encode()
    if encoding == "ascii":
        columns = [points[name].reshape(NUM_POINTS, -1) for name in RECORD.names or ()]
        return header + text(np.concatenate([c.astype(np.float64) for c in columns], axis=1))
    if encoding == "binary":
        return header + points.tobytes()
    by_field = b"".join(np.ascontiguousarray(points[n]).tobytes() for n in RECORD.names or ())
    packed = lzf(by_field)
    return header + struct.pack("<II", len(packed), len(by_field)) + packed


def text(rows: np.ndarray) -> bytes:
    return "".join(" ".join(f"{value:.9g}" for value in row) + "\n" for row in rows).encode()


def lzf(data: bytes) -> bytes:
    """Literals, and a copy wherever the last 8192 bytes hold the next five."""
    packed, literal, at = bytearray(), bytearray(), 0

    def flush() -> None:
        for start in range(0, len(literal), 32):
            part = literal[start : start + 32]
            packed.append(len(part) - 1)
            packed.extend(part)
        literal.clear()

    while at < len(data):
        found = data.rfind(data[at : at + 5], max(0, at - 8192), at + 4)
        if found < 0 or found >= at or at + 5 > len(data):
            literal.append(data[at])
            at += 1
            continue
        length = 5
        while (
            at + length < len(data) and length < 264 and data[found + length] == data[at + length]
        ):
            length += 1
        flush()
        distance = at - found - 1
        packed.append((min(length - 2, 7) << 5) | (distance >> 8))
        if length >= 9:
            packed.append(length - 9)
        packed.append(distance & 255)
        at += length
    flush()
    return bytes(packed)


def ply(encoding: str) -> bytes:
    points = records()
    header = (
        f"ply\nformat {encoding} 1.0\ncomment by hand\nelement camera 2\nproperty uchar a\n"
        f"property double b\nelement vertex {NUM_POINTS}\nproperty float x\nproperty double y\n"
        "property float32 z\nproperty ushort ring\nproperty float scalar_Intensity\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode()
    if encoding == "ascii":
        names = ("x", "y", "z", "ring", "intensity")
        rows = np.column_stack([points[name].astype(np.float64) for name in names])
        return header + b"1 2.5\n2 3.5\n" + text(rows) + b"3 0 1 2\n"
    order = "<" if "little" in encoding else ">"
    types = [("x", "f4"), ("y", "f8"), ("z", "f4"), ("ring", "u2"), ("intensity", "f4")]
    vertices = np.empty(NUM_POINTS, [(name, order + kind) for name, kind in types])
    for name, _ in types:
        vertices[name] = points[name]
    face = struct.pack(order + "B3i", 3, 0, 1, 2)
    return header + struct.pack(order + "BdBd", 1, 2.5, 2, 3.5) + vertices.tobytes() + face


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def columns(num_columns: int = 5) -> np.ndarray:
    points = records()
    names = ("x", "y", "z", "intensity", "ring")[:num_columns]
    return np.column_stack([points[name] for name in names])


FILES = {
    "ascii.pcd": pcd("ascii"),
    "binary.pcd": pcd("binary"),
    "packed.PCD": pcd("binary_compressed"),
    "organised.pcd": pcd("binary_compressed", height=4),
    "without_count.pcd": pcd("ascii")
    .replace(b"COUNT 1 1 1 4 1 1\n", b"")
    .replace(
        b"FIELDS x y z _ intensity ring\nSIZE 4 4 4 1 4 2\nTYPE F F F U F U",
        b"COLUMNS x y z a b c d intensity ring\nSIZE 4 4 4 1 1 1 1 4 2\nTYPE F F F U U U U F U",
    ),
    "no_size.pcd": pcd("binary")
    .replace(b"WIDTH 600", b"WIDTH 0")
    .replace(b"HEIGHT 1", b"HEIGHT 0"),
    "crlf.pcd": pcd("ascii").replace(b"\n", b"\r\n"),
    "ascii.ply": ply("ascii"),
    "little.ply": ply("binary_little_endian"),
    "big.ply": ply("binary_big_endian"),
    "rows.npy": npy(columns().astype("<f8")),
    "big.npy": npy(columns(4).astype(">f4")),
    "fortran.npy": npy(np.asfortranarray(columns(4).astype("<f4"))),
    "fields.npy": npy(records()),
    "big_fields.npy": npy(records().astype(RECORD.newbyteorder(">"))),
    "organised.npy": npy(records().reshape(4, -1)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_encoding_reads_the_same_points(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    points = read_scan(path, SENSOR)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, expected(), rtol=1e-6, equal_nan=True)
    assert [scan.path for scan in find_scans([tmp_path], "val")] == [path]


def test_a_file_is_read_as_the_sensors_messages_are(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(columns(4)))
    # As in a .bin file, what an Ouster's fourth column holds is the reflectivity.
    np.testing.assert_allclose(read_scan(path, SENSORS["ouster"])[:, 3], expected()[:, 3])
    dark = find_sensor("velodyne", intensity_scale=510.0, mounting_height=0.0)
    points = read_scan(path, dark)
    np.testing.assert_allclose(points[:, 3], expected()[:, 3] / 2.0, rtol=1e-6)
    np.testing.assert_allclose(points[1, 2], expected()[1, 2] - 1.73, rtol=1e-5)
    path.write_bytes(npy(columns(3)))
    with pytest.raises(DataError, match=r"a\.npy: no intensity field .* present: x, y, z"):
        read_scan(path, SENSOR)
    assert (read_scan(path, find_sensor("velodyne", intensity_field="none"))[:, 3] == 0.3).mean()


def test_the_wrong_scale_and_the_wrong_unit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd("binary"))
    with pytest.raises(DataError, match=r"a\.pcd: intensity is saturated: check sensor"):
        read_scan(path, SENSORS["kitti_hdl64"])
    path = tmp_path / "mm.npy"
    path.write_bytes(npy(columns(4) * [1000, 1000, 1000, 1]))
    with pytest.raises(DataError, match=r"mm\.npy: coordinates lie beyond a kilometre"):
        read_scan(path, SENSOR)


def test_what_a_file_is_called_and_what_it_is_agree(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.bin", pcd("binary"), r"called \.bin but is a \.pcd file"),
        ("a.pcd", npy(columns()), r"called \.pcd but is a \.npy file"),
        ("a.ply", b"no ply at all", r"called \.ply but begins as none"),
        ("a.npy", b"\x93NUMP", r"called \.npy but begins as none"),
        ("a.pcd", b"x y z\n" * 9, "no header ends"),
        ("a.txt", b"1 2 3 4\n", r"a scan is one of \.bin, \.pcd, \.ply, \.npy"),
        *((f"a.{suffix}", b"", "the file is empty") for suffix in ("bin", "pcd", "ply", "npy")),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_scan(path, SENSOR)


def test_a_file_that_no_scan_could_fill_is_not_read(tmp_path: Path) -> None:
    for name in ("a.bin", "a.pcd"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(10**12)  # a hole, no bytes
        with pytest.raises(DataError, match="400 MB are no single scan"):
            read_scan(tmp_path / name, SENSOR)


HOSTILE = {
    # A header's word, what stands there instead, and what is said.
    "pcd": [
        (b"POINTS 600", b"POINTS 999999999999", "is not POINTS"),
        (b"POINTS 600", b"POINTS -600", "POINTS -600 in the header is no count"),
        (b"POINTS 600", b"POINTS " + b"9" * 5000, "is no count"),
        (b"WIDTH 600", b"WIDTH 600000000000", "is not POINTS"),
        (b"SIZE 4 4 4 1 4 2", b"SIZE 4 4 4 1 4", "different lengths"),
        (b"SIZE 4 4 4 1 4 2", b"SIZE 4 4 4 1 4 3", "field 'ring' of the header has SIZE 3"),
        (b"COUNT 1 1 1 4 1 1", b"COUNT 1 1 1 999999999999 1 1", "needs|need"),
        (b"COUNT 1 1 1 4 1 1", b"COUNT 1 1 1 4 1 2", "needs|need"),
        (b"TYPE F F F U F U", b"TYPE F F F U F X", "TYPE X"),
        (b"FIELDS x", b"FIELDS w", "field 'x' is missing"),
        (b"DATA ", b"DATA x", "must be ascii, binary or binary_compressed"),
        (b"DATA ", b"DAT ", "no header ends|is missing|lengths"),
    ],
    "ply": [
        (b"vertex 600", b"vertex 999999999999", "more than|need"),
        (b"vertex 600", b"vertex -600", "is no count"),
        (b"camera 2", b"camera 999999999999", "needs|need"),
        (b"element vertex", b"element vertices", "list or a type|no element vertex"),
        (b"float x", b"list uchar int x", "element vertex has a list"),
        (b"float x", b"quad x", "element vertex has a list or a type that is unknown"),
        (b"float x", b"float w", "field 'x' is missing"),
        (b"format ", b"format x", "is unknown"),
        (b"end_header", b"end_of_header", "no header ends"),
    ],
}


@pytest.mark.parametrize("name", ["ascii", "binary", "binary_compressed"])
def test_no_pcd_header_is_believed(name: str) -> None:
    for old, new, message in HOSTILE["pcd"]:
        content = pcd(name).replace(old, new, 1)
        assert content != pcd(name)
        with pytest.raises(CloudError, match=message):
            points_from_msg(cloud_files.read_pcd(content), SENSOR)


@pytest.mark.parametrize("name", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_no_ply_header_is_believed(name: str) -> None:
    for old, new, message in HOSTILE["ply"]:
        content = ply(name).replace(old, new, 1)
        assert content != ply(name)
        with pytest.raises(CloudError, match=message):
            points_from_msg(cloud_files.read_ply(content), SENSOR)


def test_vertices_that_begin_elsewhere_than_the_header_ends_are_refused() -> None:
    content = ply("binary_little_endian").replace(b"element face 1\n", b"")
    content = content.replace(b"property list uchar int vertex_indices\n", b"")[:-13]
    assert cloud_files.read_ply(content).width == NUM_POINTS
    with pytest.raises(CloudError, match="bytes of data, 600 vertices need"):
        cloud_files.read_ply(content.replace(b"end_header\n", b"end_header\n    "))


def npy_of(header: str, body: bytes = b"\0" * 160) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_of("{'descr': '|O', 'fortran_order': False, 'shape': (10, 4)}"), "holds no points"),
        (npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 4)}"), "header"),
        (npy_of(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**18}, 4)}}"), "needs"),
        (npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-10, -4)}"), "holds no points"),
        (npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (11, 4)}"), "160 bytes"),
        (npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 10)}"), "field|rows|^$"),
        (npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (40,)}"), "rows of floats"),
        (npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", b"\0" * 4), "rows of"),
        (npy_of("{'descr': '<i4', 'fortran_order': False, 'shape': (10, 4)}"), "rows of floats"),
        (npy_of("__import__('os').abort()"), "header cannot be read"),
        (npy_of("(" * 110), "header cannot be read"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 70000, "header cannot be read"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 200, "header cannot be read"),
        (b"\x93NUMPY", "header cannot be read"),
    ],
)
def test_no_numpy_header_is_believed(content: bytes, message: str) -> None:
    if message.endswith("^$"):  # few points of many columns: read as they stand
        assert len(points_from_msg(cloud_files.read_npy(content, "intensity"), SENSOR)) == 4
        return
    with pytest.raises(CloudError, match=message):
        points_from_msg(cloud_files.read_npy(content, "intensity"), SENSOR)


def test_an_array_of_objects_is_never_unpickled() -> None:
    with pytest.raises(CloudError, match="holds no points"):
        cloud_files.read_npy(npy(np.array([{}, {}], object), allow_pickle=True), "intensity")


@pytest.mark.parametrize("seed", range(60))
def test_files_that_are_cut_off_or_damaged_give_points_or_a_cloud_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name, content in FILES.items():
        damaged = bytearray(content[: rng.integers(1, len(content))] if seed % 2 else content)
        for _ in range(rng.integers(0, 6)):
            place = rng.integers(0, min(len(damaged), 600 if seed % 3 else len(damaged)))
            damaged[place] = rng.integers(0, 256)
        read = {
            ".pcd": cloud_files.read_pcd,
            ".ply": cloud_files.read_ply,
            ".npy": lambda content: cloud_files.read_npy(content, "intensity"),
        }[Path(name).suffix.lower()]
        try:
            points = points_from_msg(read(bytes(damaged)), SENSOR)
        except CloudError:
            continue
        assert points.shape[1] == 4


@pytest.mark.parametrize(
    "packed",
    [
        b"\x1fabc",  # a literal of 32 bytes, three there
        b"\x20\x00",  # a copy of what was never written
        b"\x00a\xe0",  # no length
        b"\x00a\x20",  # no distance
        b"\x00a\xe0\xff\x00" * 60,  # more than there is room for
        b"\x00a",  # less than the header says
        b"",
    ],
)
def test_damaged_lzf_reads_and_writes_nothing_beyond_its_end(packed: bytes) -> None:
    content = pcd("binary_compressed")
    start = content.index(b"binary_compressed\n") + len(b"binary_compressed\n")
    size = NUM_POINTS * RECORD.itemsize
    body = struct.pack("<II", len(packed), size) + packed
    with pytest.raises(CloudError, match=r"damaged|cannot decompress"):
        cloud_files.read_pcd(content[:start] + body)
