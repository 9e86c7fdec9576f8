# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    KittiObject,
    KittiSequence,
    boxes_to_kitti,
    camera_boxes,
    camera_view_mask,
    kitti_to_boxes,
    labelled_boxes,
    read_labels,
    read_points,
    write_image_set,
    write_kitti_frame,
    write_labels,
)
from eloss_perception.datasets.kitti.labels import read_tracking_labels
from eloss_perception.datasets.scan_files import read_scan_file
from eloss_perception.detection.sensors import SENSORS
from eloss_perception.errors import DataError

# Mounting angles of a degree or two about every axis, as a real vehicle has them.
ROLL, PITCH, YAW = 0.01, -0.02, 0.015

CAR = KittiObject(
    "Car", 0.1, 1, -1.5, (100.0, 150.0, 200.0, 250.0), (1.5, 1.6, 4.0), (1.0, 1.7, 15.0), 0.3
)
REGION = KittiObject(
    "DontCare", -1, -1, -10, (0, 0, 9, 9), (-1, -1, -1), (-1000, -1000, -1000), -10
)


def tilted_calibration():
    def turn(axis, angle):
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        matrix = np.eye(3)
        matrix[i, i] = matrix[j, j] = math.cos(angle)
        matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
        return matrix

    level = Calibration.synthetic()
    return Calibration(
        level.p2, turn(0, ROLL) @ turn(1, PITCH) @ turn(2, YAW), level.tr_velo_to_cam
    )


class TestCalibration:
    def test_frames_by_hand(self):
        calibration = Calibration.synthetic()
        # 10 m ahead, 2 m left, 1 m up: camera z forward, x right, y down.
        camera = calibration.lidar_to_camera([[10.27, 2.0, 1.0]])
        np.testing.assert_allclose(camera, [[-2.0, -1.08, 10.0]], atol=1e-12)
        uv, depth = calibration.lidar_to_image([[10.27, 2.0, 1.0]])
        np.testing.assert_allclose(uv, [[621 - 144.0, 175 - 77.76]], atol=1e-9)
        np.testing.assert_allclose(depth, [10.0])

    def test_camera_to_lidar_inverts(self):
        points = np.random.default_rng(0).uniform(-50, 50, (100, 3))
        calibration = tilted_calibration()
        back = calibration.camera_to_lidar(calibration.lidar_to_camera(points))
        np.testing.assert_allclose(back, points, atol=1e-10)

    def test_view_by_hand(self):
        points = np.array(
            [
                [10.0, 0.0, 0.0, 0.5],
                [-10.0, 0.0, 0.0, 0.5],  # behind: projects inside, but at negative depth
                [10.0, 20.0, 0.0, 0.5],  # left of the image
                [10.0, 0.0, 5.0, 0.5],  # above it
                [math.nan, 0.0, 0.0, 0.5],
                [math.inf, 0.0, 0.0, 0.5],
            ],
            np.float32,
        )
        seen = camera_view_mask(points, Calibration.synthetic())
        assert seen.tolist() == [True, False, False, False, False, False]
        assert not camera_view_mask(points, Calibration.synthetic(), (100, 375)).any()
        assert camera_view_mask(np.zeros((0, 4)), Calibration.synthetic()).shape == (0,)

    def test_file_round_trip(self, tmp_path):
        calibration = tilted_calibration()
        path = tmp_path / "calib.txt"
        path.write_text(calibration.to_text())
        read = Calibration.from_file(path)
        for name in ("p2", "r0_rect", "tr_velo_to_cam"):
            np.testing.assert_allclose(getattr(read, name), getattr(calibration, name), atol=1e-11)

    def test_reads_the_names_of_the_tracking_set(self, tmp_path):
        path = tmp_path / "0001.txt"
        text = Calibration.synthetic().to_text()
        path.write_text(
            text.replace("R0_rect:", "R_rect").replace("Tr_velo_to_cam:", "Tr_velo_cam")
        )
        np.testing.assert_allclose(Calibration.from_file(path).r0_rect, np.eye(3))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("P2:", "Q2:", "no line P2"),
            ("R0_rect: 1.000000000000e+00", "R0_rect: one", r"calib\.txt:5: R0_rect must be 9"),
            ("R0_rect: 1.000000000000e+00", "R0_rect:", r":5: R0_rect must be 9 numbers; has 8"),
            ("R0_rect: 1.000000000000e+00", "R0_rect: nan", "finite"),
            ("R0_rect: 1.000000000000e+00", "R0_rect: 0", "no rotation"),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path, old, new, message):
        path = tmp_path / "calib.txt"
        text = Calibration.synthetic().to_text()
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(DataError, match=message) as caught:
            Calibration.from_file(path)
        assert str(path) in str(caught.value)

    def test_missing_file(self, tmp_path):
        with pytest.raises(DataError, match=r"none\.txt: cannot read"):
            Calibration.from_file(tmp_path / "none.txt")


