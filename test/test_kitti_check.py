# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bad files are named, frames are not shared between splits, and layouts are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from street_factory import write_kitti_root

from eloss_perception.cli.scans import find_scans
from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    boxes_to_kitti,
    check_split,
    kitti_to_boxes,
    read_image_set,
    read_labels,
    refuse_shared_frames,
    write_labels,
)
from eloss_perception.datasets.kitti.check import require_objects
from eloss_perception.errors import DataError

NO_CAMERA = "P2: 1 0 0 0 0 1 0 0 0 0 1 0"

SCAN = "training/velodyne/000001.bin"
LABELS = "training/label_2/000001.txt"
CALIBRATION = "training/calib/000001.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_kitti_root(tmp_path / "kitti")


def check(root: Path, max_named: int = 20) -> None:
    check_split(KittiDataset(root, "train"), max_named)


def with_points(change: tuple[int, float]) -> bytes:
    points = np.full((10, 4), 0.5, "<f4")
    points[3, change[0]] = change[1]
    return points.tobytes()


def with_columns(number: int) -> bytes:
    """The turns of a scanner, 20 m away, and zeros behind x, y, z, intensity."""
    angle = np.linspace(0.0, 12.0, 1200)
    rows = np.zeros((1200, number), "<f4")
    rows[:, :3] = np.stack([20 * np.cos(angle), 20 * np.sin(angle), angle / 6], axis=1)
    return rows.tobytes()


def with_size(size: str, place: str = "0.5 1.7 20.0", turn: str = "-1.57") -> bytes:
    return f"Car 0.00 0 -1.57 600 170 640 200 {size} {place} {turn}\n".encode()


