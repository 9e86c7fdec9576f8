# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss corrupt`: what it writes for files, folders, splits and bags, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scan_factory import make_scan

from eloss_perception import cli
from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    write_image_set,
    write_kitti_frame,
)
from eloss_perception.plots.comparisons import CorruptionTile, render_corruption_grid
from eloss_perception.simulation.corruptions import CORRUPTIONS
from eloss_perception.simulation.schedule import CorruptionWindow, corrupt_on_schedule

CLOUD = "sensor_msgs/msg/PointCloud2"


def run(*argv: object) -> int:
    return cli.main(["corrupt", *map(str, argv)])


def write_scan(path: Path, seed: int = 0) -> npt.NDArray[np.float32]:
    points = make_scan(30, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    points.tofile(path)
    return points


def read(path: Path) -> npt.NDArray[np.float32]:
    return np.fromfile(path, dtype=np.float32).reshape(-1, 4)


def test_the_list_shows_every_corruption_and_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    shown = capsys.readouterr().out
    for name, corruption in CORRUPTIONS.items():
        assert f"\n  {name} " in shown
        assert corruption.what in shown
        assert corruption.source in shown


def test_a_file_becomes_a_file(tmp_path: Path) -> None:
    points = write_scan(tmp_path / "scan.bin")
    out = tmp_path / "new" / "out.bin"
    corrupts = ("--corrupt", "point_dropout:2", "--corrupt", "pitch")
    assert run(tmp_path / "scan.bin", *corrupts, "--seed", 4, "--out", out) == 0
    windows = [CorruptionWindow("point_dropout", 2), CorruptionWindow("pitch", 3)]
    np.testing.assert_array_equal(read(out), corrupt_on_schedule(points, windows, 0.0, 0, seed=4))
    np.save(tmp_path / "scan.npy", points)
    again = tmp_path / "again.bin"
    assert run(tmp_path / "scan.npy", *corrupts, "--seed", 4, "--out", again) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_folder_is_a_drive(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / "in" / f"{i:06d}.bin", seed=i) for i in range(3)]
    out = tmp_path / "out"
    assert run(tmp_path / "in", "--corrupt", "stale_scan", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"{i:06d}.bin" for i in range(3)]
    for path in out.iterdir():
        np.testing.assert_array_equal(read(path), scans[0])
    assert run(tmp_path / "in", "--corrupt", "gaussian_noise:1", "--out", out, "--overwrite") == 0
    noise = [read(out / f"{i:06d}.bin")[:, :3] - scans[i][:, :3] for i in range(3)]
    assert not np.array_equal(noise[0], noise[1])


def test_a_split_stays_one_that_can_be_evaluated(tmp_path: Path) -> None:
    root, out = tmp_path / "kitti", tmp_path / "tilted"
    for name in ("000003", "000007"):
        write_kitti_frame(root, name, make_scan(30), [], Calibration.synthetic())
    write_image_set(root, "val", ["000003", "000007"])
    assert run(root, "--corrupt", "height_offset:5", "--out", out) == 0
    tilted = KittiDataset(out, "val")
    assert list(tilted.ids) == ["000003", "000007"]
    moved = [tilted.points(name)[0, 2] - make_scan(30)[0, 2] for name in tilted.ids]
    assert abs(moved[0]) == pytest.approx(0.5, abs=1e-5)
    assert moved[0] == moved[1]
    assert tilted.objects("000003") == []
    assert tilted.calibration("000003").to_text() == Calibration.synthetic().to_text()