class TestLabels:
    def test_reads_a_line_by_hand(self, tmp_path):
        path = tmp_path / "label.txt"
        path.write_text("Car 0.50 2 -1.57 1 2 3 4 1.5 1.6 4.0 -2 1.7 20 1.57\n\n")
        assert read_labels(path) == [
            KittiObject("Car", 0.5, 2, -1.57, (1, 2, 3, 4), (1.5, 1.6, 4), (-2, 1.7, 20), 1.57)
        ]

    def test_round_trip(self, tmp_path):
        path = tmp_path / "label.txt"
        objects = [CAR, REGION, replace(CAR, score=0.123456789, location=(1 / 3, 2 / 3, 100 / 7))]
        write_labels(path, objects)
        read = read_labels(path)
        assert [item.type for item in read] == ["Car", "DontCare", "Car"]
        assert [item.score is None for item in read] == [True, True, False]
        for got, item in zip(read, objects, strict=True):
            for value, expected in zip(astuple(got)[1:], astuple(item)[1:], strict=True):
                assert value == pytest.approx(expected, abs=1e-5)

    def test_empty_file_is_a_frame_without_objects(self, tmp_path):
        write_labels(tmp_path / "label.txt", [])
        assert read_labels(tmp_path / "label.txt") == []

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("Car 0 0", r":2: 3 columns, must be 15 \(label\) or 16 \(result\)"),
            ("Car 0 0 0 1 2 3 4 5 6 7 8 9 10 eleven", r":2: column 15 is 'eleven'"),
            ("Car 0 0 0 1 2 3 4 5 6 nan 8 9 10 11", r":2: column 11 is 'nan', must be finite"),
            ("Car 0 0.5 0 1 2 3 4 5 6 7 8 9 10 11", r":2: column 3 \(occlusion\) is '0.5'"),
        ],
    )
    def test_names_file_and_line(self, tmp_path, line, message):
        path = tmp_path / "label.txt"
        path.write_text(f"{CAR.to_line()}\n{line}\n")
        with pytest.raises(DataError, match=message) as caught:
            read_labels(path)
        assert str(path) in str(caught.value)

    def test_binary_and_missing_files(self, tmp_path):
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
        for name in ("binary.txt", "none.txt"):
            with pytest.raises(DataError, match=f"{name}: cannot read"):
                read_labels(tmp_path / name)


boxes_in_view = st.tuples(
    st.floats(8, 70),
    st.floats(-0.3, 0.3),
    st.floats(-2, 1),
    *[st.floats(0.2, 8)] * 3,
    st.floats(-3.14, 3.14),
).map(lambda v: np.array([[v[0], v[0] * v[1], *v[2:]]], np.float32))