class TestCheck:
    def test_a_good_split_passes(self, root: Path) -> None:
        done: list[int] = []
        check_split(KittiDataset(root, "train"), progress=done.append)
        assert done == [1, 2, 3]

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            (SCAN, None, "cannot read the scan"),
            (SCAN, b"", "the scan is empty"),
            (SCAN, b"\0" * 160, "no point of the scan has a return"),
            (SCAN, b"\0" * 40, "40 bytes is no multiple of 16"),
            (SCAN, with_points((1, np.nan)), "1 of 10 points are not finite"),
            (SCAN, with_points((2, -np.inf)), "1 of 10 points are not finite"),
            (SCAN, with_points((3, np.nan)), "1 of 10 points are not finite"),
            (SCAN, with_points((0, -2e6)), r"coordinates up to 2e\+06 m"),
            (SCAN, with_points((3, 255.0)), r"intensity from 0.5 to 255; .*\(divide it by 255\)"),
            (SCAN, with_columns(5), r"must be scaled to .*seems to have 5 columns"),
            (SCAN, with_columns(3), r"must be scaled to .*seems to have 3 columns"),
            (LABELS, with_size("0 0 0"), "a Car has height 0.*must be more than 0 m"),
            (LABELS, with_size("1.5 -1.6 4.0"), "width -1.6.*must be more than 0 m"),
            (LABELS, with_size("1500 1600 4000"), "height 1500.*not centimetres or millimetres"),
            (LABELS, with_size("150 160 400"), "height 150.*not centimetres or millimetres"),
            (LABELS, with_size("1.5 1.6 1e39"), "must be metres"),
            (LABELS, with_size("1.5 1.6 4.0", place="500 1700 20000"), "is at .*must be metres"),
            (LABELS, with_size("1.5 1.6 4.0", turn="90"), "rotation_y 90; must be radians"),
            (LABELS, with_size("1.5 1.6 4.0", turn="-10"), "rotation_y -10; must be radians"),
            (LABELS, with_size("1.5 1.6 4_0.0"), "column 11 is '4_0.0', must be a number"),
            (LABELS, with_size("1.5 1.6 \u0664"), "column 11 is '\u0664', must be a number"),
            (LABELS, with_size("1.5 1.6 " + "4" * 5000), r"4\.\.\. \(5000 characters\)"),
            (LABELS, b"Car 0 1e300" + b" 0.9" * 12, "column 3"),
            (LABELS, "Car 0 0".encode("utf-16"), "it is not UTF-8 text"),
            (LABELS, None, "cannot read the labels"),
            (LABELS, b"Car 0 0 1\n", "txt:1: 4 columns"),
            (LABELS, b"Car" + b" 0.9" * 15, "column 3"),
            (LABELS, b"Car 0 0" + b" 0.9" * 13, "a score: these are results, not labels"),
            (CALIBRATION, None, "cannot read the calibration"),
            (CALIBRATION, b"P2: 1 0 0\n", "P2 must be 12 numbers"),
            (CALIBRATION, b"P0: 1 0 0\n", "no line P2"),
            (CALIBRATION, "P2: 1".encode("utf-16"), "cannot read the calibration"),
        ],
    )
    def test_a_bad_file_is_named(
        self, root: Path, file: str, content: bytes | None, message: str
    ) -> None:
        if content is None:
            (root / file).unlink()
        else:
            (root / file).write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            check(root)
        named = [line for line in str(caught.value).splitlines()[1:] if str(root / file) in line]
        assert len(named) == 1

    def test_all_bad_files_are_named_up_to_a_number(self, root: Path) -> None:
        for frame_id in ("000000", "000001", "000002"):
            (root / "training/velodyne" / f"{frame_id}.bin").unlink()
            (root / "training/label_2" / f"{frame_id}.txt").unlink()
        with pytest.raises(DataError) as caught:
            check(root)
        assert len(str(caught.value).splitlines()) == 1 + 6
        with pytest.raises(DataError, match=r"stopped after 1 of 3 frames") as caught:
            check(root, max_named=2)
        assert len(str(caught.value).splitlines()) == 1 + 2 + 1

    def test_windows_line_ends_and_marks_are_read(self, root: Path) -> None:
        for file in (LABELS, CALIBRATION, "ImageSets/train.txt"):
            text = (root / file).read_text()
            (root / file).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        check(root)
        dataset = KittiDataset(root, "train")
        assert dataset.ids == ("000000", "000001", "000002")
        assert dataset.objects("000001")[0].type == "Car"

    def test_objects_are_counted_and_must_be_of_a_class_that_is_wanted(self, root: Path) -> None:
        counts = check_split(KittiDataset(root, "train"), ids=["000001"])
        assert counts == {"Car": 2, "Pedestrian": 1, "Cyclist": 1, "Van": 1}
        require_objects(counts, ["car"], "here")
        with pytest.raises(DataError, match="here: no labelled object of the classes Bus, Tram; "):
            require_objects(counts, ["Bus", "Tram"], "here")
        with pytest.raises(DataError, match="there are: none at all"):
            require_objects({}, ["Car"], "here")

    def test_regions_may_be_in_lower_case(self, root: Path) -> None:
        text = (
            root / LABELS
        ).read_text() + "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10"
        (root / LABELS).write_text(text.lower())
        assert check_split(KittiDataset(root, "train"))["car"] == 2

    def test_cars_all_around_hold_points(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path, 12)
        for name in KittiDataset(root, "train").ids:  # the street behind the sensor
            path = root / f"training/calib/{name}.txt"
            text = path.read_text().split("Tr_velo_to_cam")[0].splitlines()
            lines = [NO_CAMERA if line.startswith("P2") else line for line in text]
            lines.append("Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27")
            path.write_text("\n".join(lines) + "\n")
            labels = root / f"training/label_2/{name}.txt"
            calibration = Calibration.from_file(path)
            objects = read_labels(labels)
            boxes = kitti_to_boxes(objects, calibration)
            scan = root / f"training/velodyne/{name}.bin"
            points = np.fromfile(scan, "<f4").reshape(-1, 4)
            for array in (boxes, points):
                array[:, :2] *= -1.0  # half a turn
            points.tofile(scan)
            write_labels(labels, boxes_to_kitti(boxes, [o.type for o in objects], calibration))
        assert check_split(KittiDataset(root, "train"))["Car"] == 24

    def test_labels_of_other_scans_are_noticed(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path, 12)
        check(root)  # 24 near cars that all hold points
        for path in (root / "training/calib").iterdir():
            turned = Calibration.from_file(path)
            turned.tr_velo_to_cam[:] = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0]]
            path.write_text(turned.to_text())
        with pytest.raises(DataError, match="do not fit together"):
            check(root)

    def test_real_frames_pass(self, kitti_object_root: Path) -> None:
        for split in ("train", "val"):
            check_split(KittiDataset(kitti_object_root, split))


