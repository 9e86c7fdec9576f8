# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the camera sees follows from the images, the labels or P2, and all is seen without one."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from street_factory import write_kitti_root

from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    boxes_to_kitti,
    camera_view_mask,
    check_split,
    complete_bbox2d,
    kitti_to_boxes,
    read_labels,
    write_labels,
)
from eloss_perception.datasets.kitti.layout import read_image_size
from eloss_perception.errors import DataError

WIDE = "P2: 2055.5 0 939.6 0 0 2055.5 641.1 0 0 0 1 0"
NONE = "P2: 1 0 0 0 0 1 0 0 0 0 1 0"


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )


def jpeg(width: int, height: int) -> bytes:
    application = b"\xff\xe1" + struct.pack(">H", 12) + b"\xff\xc0\x00\x11\x08" + b"\0" * 5
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 9
    return b"\xff\xd8" + application + b"\xff" + frame  # a fill byte in front of the marker


def with_p2(root: Path, line: str) -> Path:
    for path in (root / "training/calib").iterdir():
        lines = [line if old.startswith("P2") else old for old in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_kitti_root(tmp_path / "kitti")


class TestImageSize:
    @pytest.mark.parametrize("content", [png(1920, 1280), jpeg(1920, 1280)])
    def test_headers(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "image.png").write_bytes(content)  # whatever the suffix
        assert read_image_size(tmp_path / "image.png") == (1920, 1280)

    @pytest.mark.parametrize(
        "content", [b"", b"GIF89a", png(8, 8)[:20], jpeg(8, 8)[:9], png(0, 7), b"\xff\xd8\xff\xda"]
    )
    def test_damaged_headers(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "image.jpg").write_bytes(content)
        with pytest.raises(DataError, match=r"image\.jpg: cannot read the image's size: .*remove"):
            read_image_size(tmp_path / "image.jpg")

    def test_pillow_agrees(self, tmp_path: Path) -> None:
        image = pytest.importorskip("PIL.Image")
        for suffix in ("png", "jpg"):
            image.new("RGB", (321, 123)).save(tmp_path / f"a.{suffix}")
            assert read_image_size(tmp_path / f"a.{suffix}") == (321, 123)

    def test_the_image_decides_for_each_frame(self, root: Path) -> None:
        with_p2(root, WIDE)
        (root / "training/image_2").mkdir()
        (root / "training/image_2/000000.jpg").write_bytes(jpeg(1920, 1280))
        (root / "training/image_2/000001.png").write_bytes(png(1920, 886))
        dataset = KittiDataset(root, "train")
        sizes = [dataset.calibration(name).image_size for name in dataset.ids]
        assert sizes == [(1920, 1280), (1920, 886), (1879, 1282)]
        assert "image's header" in dataset.calibration("000000").view
        assert "principal point" in dataset.calibration("000002").view

    def test_without_images_kittis_own_sizes_are_known(self) -> None:
        synthetic = Calibration.synthetic()
        assert synthetic.image_size == (1242, 375)
        p2 = synthetic.p2.copy()
        p2[:2, 2] = 640.0, 360.0  # the same focal length, another camera
        assert replace(synthetic, p2=p2, image_size=(0, 0)).image_size == (1280, 720)

    def test_labels_may_reach_farther_than_the_guess(self, root: Path) -> None:
        with_p2(root, WIDE)
        path = root / "training/label_2/000002.txt"
        first, *others = read_labels(path)
        write_labels(path, [replace(first, bbox2d=(1700.0, 500.0, 1919.0, 1279.0)), *others])
        assert KittiDataset(root, "train").calibration("000000").image_size == (1920, 1282)
        # Boxes that nobody cut to the image say nothing about it.
        write_labels(path, [replace(first, bbox2d=(1700.0, 500.0, 9000.0, 9000.0)), *others])
        assert KittiDataset(root, "train").calibration("000000").image_size == (1879, 1282)

    def test_images_of_another_size_are_refused(self, root: Path) -> None:
        with_p2(root, WIDE)
        (root / "training/image_2").mkdir()
        (root / "training/image_2/000001.png").write_bytes(png(960, 640))
        with pytest.raises(DataError, match=r"000001\.png: .*960 x 640 px.*\(940, 641\)"):
            check_split(KittiDataset(root, "train"))


class TestWithoutACamera:
    @pytest.mark.parametrize("line", [NONE, "P2:" + " 0" * 12])
    def test_everything_is_in_view(self, root: Path, line: str) -> None:
        with_p2(root, line)
        calibration = KittiDataset(root, "train").calibration("000000")
        assert not calibration.has_camera and calibration.view.startswith("no camera")
        points = np.array([[5.0, 0, 0, 1], [-5.0, 0, 0, 1], [0.0, 9, 0, 1]])
        assert camera_view_mask(points, calibration).all()
        boxes = np.array([[-15.0, 3, -1, 4, 1.6, 1.5, 0.3], [15.0, 3, -1, 4, 1.6, 1.5, 0.3]])
        objects = boxes_to_kitti(boxes, ["Car", "Car"], calibration, scores=[0.9, 0.8])
        assert [item.bbox2d for item in objects] == [(-1.0,) * 4] * 2
        np.testing.assert_allclose(kitti_to_boxes(objects, calibration), boxes, atol=1e-5)
        assert complete_bbox2d(objects, calibration) == objects

    @pytest.mark.parametrize(
        ("transform", "message"),
        [
            ("1 0 0 0 0 1 0 0 0 0 1 0", "must turn the LiDAR's axes.*without a camera write"),
            ("0 -1 0 0 1 0 0 0 0 0 1 0", "must turn the LiDAR's axes"),  # looks up
            ("0 1 0 0 0 0 1 0 1 0 0 0", "must turn the LiDAR's axes"),  # upside down
            ("0 -1 0 0 0 0 -1 0 -1 0 0 0", "no rotation"),  # mirrored
            ("0 -2 0 0 0 0 -2 0 2 0 0 0", "no rotation"),
            ("0 0 0 0 0 0 0 0 0 0 0 0", "no rotation"),
            ("0 -1e200 0 0 0 0 -1 0 1 0 0 0", "no rotation"),
            ("0 -1 0 270 0 0 -1 80 1 0 0 -270", "must be metres"),
        ],
    )
    def test_transforms_that_are_none(self, tmp_path: Path, transform: str, message: str) -> None:
        path = tmp_path / "000000.txt"
        text = Calibration.synthetic().to_text().split("Tr_velo_to_cam")[0]
        path.write_text(f"{text}Tr_velo_to_cam: {transform}\n")
        with pytest.raises(DataError, match=message) as caught:
            Calibration.from_file(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


class TestMissing2dBoxes:
    BOXES = np.array([[15.0, -3, -1, 4, 1.6, 1.5, 0.1], [-15.0, 3, -1, 4, 1.6, 1.5, 0.3]])

    @pytest.mark.parametrize(
        "placeholder", [(0.0,) * 4, (-1.0,) * 4, (0.0, 0.0, 50.0, 50.0), (9.0, 9.0, 2.0, 2.0)]
    )
    def test_they_are_projected(self, placeholder: tuple[float, float, float, float]) -> None:
        calibration = Calibration.synthetic()
        right = boxes_to_kitti(self.BOXES, ["Car", "Car"], calibration, keep_unseen=True)
        assert right[1].bbox2d == (-1.0,) * 4  # behind: counts at no difficulty
        labels = [replace(item, bbox2d=placeholder) for item in right]
        completed = complete_bbox2d(labels, calibration)
        for item, expected in zip(completed, right, strict=True):
            np.testing.assert_allclose(item.bbox2d, expected.bbox2d, atol=1e-3)

    def test_own_ones_are_kept(self, kitti_object_root: Path) -> None:
        dataset = KittiDataset(kitti_object_root, "val")
        for name in dataset.ids:
            labels = dataset.objects(name)
            assert complete_bbox2d(labels, dataset.calibration(name)) == labels

    def test_results_keep_what_the_image_does_not_show(self, tmp_path: Path) -> None:
        calibration = Calibration.synthetic()
        assert len(boxes_to_kitti(self.BOXES, ["Car", "Car"], calibration, scores=[0.9, 0.8])) == 1
        results = boxes_to_kitti(
            self.BOXES, ["Car", "Car"], calibration, scores=[0.9, 0.8], keep_unseen=True
        )
        write_labels(tmp_path / "000000.txt", results)
        read = read_labels(tmp_path / "000000.txt")
        assert read[1].truncation == 1.0 and not read[1].has_bbox2d and read[1].score == 0.8
        np.testing.assert_allclose(kitti_to_boxes(read, calibration), self.BOXES, atol=1e-5)