class TestConversion:
    def test_by_hand(self):
        # A car 10 m ahead of the camera on the simulator's level mounting, facing forward.
        boxes = np.array([[10.27, 0.0, -0.98, 4.0, 1.6, 1.5, 0.0]])
        (car,) = boxes_to_kitti(boxes, ["Car"], Calibration.synthetic())
        assert car.location == pytest.approx((0.0, 1.65, 10.0), abs=1e-9)
        assert car.dimensions == (1.5, 1.6, 4.0)
        assert car.rotation_y == pytest.approx(-math.pi / 2)
        assert car.alpha == pytest.approx(-math.pi / 2)
        # The rear face, 8 m away and 1.6 m wide, bounds the 2D box at the sides and the bottom.
        assert car.bbox2d[0] == pytest.approx(621 - 720 * 0.8 / 8)
        assert car.bbox2d[2] == pytest.approx(621 + 720 * 0.8 / 8)
        assert car.bbox2d[3] == pytest.approx(175 + 720 * 1.65 / 8)
        assert car.bbox2d[1] == pytest.approx(175 + 720 * 0.15 / 12)
        assert (car.truncation, car.occlusion, car.score) == (0.0, 0, None)

    @given(boxes_in_view)
    def test_round_trip(self, boxes):
        calibration = tilted_calibration()
        (item,) = boxes_to_kitti(boxes, ["Car"], calibration)
        back = kitti_to_boxes([item], calibration)
        assert back.dtype == np.float32
        np.testing.assert_allclose(back[:, :6], boxes[:, :6], atol=1e-5)
        turn = (back[0, 6] - boxes[0, 6] + math.pi) % (2 * math.pi) - math.pi
        assert abs(turn) < 1e-5

    def test_truncation_and_what_is_out_of_view(self):
        boxes = np.array(
            [
                [10.0, 8.6, -1.0, 4.0, 1.6, 1.5, 0.0],  # cut by the left edge
                [10.0, 30.0, -1.0, 4.0, 1.6, 1.5, 0.0],  # beyond it
                [-10.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0],  # behind
                [1.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0],  # around the camera
            ]
        )
        names = ["cut", "beyond", "behind", "around"]
        cut, around = boxes_to_kitti(boxes, names, Calibration.synthetic())
        assert (cut.type, around.type) == ("cut", "around")
        assert cut.bbox2d[0] == 0.0
        assert 0.1 < cut.truncation < 0.9
        assert around.truncation > 0.9
        assert around.bbox2d[2] <= 1241.0
        assert around.bbox2d[3] <= 374.0

    def test_results_carry_scores(self):
        boxes = np.array([[10.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0]])
        (item,) = boxes_to_kitti(boxes, ["Car"], Calibration.synthetic(), scores=[0.75])
        assert (item.score, item.occlusion) == (0.75, -1)
        assert boxes_to_kitti(np.zeros((0, 7)), [], Calibration.synthetic()) == []
        with pytest.raises(ValueError, match="2 types for 1 boxes"):
            boxes_to_kitti(boxes, ["Car", "Van"], Calibration.synthetic())
        with pytest.raises(ValueError, match="0 scores for 1 boxes"):
            boxes_to_kitti(boxes, ["Car"], Calibration.synthetic(), scores=[])

    def test_labelled_boxes_ignore_other_types_and_drop_regions(self):
        objects = [CAR, REGION, replace(CAR, type="Van"), replace(CAR, type="Cyclist")]
        boxes = labelled_boxes(objects, Calibration.synthetic())
        assert boxes.labels.tolist() == [0, -1, 2]
        assert boxes.scores.tolist() == [1.0, 1.0, 1.0]
        assert len(labelled_boxes([REGION], Calibration.synthetic())) == 0
        with pytest.raises(DataError, match="no boxes: a score"):
            labelled_boxes([replace(CAR, score=7.5)], Calibration.synthetic())

    def test_a_region_has_no_box(self):
        with pytest.raises(DataError, match="DontCare"):
            kitti_to_boxes([REGION], Calibration.synthetic())

    def test_camera_boxes_by_hand(self):
        boxes = camera_boxes([CAR, REGION])
        expected = [15.0, -1.0, -0.95, 4.0, 1.6, 1.5, -0.3 - math.pi / 2]
        np.testing.assert_allclose(boxes, [expected, [0.0] * 7])