class TestSplits:
    def test_twice_the_same_name(self, root: Path) -> None:
        (root / "ImageSets/train.txt").write_text("000000\n000001\n000000\n")
        with pytest.raises(DataError, match=r"train\.txt:3: 000000 is in line 1 already"):
            KittiDataset(root, "train")

    @pytest.mark.parametrize("name", ["000001.bin", "velodyne/000001", "\u0661", "0 1"])
    def test_what_is_no_frame_name(self, root: Path, name: str) -> None:
        (root / "ImageSets/train.txt").write_text(f"000000\n{name}\n")
        with pytest.raises(DataError, match=r"train\.txt:2: .*without folder and suffix"):
            KittiDataset(root, "train")

    @pytest.mark.parametrize("split", ["none", "../train", ""])
    def test_an_unknown_split(self, root: Path, split: str) -> None:
        with pytest.raises(DataError, match="there are: train"):
            read_image_set(root, split)

    def test_shared_names(self, root: Path) -> None:
        write_kitti_root(root, 2, "val", first=3)
        training = KittiDataset(root, "train")
        refuse_shared_frames(training, KittiDataset(root, "val"))
        (root / "ImageSets/val.txt").write_text("000004\n000001\n")
        with pytest.raises(DataError, match=r"1 of the 3 .* validation split 'val' .*: 000001;"):
            refuse_shared_frames(training, KittiDataset(root, "val"))
        with pytest.raises(DataError, match="3 of the 3"):
            refuse_shared_frames(training, training)

    def test_shared_content_under_other_names(self, root: Path, tmp_path: Path) -> None:
        other = write_kitti_root(tmp_path / "other", 2, "val", first=7)
        training = KittiDataset(root, "train")
        refuse_shared_frames(training, KittiDataset(other, "val"))
        scan = (root / SCAN).read_bytes()
        (other / "training/velodyne/000008.bin").write_bytes(scan)
        with pytest.raises(DataError, match=r"000001 \(there 000008\)"):
            refuse_shared_frames(training, KittiDataset(other, "val"))

    def test_equal_names_in_other_roots_are_other_frames(self, root: Path, tmp_path: Path) -> None:
        other = write_kitti_root(tmp_path / "other", 2, "val", first=1)
        for path in (other / "training/velodyne").iterdir():
            path.write_bytes(path.read_bytes()[:-16])
        refuse_shared_frames(KittiDataset(root, "train"), KittiDataset(other, "val"))

    def test_real_splits_share_nothing(self, kitti_object_root: Path) -> None:
        training = KittiDataset(kitti_object_root, "train")
        refuse_shared_frames(training, KittiDataset(kitti_object_root, "val"))


class TestLayouts:
    def test_without_training_folder_and_lists_beside(self, root: Path) -> None:
        dataset = KittiDataset(root / "training", "train")
        assert dataset.ids[0] == "000000"
        assert len(dataset.points("000000"))

    def test_below_object(self, root: Path) -> None:
        (root / "object").mkdir()
        (root / "training").rename(root / "object/training")
        check(root)
        (root / "ImageSets").rename(root / "object/ImageSets")
        check(root)
        check(root / "object")

    def test_lists_in_training(self, root: Path) -> None:
        (root / "ImageSets").rename(root / "training/ImageSets")
        check(root)

    def test_reduced_scans(self, root: Path) -> None:
        scans = root / "training/velodyne"
        assert not KittiDataset(root, "train").layout.is_reduced
        scans.rename(root / "training/velodyne_reduced")
        assert KittiDataset(root, "train").layout.is_reduced
        check(root)

    def test_the_test_split_has_its_own_frames(self, root: Path) -> None:
        (root / "ImageSets/test.txt").write_text("000000\n")
        (root / "testing/velodyne").mkdir(parents=True)
        np.ones((7, 4), np.float32).tofile(root / "testing/velodyne/000000.bin")
        assert len(KittiDataset(root, "test").points("000000")) == 7
        refuse_shared_frames(KittiDataset(root, "train"), KittiDataset(root, "test"))

    def test_detect_finds_the_scans_of_a_split_wherever_they_are(self, root: Path) -> None:
        (root / "ImageSets/test.txt").write_text("000000\n")
        for folder in ("velodyne", "calib", "image_2"):
            (root / "testing" / folder).mkdir(parents=True)
        np.zeros((7, 4), np.float32).tofile(root / "testing/velodyne/000000.bin")
        (root / "testing/calib/000000.txt").write_text(Calibration.synthetic().to_text())
        (root / "testing/image_2/000000.jpeg").write_bytes(b"")
        (scan,) = find_scans([root], "test")
        assert scan.path == root / "testing/velodyne/000000.bin"
        assert scan.calibration == root / "testing/calib/000000.txt" and scan.labels is None
        assert scan.image == root / "testing/image_2/000000.jpeg"
        scans = root / "training/velodyne"
        scans.rename(root / "training/velodyne_reduced")
        (root / "object").mkdir()
        (root / "training").rename(root / "object/training")
        (root / "testing").rename(root / "elsewhere")
        found = find_scans([root], "train")
        assert [scan.path.parent.name for scan in found] == ["velodyne_reduced"] * 3
        assert all(scan.calibration is not None and scan.labels is not None for scan in found)
