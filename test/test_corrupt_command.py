# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss corrupt`: what it writes for files, folders, splits and bags, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scan_factory import make_scan

from eloss_perception import cli
from eloss_perception.kitti import Calibration, KittiDataset, write_image_set, write_kitti_frame
from eloss_perception.simulation.corruptions import CORRUPTIONS
from eloss_perception.simulation.schedule import CorruptionWindow, corrupt_on_schedule
from eloss_perception.viz.corruptions import CorruptionTile, render_corruption_grid

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
    from eloss_perception.bags import messages
    from eloss_perception.bags.drives import GROUND_TRUTH_TOPIC, POINTS_TOPIC
    from eloss_perception.bags.reader import BagReader
    from eloss_perception.bags.writer import LATCHED_QOS, BagWriter

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
        (["there", "--corrupt", "fog", "--out", "x"], "neither .bin files nor a KITTI root"),
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