class TestFolders:
    def write_root(self, root):
        points = np.random.default_rng(0).random((10, 4)).astype(np.float32)
        write_kitti_frame(root, "000007", points, [CAR, REGION], tilted_calibration())
        write_image_set(root, "val", ["000007"])
        return points

    def test_what_is_written_reads_back(self, tmp_path):
        points = self.write_root(tmp_path)
        dataset = KittiDataset(tmp_path, "val")
        assert dataset.ids == ("000007",)
        assert len(dataset) == 1
        np.testing.assert_array_equal(dataset.points("000007"), points)
        assert [item.type for item in dataset.objects("000007")] == ["Car", "DontCare"]
        np.testing.assert_allclose(
            dataset.calibration("000007").r0_rect, tilted_calibration().r0_rect, atol=1e-11
        )
        assert dataset.image_path("000007") is None
        assert not list(tmp_path.rglob("*.part"))

    def test_finds_images(self, tmp_path):
        self.write_root(tmp_path)
        image = tmp_path / "training" / "image_2" / "000007.png"
        image.parent.mkdir()
        image.touch()
        assert KittiDataset(tmp_path, "val").image_path("000007") == image

    def test_roots_that_are_none(self, tmp_path):
        with pytest.raises(DataError, match="no folder training/"):
            KittiDataset(tmp_path, "val")
        self.write_root(tmp_path)
        with pytest.raises(DataError, match="there are: val"):
            KittiDataset(tmp_path, "train")
        (tmp_path / "ImageSets" / "empty.txt").write_text("\n")
        with pytest.raises(DataError, match="names no frame"):
            KittiDataset(tmp_path, "empty")
        (tmp_path / "ImageSets" / "evil.txt").write_text("000007\n../secret\n")
        with pytest.raises(DataError, match=r"evil\.txt:2: '../secret' is no frame name"):
            KittiDataset(tmp_path, "evil")

    def test_a_cut_off_scan(self, tmp_path):
        path = tmp_path / "scan.bin"
        path.write_bytes(b"\0" * 33)
        with pytest.raises(DataError, match=r"scan\.bin: 33 bytes is no multiple of 16"):
            read_points(path)
        with pytest.raises(DataError, match=r"none\.bin: cannot read"):
            read_points(tmp_path / "none.bin")
        path.write_bytes(b"")
        assert read_points(path).shape == (0, 4)

    def test_points_at_the_sensors_origin_are_no_returns_as_in_the_node(self, tmp_path):
        path = tmp_path / "scan.bin"
        points = np.array(
            [[1, 2, 3, 0.5], [0, 0, 0, 0], [np.nan, 0, 0, 0], [0.2, -0.2, 0, 1], [0.3, 0, 0.1, 1]]
        ).astype("<f4")
        points.tofile(path)
        np.testing.assert_array_equal(read_points(path), points[[0, 2, 4]])
        np.testing.assert_array_equal(
            np.isfinite(read_scan_file(path, SENSORS["kitti_hdl64"])[:, 0]),
            [True, False, False, False, True],
        )

    def test_writing_refuses_bad_input(self, tmp_path):
        with pytest.raises(ValueError, match=r"must be \(N, 4\)"):
            write_kitti_frame(tmp_path, "0", np.zeros((2, 3)), [], Calibration.synthetic())
        with pytest.raises(ValueError, match="no frame name"):
            write_kitti_frame(tmp_path, "../0", np.zeros((2, 4)), [], Calibration.synthetic())

    def test_a_sequence(self, tmp_path):
        training = tmp_path / "training"
        for folder in ("velodyne/0005", "calib", "label_02"):
            (training / folder).mkdir(parents=True)
        for frame in (1, 0):
            np.full((2, 4), frame, np.float32).tofile(training / f"velodyne/0005/{frame:06d}.bin")
        (training / "calib/0005.txt").write_text(Calibration.synthetic().to_text())
        labels = training / "label_02/0005.txt"
        labels.write_text(f"1 -1 {REGION.to_line()}\n1 12 {CAR.to_line()}\n")
        sequence = KittiSequence(tmp_path, "0005")
        assert sequence.ids == ("000000", "000001")
        assert sequence.points("000001")[0, 0] == 1.0
        assert sequence.objects("000000") == []
        assert [item.type for item in sequence.objects("000001")] == ["DontCare", "Car"]
        assert sequence.track_ids("000001") == [-1, 12]
        labels.write_text(f"1 12 {CAR.to_line()}\n2 car {CAR.to_line()}\n")
        with pytest.raises(DataError, match=r"0005\.txt:2: not a tracking label"):
            KittiSequence(tmp_path, "0005")
        with pytest.raises(DataError, match="no scans"):
            KittiSequence(tmp_path, "0006")
        (training / "velodyne/0005/\u00b2\u00b2.bin").write_bytes(b"")  # digits, but not ASCII's
        with pytest.raises(DataError, match="a scan is named by its frame number"):
            KittiSequence(tmp_path, "0005")

    @pytest.mark.parametrize("start", ["", "0", "x 0", "\u0661 0", "1_0 0", "9" * 5000 + " 0"])
    def test_tracking_lines_that_are_none(self, tmp_path, start):
        (tmp_path / "0.txt").write_text(f"{start} {CAR.to_line()}\n")
        with pytest.raises(DataError, match=r"0\.txt:1: not a tracking label") as caught:
            read_tracking_labels(tmp_path / "0.txt")
        assert len(str(caught.value)) < 500

    def test_boxes_that_float32_cannot_hold(self):
        for changes in ({"location": (1e39, 1.0, 9.0)}, {"dimensions": (1.5, 1e39, 4.0)}):
            with pytest.raises(DataError, match="must be metres and radians"):
                kitti_to_boxes([replace(CAR, **changes)], Calibration.synthetic())
        with pytest.raises(DataError, match="must be metres and radians"):
            kitti_to_boxes([replace(CAR, rotation_y=1e300)], Calibration.synthetic())


