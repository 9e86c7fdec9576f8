# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground-truth sampling and per-object noise: labels stay true, boxes stay apart."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from street_factory import GROUND, Streets, make_street, write_kitti_root

from eloss_perception.detection.boxes import bev_iou, points_in_boxes
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.training.data.frames import Frame, KittiSplit, SimulatedFrames
from eloss_perception.training.data.object_augmentation import (
    accept_in_order,
    move_objects,
    overlap,
    paste_objects,
)
from eloss_perception.training.data.object_database import (
    ObjectDatabase,
    build_object_database,
    local_ground,
)

WANTED = (6, 4, 4)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> ObjectDatabase:
    return build_object_database(Streets(12), tmp_path_factory.mktemp("cache"))


def count_inside(frame: Frame) -> np.ndarray:
    owners = points_in_boxes(frame.points, frame.boxes)
    return np.bincount(owners[owners >= 0], minlength=len(frame.boxes))


def in_own_axes(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(box[6]), np.sin(box[6])
    local = points[:, :3].astype(float) - box[:3]
    local[:, :2] = local[:, :2] @ np.array([[cos, -sin], [sin, cos]])
    return local


def paste(frame: Frame, objects: ObjectDatabase, seed: int = 0, **changes: object) -> Frame:
    options = {"num_wanted": WANTED, "min_points": 5, "on_ground": True} | changes
    return paste_objects(frame, objects, rng=np.random.default_rng(seed), **options)  # type: ignore[arg-type]


boxes = st.lists(
    st.tuples(
        st.floats(-6, 6), st.floats(-6, 6), st.just(0.0),
        st.floats(0.2, 5), st.floats(0.2, 3), st.just(1.0), st.floats(-3.1, 3.1),
    ),
    min_size=2, max_size=6,
).map(lambda rows: np.array(rows, np.float64))  # fmt: skip


class TestCollisions:
    @given(boxes)
    @settings(max_examples=60, deadline=None)
    def test_agrees_with_the_exact_area(self, boxes: np.ndarray) -> None:
        iou = bev_iou(boxes, boxes)
        for i in range(len(boxes)):
            for j in range(len(boxes)):
                if iou[i, j] > 1e-9:
                    assert overlap(boxes[i], boxes[j])
                elif overlap(boxes[i], boxes[j]):  # by a sliver at most
                    smaller = boxes[j].copy()
                    smaller[3:5] = np.maximum(smaller[3:5] - 1e-4, 0.0)
                    assert not overlap(boxes[i], smaller)

    def test_earlier_candidates_come_first(self) -> None:
        def car(x: float) -> list[float]:
            return [x, 0, 0, 4, 2, 1.5, 0]

        present = np.array([car(0)])
        candidates = np.array([car(3), car(5), car(8), car(9)], float)
        assert accept_in_order(present, candidates).tolist() == [False, True, False, True]


class TestLocalGround:
    def test_flat_and_raised_ground_with_outliers(self) -> None:
        for height in (-1.73, -0.4):
            frame = make_street(3, ground=height)
            low = np.array([[10.0, 0.0, height - 4.0, 0.0]], np.float32)
            found = local_ground(np.concatenate([frame.points, low]), frame.boxes)
            np.testing.assert_allclose(found, height, atol=0.03)

    def test_nothing_near_is_nan(self) -> None:
        frame = make_street()
        away = frame.boxes + np.array([0, 60, 0, 0, 0, 0, 0], np.float32)
        assert np.isnan(local_ground(frame.points, away)).all()
        far = frame.boxes + np.array([900, 0, 0, 0, 0, 0, 0], np.float32)
        assert np.isnan(local_ground(frame.points, far)).all()

    def test_a_box_that_is_nowhere_or_beyond_all_cells_has_no_ground(self) -> None:
        points = make_street().points.copy()
        points[::5, :2] = np.nextafter(np.float32([100.0, -100.0]), np.float32(0))
        points[1::5] = np.nan
        for wrong in (np.nan, np.inf, -np.inf, 1e30, -3e38):
            for column in range(6):
                box = np.float32([[10.0, 0.0, -1.0, 4.0, 2.0, 1.5, 0.0]])
                box[0, column] = wrong
                found = local_ground(points, box)
                assert np.isnan(found).all() or column in (2, 5)


class TestDatabase:
    def test_holds_every_object_with_its_points(self, objects: ObjectDatabase) -> None:
        assert len(objects) == 12 * 4  # five a street, one of them ignored
        assert sorted(set(objects.labels)) == [0, 1, 2]
        for k in range(len(objects)):
            inside = points_in_boxes(objects.points_of(k), objects.boxes[k : k + 1])
            assert (inside == 0).all()
            assert 40 <= len(inside) < 80  # a few of the road's own besides
        np.testing.assert_allclose(objects.ground, GROUND, atol=0.03)

    def test_min_points(self, objects: ObjectDatabase) -> None:
        assert len(objects.of_class(0, 5)) == 24
        assert len(objects.of_class(0, 5000)) == 0

    def test_is_built_once_and_again_when_a_file_changes(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        cache = tmp_path / "cache"
        calls: list[int] = []

        def build() -> ObjectDatabase:
            return build_object_database(KittiSplit(root, "train"), cache, calls.append)

        first = build()
        assert calls == [1, 2, 3]
        assert build().folder == first.folder
        assert calls == [1, 2, 3]
        labels = root / "training/label_2/000001.txt"
        labels.write_text("\n".join(labels.read_text().splitlines()[1:]) + "\n")
        second = build()
        assert second.folder != first.folder
        assert len(second) == len(first) - 1
        assert not list(cache.glob("*.part"))

    def test_holds_frames_of_its_split_only(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti", 2)
        write_kitti_root(root, 2, "val", first=2)
        train = build_object_database(KittiSplit(root, "train"), tmp_path)
        val = build_object_database(KittiSplit(root, "val"), tmp_path)
        assert train.folder != val.folder
        shared = {box.tobytes() for box in train.boxes} & {box.tobytes() for box in val.boxes}
        assert len(train) == len(val) == 8
        assert not shared

    def test_two_processes_build_one(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            results = [pool.apply_async(_build_streets, (tmp_path,)) for _ in range(2)]
            folders = {result.get(60) for result in results}
        assert len(folders) == 1
        assert [path.name for path in tmp_path.iterdir()] == [os.path.basename(folders.pop())]

    def test_refuses_what_is_no_database(self, tmp_path: Path) -> None:
        built = build_object_database(Streets(2), tmp_path)
        np.save(built.folder / "labels.npy", built.labels[:-1])
        with pytest.raises(DataError, match="damaged; delete the folder"):
            ObjectDatabase(built.folder)
        (built.folder / "labels.npy").unlink()
        with pytest.raises(DataError, match="no object database"):
            ObjectDatabase(built.folder)
        with pytest.raises(ConfigError, match="set num_scans"):
            build_object_database(SimulatedFrames(0), tmp_path)

    def test_travels_to_a_worker_by_its_folder(self, objects: ObjectDatabase) -> None:
        sent = pickle.dumps(objects)
        assert len(sent) < 1000
        np.testing.assert_array_equal(pickle.loads(sent).points, objects.points)


def _build_streets(cache: Path) -> str:
    return str(build_object_database(Streets(6), cache).folder)


class TestPasting:
    @pytest.mark.parametrize("seed", range(5))
    def test_nothing_overlaps_and_labels_are_true(self, objects: ObjectDatabase, seed: int) -> None:
        frame = make_street(100 + seed)
        pasted = paste(frame, objects, seed)
        num_old = len(frame.boxes)
        assert len(pasted.boxes) > num_old + 2
        np.testing.assert_array_equal(pasted.boxes[:num_old], frame.boxes)
        np.testing.assert_array_equal(pasted.labels[:num_old], frame.labels)
        iou = bev_iou(pasted.boxes, pasted.boxes)
        assert (iou[~np.eye(len(iou), dtype=bool)] < 1e-9).all()
        for label, wanted in enumerate(WANTED):
            present = (frame.labels == label).sum()
            assert present <= (pasted.labels == label).sum() <= max(wanted, present)
        # What is in a pasted box is the object's own, point for point.
        counts = count_inside(pasted)
        np.testing.assert_array_equal(counts[:num_old], count_inside(frame))
        known = {tuple(np.round(box[[0, 1, 3]], 4)): k for k, box in enumerate(objects.boxes)}
        for box, count in zip(pasted.boxes[num_old:], counts[num_old:], strict=True):
            k = known[tuple(np.round(box[[0, 1, 3]], 4))]
            assert count == objects.num_points[k]

    def test_the_scan_given_is_not_changed(self, objects: ObjectDatabase) -> None:
        frame = make_street(1)
        for array in (frame.points, frame.boxes, frame.labels):
            array.flags.writeable = False
        paste(frame, objects)

    def test_follows_the_ground(self, objects: ObjectDatabase) -> None:
        hill = make_street(100, ground=GROUND + 0.9)
        for on_ground, bottom in ((True, GROUND + 0.9), (False, GROUND)):
            boxes = paste(hill, objects, on_ground=on_ground).boxes[len(hill.boxes) :]
            np.testing.assert_allclose(boxes[:, 2] - boxes[:, 5] / 2, bottom, atol=0.04)
        roof = make_street(100, ground=GROUND + 3.0)
        assert paste(roof, objects).boxes.shape == roof.boxes.shape

    def test_a_class_that_is_full_and_no_class_at_all(self, objects: ObjectDatabase) -> None:
        frame = make_street(100)
        assert paste(frame, objects, num_wanted=()) is frame
        assert paste(frame, objects, num_wanted=(2, 1, 1)) is frame
        assert paste(frame, objects, min_points=5000) is frame

    def test_empty_scan(self, objects: ObjectDatabase) -> None:
        empty = Frame(
            np.zeros((0, 4), np.float32), np.zeros((0, 7), np.float32), np.zeros(0, np.int64)
        )
        pasted = paste(empty, objects)
        assert count_inside(pasted).sum() == len(pasted.points) > 0


class TestNoise:
    @pytest.mark.parametrize("seed", range(5))
    def test_every_box_takes_its_own_points_and_no_others(self, seed: int) -> None:
        frame = make_street(seed, labels=(0, 1, 2, -1, 0))
        moved = move_objects(frame, 45.0, (0.5, 0.5, 0.1), np.random.default_rng(seed))
        assert (moved.boxes[:, :2] != frame.boxes[:, :2]).any(axis=1).tolist() == [
            True, True, True, False, True,
        ]  # fmt: skip
        np.testing.assert_array_equal(moved.boxes[:, 3:6], frame.boxes[:, 3:6])
        np.testing.assert_array_equal(moved.labels, frame.labels)
        before = points_in_boxes(frame.points, frame.boxes)
        after = points_in_boxes(moved.points, moved.boxes)
        for k in range(len(frame.boxes)):
            own, found = frame.points[before == k], moved.points[after == k]
            assert len(own) == len(found) >= 40
            np.testing.assert_allclose(
                in_own_axes(found, moved.boxes[k]), in_own_axes(own, frame.boxes[k]), atol=1e-4
            )
            np.testing.assert_array_equal(found[:, 3], own[:, 3])
        # What is left of the scene has not moved.
        scene = {point.tobytes() for point in frame.points[before < 0]}
        assert all(point.tobytes() in scene for point in moved.points[after < 0])

    @pytest.mark.parametrize("seed", range(5))
    def test_boxes_do_not_come_to_overlap(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        row = np.zeros((12, 7), np.float32)
        row[:, 0] = 6.0 + 4.3 * np.arange(12)  # a queue of cars, 0.3 m apart
        row[:, 2:6] = (-1.0, 4.0, 1.6, 1.5)
        frame = Frame(np.zeros((0, 4), np.float32), row, np.zeros(12, np.int64))
        moved = move_objects(frame, 20.0, (0.5, 0.5, 0.0), rng)
        iou = bev_iou(moved.boxes, moved.boxes)
        assert (iou[~np.eye(12, dtype=bool)] < 1e-9).all()
        assert (moved.boxes != frame.boxes).any(axis=1).sum() > 3

    def test_boxes_that_overlap_already_stay(self) -> None:
        pair = np.array([[10, 0, -1, 4, 1.6, 1.5, 0], [10.5, 0.3, -1, 4, 1.6, 1.5, 0]], np.float32)
        frame = Frame(np.zeros((0, 4), np.float32), pair, np.zeros(2, np.int64))
        assert move_objects(frame, 20.0, (1, 1, 0), np.random.default_rng(0)) is frame