def test_a_bag_keeps_all_but_its_clouds(tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    from eloss_perception.datasets.bags import messages
    from eloss_perception.datasets.bags.reader import BagReader
    from eloss_perception.datasets.bags.writer import LATCHED_QOS, BagWriter
    from eloss_perception.replay.drives import GROUND_TRUTH_TOPIC, POINTS_TOPIC

    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(POINTS_TOPIC, CLOUD)
        bag.add_topic(GROUND_TRUTH_TOPIC, "visualization_msgs/msg/MarkerArray", LATCHED_QOS)
        for i in range(4):
            stamp = 10**18 + i * 10**8
            bag.write(POINTS_TOPIC, stamp, messages.point_cloud(make_scan(30), stamp, "velodyne"))
            boxes = np.zeros((0, 7), dtype=np.float32)
            markers = messages.ground_truth_markers(boxes, np.zeros(0, np.int64), stamp, "velodyne")
            bag.write(GROUND_TRUTH_TOPIC, stamp, markers)
    out = tmp_path / "out"
    assert run(tmp_path / "bag", "--corrupt", "field_of_view:5@0.1s-0.3s", "--out", out) == 0
    with BagReader(tmp_path / "bag") as before, BagReader(out) as after:
        assert after.topics == before.topics
        pairs = list(zip(before.messages(), after.messages(), strict=True))
        assert all(a[:3] == b[:3] for a, b in pairs)
        changed = [a.stamp_ns // 10**8 % 10 for a, b in pairs if a.data != b.data]
        assert changed == [1, 2]
        clouds = [b for _, b in pairs if b.topic == POINTS_TOPIC]
        assert after.deserialize(clouds[1]).width < 0.2 * after.deserialize(clouds[0]).width


def test_without_a_source_there_is_a_simulated_scan(tmp_path: Path) -> None:
    out, picture = tmp_path / "fog.bin", tmp_path / "fog.png"
    assert run("--corrupt", "fog:5", "--out", out, "--picture", picture) == 0
    points = read(out)
    assert len(points) > 10_000
    assert np.percentile(np.linalg.norm(points[:, :3], axis=1), 99.9) < 40.0
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    left, right = np.split(pixels, 2, axis=1)
    assert not np.array_equal(left, right)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_the_gallery_shows_all(tmp_path: Path, suffix: str) -> None:
    write_scan(tmp_path / "scan.bin")
    picture = tmp_path / f"all{suffix}"
    assert run(tmp_path / "scan.bin", "--gallery", picture, "--severity", 2) == 0
    assert picture.stat().st_size < 700_000
    with Image.open(picture) as image:
        assert image.width == 1536
        assert image.height > 6 * 300


def test_a_grid_has_its_tiles_in_rows() -> None:
    points = make_scan(30)
    tile = CorruptionTile("fog", "weather", "", points)
    single, row = render_corruption_grid([tile]), render_corruption_grid([tile, tile], 2)
    assert row.shape[0] == single.shape[0]
    np.testing.assert_array_equal(row[50:300, 10:300], single[50:300, 10:300])
    assert render_corruption_grid([tile] * 3, 2).shape[0] > row.shape[0]
    with pytest.raises(ValueError, match="a tile"):
        render_corruption_grid([])


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["scan.bin"], "--list shows the names"),
        (["scan.bin", "--corrupt", "fog"], "--out PATH or --picture"),
        (["scan.bin", "--corrupt", "smog", "--out", "x"], "unknown corruption 'smog'"),
        (["scan.bin", "--corrupt", "fog:9", "--out", "x"], "valid are 1, 2, 3, 4, 5"),
        (["scan.bin", "--corrupt", "fog@1s-2s", "--out", "x"], "a scan has no time"),
        (["scan.bin", "--corrupt", "fog", "--out", "scan.bin", "--overwrite"], "the source itself"),
        (["scan.bin", "--corrupt", "fog", "--out", "there"], "there exists"),
        (["scan.bin", "--corrupt", "fog", "--picture", "x.jpg"], ".png or .webp"),
        (["scan.bin", "--gallery", "x.gif"], ".png or .webp"),
        (["scan.bin", "--corrupt", "fog", "--out", "x", "--sensor", "eye"], "sensor is 'eye'"),
        (["missing", "--corrupt", "fog", "--out", "x"], "no such file or folder"),
        (
            ["there", "--corrupt", "fog", "--out", "x"],
            "neither .bin, .pcd, .ply, .npy nor a KITTI root",
        ),
        (["scan.bin", "--corrupt", "fog", "--out", "x.pcd"], "x.pcd: scans are written as .bin"),
        (["torn.bin", "--corrupt", "fog", "--out", "x"], "not whole points"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(
    argv: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_scan(tmp_path / "scan.bin")
    (tmp_path / "torn.bin").write_bytes(bytes(17))
    (tmp_path / "there").mkdir()
    before = read(tmp_path / "scan.bin")
    assert run(*argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("eloss: error: ")
    assert error.count("\n") == 1
    assert named in error
    assert not (tmp_path / "x").exists()
    np.testing.assert_array_equal(read(tmp_path / "scan.bin"), before)


# -------------------------------------------------------------------------------- drivers' bags

INT16, UINT8, UINT16, UINT32, FLOAT32 = 3, 2, 4, 6, 7
TYPES = {INT16: "i2", UINT8: "u1", UINT16: "u2", UINT32: "u4", FLOAT32: "f4"}
VELODYNE = (
    (("x", 0, FLOAT32), ("y", 4, FLOAT32), ("z", 8, FLOAT32), ("intensity", 12, FLOAT32)),
    (("ring", 16, UINT16), ("time", 18, FLOAT32)),
    22,
)
OUSTER = (
    (("x", 0, FLOAT32), ("y", 4, FLOAT32), ("z", 8, FLOAT32), ("intensity", 16, FLOAT32)),
    (
        *(("t", 20, UINT32), ("reflectivity", 24, UINT16), ("ring", 26, UINT16)),
        *(("ambient", 28, UINT16), ("range", 32, UINT32)),
    ),
    48,
)
Layout = tuple[tuple[tuple[str, int, int], ...], tuple[tuple[str, int, int], ...], int]


def driver_rows(layout: Layout, points: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Points as a driver lays them out; `ring` and all that is like it holds the point's number."""
    fields = (*layout[0], *layout[1])
    dtype = np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [TYPES[kind] for _, _, kind in fields],
            "offsets": [offset for _, offset, _ in fields],
            "itemsize": layout[2],
        }
    )
    rows = np.tile(np.arange(layout[2], dtype=np.uint8), len(points)).view(dtype)
    for name, _, _ in fields:
        rows[name] = np.arange(len(points)) % 60_000
    for column, name in enumerate("xyz"):
        rows[name] = points[:, column]
    rows["reflectivity" if layout is OUSTER else "intensity"] = np.round(255.0 * points[:, 3])
    return rows


def driver_bag(path: Path, layout: Layout, rows: list[npt.NDArray[Any]], height: int = 1) -> Path:
    from eloss_perception.datasets.bags import messages
    from eloss_perception.datasets.bags.writer import BagWriter

    with BagWriter(path) as bag:
        bag.add_topic("/points", CLOUD)
        for i, scan in enumerate(rows):
            stamp = 10**18 + i * 10**8
            cloud = messages.make(
                CLOUD,
                header=messages.header(stamp, "os_lidar"),
                height=height,
                width=len(scan) // height,
                fields=[
                    messages.make(
                        "sensor_msgs/msg/PointField", name=n, offset=o, datatype=d, count=1
                    )
                    for n, o, d in (*layout[0], *layout[1])
                ],
                is_bigendian=False,
                point_step=layout[2],
                row_step=layout[2] * (len(scan) // height),
                data=np.frombuffer(scan.tobytes(), np.uint8),
                is_dense=True,
            )
            bag.write("/points", stamp, cloud)
    return path


def driver_clouds(path: Path, dtype: np.dtype[Any]) -> list[tuple[Any, npt.NDArray[Any]]]:
    from eloss_perception.datasets.bags.reader import BagReader

    with BagReader(path) as bag:
        clouds = [bag.deserialize(raw) for raw in bag.messages()]
    return [(cloud, np.frombuffer(bytes(cloud.data), dtype)) for cloud in clouds]


@pytest.mark.parametrize("layout", [VELODYNE, OUSTER], ids=["velodyne", "ouster"])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_what_a_driver_tells_of_a_point_stays_with_it(
    tmp_path: Path, layout: Layout, name: str
) -> None:
    pytest.importorskip("rosbags")
    scans = [driver_rows(layout, make_scan(30, seed=i)) for i in range(2)]
    source = driver_bag(tmp_path / "bag", layout, scans)
    assert run(source, "--corrupt", f"{name}:3", "--out", tmp_path / "out") == 0
    unit = "intensity" if layout is VELODYNE else "reflectivity"
    names = [field for field, _, _ in (*layout[0], *layout[1])]
    for index, (cloud, rows) in enumerate(driver_clouds(tmp_path / "out", scans[0].dtype)):
        assert [f.name for f in cloud.fields] == names
        assert (cloud.point_step, cloud.header.frame_id) == (layout[2], "os_lidar")
        assert len(rows) <= len(scans[index])
        assert rows[unit].max(initial=0) <= 255
        number = rows["ring"].astype(int)
        older = scans[0][number] if index else scans[index][number]
        newer = scans[index][number]
        for field in set(names) - {"x", "y", "z", unit}:
            np.testing.assert_array_equal(rows[field], newer[field])
        # The bytes between the fields are the driver's too.
        raw = np.frombuffer(rows.tobytes(), np.uint8).reshape(-1, layout[2])
        if layout is OUSTER and len(raw):
            assert set(raw[:, 40].tolist()) == {40}
        if name in ("point_dropout", "field_of_view", "beam_missing", "stale_scan", "time_shift"):
            same = (rows["x"] == newer["x"]) | (rows["x"] == older["x"])
            assert same.all() or name == "time_shift"
            dim = (rows[unit] == newer[unit]) | (rows[unit] == older[unit])
            assert dim.all()


@pytest.mark.parametrize("nothing", [np.nan, 0.0])
def test_an_organised_cloud_stays_a_grid(tmp_path: Path, nothing: float) -> None:
    pytest.importorskip("rosbags")
    points = make_scan(40)
    points = points[: len(points) // 8 * 8]
    rows = driver_rows(OUSTER, points)
    for axis in "xyz":
        rows[axis][::10] = nothing
    source = driver_bag(tmp_path / "bag", OUSTER, [rows], height=8)
    assert run(source, "--corrupt", "point_dropout:3", "--out", tmp_path / "out") == 0
    ((cloud, after),) = driver_clouds(tmp_path / "out", rows.dtype)
    assert (cloud.height, cloud.width, len(after)) == (8, len(rows) // 8, len(rows))
    assert not cloud.is_dense
    lost = ~(np.abs(after["x"]) > 0)
    assert 0.3 < lost.mean() < 0.6
    assert lost[::10].all()
    for axis in "xyz":
        np.testing.assert_array_equal(after[axis][lost], np.float32(nothing))
        np.testing.assert_array_equal(after[axis][~lost], rows[axis][~lost])
    np.testing.assert_array_equal(after["range"], rows["range"])


def test_another_mounting_is_taken_back(tmp_path: Path) -> None:
    """nuScenes' LiDAR looks along y, 1.84 m above the ground: what is ahead stays ahead."""
    pytest.importorskip("rosbags")
    rows = driver_rows(VELODYNE, make_scan(30))
    source = driver_bag(tmp_path / "bag", VELODYNE, [rows])
    options = ("--sensor", "nuscenes_hdl32e", "--out", tmp_path / "out")
    assert run(source, "--corrupt", "height_offset:5", *options) == 0
    ((_, after),) = driver_clouds(tmp_path / "out", rows.dtype)
    np.testing.assert_allclose(np.abs(after["z"] - rows["z"]), 0.5, atol=1e-5)
    np.testing.assert_allclose(after["x"], rows["x"], atol=1e-5)
    np.testing.assert_allclose(after["y"], rows["y"], atol=1e-5)


def test_a_bag_with_losses_is_copied_with_a_warning_and_a_damaged_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rosbags")
    rows = [driver_rows(VELODYNE, make_scan(30, seed=i)) for i in range(60)]
    source = driver_bag(tmp_path / "bag", VELODYNE, rows)
    file = next(source.glob("*.mcap"))
    data = file.read_bytes()
    file.write_bytes(data[: int(0.95 * len(data))])
    assert run(source, "--corrupt", "fog", "--out", tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert "metadata.yaml promises 60 messages of /points" in said
    wrong = bytearray(data)
    at = data.index(rows[5].tobytes()[:40]) - 4
    wrong[at : at + 4] = b"\xff\xff\xff\x7f"
    file.write_bytes(wrong)
    assert run(source, "--corrupt", "fog", "--out", tmp_path / "new") == 2
    said = capsys.readouterr().err
    assert said.startswith("eloss: error: ")
    assert said.count("\n") == 1
    assert "byte" in said
    assert not (tmp_path / "new").exists()


def test_types_that_nobody_understands_are_copied(tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    from eloss_perception.datasets.bags.reader import BagReader
    from eloss_perception.datasets.bags.writer import BagWriter

    event = ("int64 a\nint64 b\n---\nint64 sum\n", "RIHS01_" + "0" * 64)
    driver_bag(tmp_path / "points", VELODYNE, [driver_rows(VELODYNE, make_scan(30))])
    with BagReader(tmp_path / "points") as bag:
        raw = next(bag.messages())
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/points", CLOUD)
        writer.add_topic("/srv/_service_event", "a_msgs/srv/Add_Event", definition=event)
        writer.write_serialized("/points", 5, raw.data)
        writer.write_serialized("/srv/_service_event", 6, b"\x00\x01\x00\x00anything")
    assert run(tmp_path / "bag", "--corrupt", "fog", "--out", tmp_path / "out") == 0
    with BagReader(tmp_path / "out") as bag:
        (copied,) = bag.messages(["/srv/_service_event"])
        assert copied.data == b"\x00\x01\x00\x00anything"
        assert bag.definition("/srv/_service_event") == event[0]