class TestRealFrames:
    @pytest.mark.parametrize("split", ["train", "val"])
    def test_labels_survive_the_lidar_frame(self, kitti_object_root, split):
        dataset = KittiDataset(kitti_object_root, split)
        for frame_id in dataset.ids[:10]:
            calibration = dataset.calibration(frame_id)
            objects = [item for item in dataset.objects(frame_id) if item.has_box]
            boxes = kitti_to_boxes(objects, calibration)
            back = boxes_to_kitti(boxes, [item.type for item in objects], calibration)
            assert len(back) == len(objects)
            for got, item in zip(back, objects, strict=True):
                assert got.location == pytest.approx(item.location, abs=1e-5)
                assert got.dimensions == pytest.approx(item.dimensions, abs=1e-5)
                turn = (got.rotation_y - item.rotation_y + math.pi) % (2 * math.pi) - math.pi
                assert abs(turn) < 1e-5
                # KITTI's label gives two decimals of an angle, and its 2D boxes are drawn by hand.
                if item.truncation == 0:
                    assert got.alpha == pytest.approx(item.alpha, abs=0.06)
                    np.testing.assert_allclose(got.bbox2d, item.bbox2d, atol=25.0)

    def test_labelled_cars_hold_points(self, kitti_object_root):
        from eloss_perception.detection.boxes import points_in_boxes

        dataset = KittiDataset(kitti_object_root, "val")
        frame_id = dataset.ids[0]
        points = dataset.points(frame_id)
        assert points.dtype == np.float32
        assert 100_000 < len(points) < 130_000
        assert points[:, 3].min() >= 0.0
        assert points[:, 3].max() <= 1.0
        calibration = dataset.calibration(frame_id)
        seen = camera_view_mask(points, calibration)
        assert 0.1 < seen.mean() < 0.25
        cars = [item for item in dataset.objects(frame_id) if item.type == "Car"]
        inside = points_in_boxes(points[seen], kitti_to_boxes(cars, calibration))
        near = [i for i, item in enumerate(cars) if item.location[2] < 40]
        assert near
        for i in near:
            assert (inside == i).sum() >= 5

    def test_image_size_follows_from_the_focal_length(self, kitti_object_root):
        image = pytest.importorskip("PIL.Image")
        found = 0
        for split in ("train", "val"):
            dataset = KittiDataset(kitti_object_root, split)
            for frame_id in dataset.ids:
                if (path := dataset.image_path(frame_id)) is not None:
                    found += 1
                    with image.open(path) as opened:
                        assert opened.size == dataset.calibration(frame_id).image_size
        assert found

    def test_tracking_sequence(self, kitti_tracking_root):
        sequence = KittiSequence(kitti_tracking_root, "0001")
        assert len(sequence) >= 31
        assert sequence.points("000000").shape[1] == 4
        assert any(item.type == "Car" for item in sequence.objects("000000"))
        assert sequence.calibration("000000").image_size == (1242, 375)
        assert sequence.image_path("000000") is not None
