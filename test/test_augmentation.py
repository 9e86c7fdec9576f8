# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of whole scans: a box's points move with it, and nothing else happens to them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from street_factory import Streets, make_street

from eloss_perception.detection.boxes import points_in_boxes
from eloss_perception.training.data.frames import Frame
from eloss_perception.training.data.object_database import build_object_database
from eloss_perception.training.data.samples import AugmentationConfig, augment

STILL = {
    "flip_probability": 0,
    "rotation_deg": 0,
    "scaling": 0,
    "height_jitter": 0,
    "intensity_gain": 0,
    "dropout_probability": 0,
    "camera_crop_probability": 0,
}


def vary(frame: Frame, seed: int = 0, **changes: object) -> Frame:
    config = AugmentationConfig.model_validate(STILL | changes)
    return augment(frame, config, np.random.default_rng(seed))


def test_nothing_is_nothing() -> None:
    frame = make_street()
    still = vary(frame)
    np.testing.assert_array_equal(still.points, frame.points)
    np.testing.assert_array_equal(still.boxes, frame.boxes)
    np.testing.assert_array_equal(still.labels, frame.labels)


@pytest.mark.parametrize("seed", range(8))
def test_a_box_keeps_its_points_through_all_rigid_changes(seed: int) -> None:
    frame = make_street(seed)
    varied = vary(
        frame,
        seed,
        flip_probability=0.5,
        rotation_deg=180,
        scaling=0.1,
        translation=2.0,
        height_jitter=0.3,
    )
    np.testing.assert_array_equal(
        points_in_boxes(varied.points, varied.boxes), points_in_boxes(frame.points, frame.boxes)
    )
    assert (points_in_boxes(varied.points, varied.boxes) >= 0).sum() >= 5 * 40
    assert (np.abs(varied.boxes[:, 6]) <= np.pi).all()
    assert not np.allclose(varied.boxes[:, :2], frame.boxes[:, :2], atol=0.1)


def test_each_change_by_hand() -> None:
    box = np.array([[10.0, 2.0, -1.0, 4.0, 1.6, 1.5, 0.3]], np.float32)
    frame = Frame(np.array([[10.0, 2.0, -1.0, 0.5]], np.float32), box, np.zeros(1, np.int64))
    flipped = vary(frame, flip_probability=1)
    np.testing.assert_allclose(flipped.boxes, [[10, -2, -1, 4, 1.6, 1.5, -0.3]], rtol=1e-6)
    np.testing.assert_allclose(flipped.points, [[10, -2, -1, 0.5]], rtol=1e-6)
    turned = vary(frame, rotation_deg=90)
    angle = turned.boxes[0, 6] - 0.3
    assert 0.01 < abs(angle) < np.pi / 2
    cos, sin = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(turned.points[0, :2], [10 * cos - 2 * sin, 10 * sin + 2 * cos], 1e-5)
    scaled = vary(frame, scaling=0.2)
    scale = scaled.boxes[0, 3] / 4.0
    assert 0.01 < abs(scale - 1) < 0.2
    np.testing.assert_allclose(scaled.boxes[0, :6], box[0, :6] * scale, rtol=1e-6)
    raised = vary(frame, height_jitter=0.5)
    assert raised.boxes[0, 2] == raised.points[0, 2] != -1.0
    np.testing.assert_array_equal(raised.boxes[0, 3:], box[0, 3:])
    shifted = vary(frame, translation=1.0)
    np.testing.assert_array_equal(shifted.boxes[0, :2], shifted.points[0, :2])
    assert shifted.boxes[0, 2] == -1.0 and (shifted.boxes[0, :2] != box[0, :2]).all()
    bright = vary(frame, 3, intensity_gain=1)
    np.testing.assert_array_equal(bright.points[:, :3], frame.points[:, :3])
    assert bright.points[0, 3] != 0.5 and 0 <= bright.points[0, 3] <= 1


def test_dropout_removes_points_and_changes_none() -> None:
    frame = make_street()
    thin = vary(frame, dropout_probability=1, max_dropout=0.9)
    assert 0.05 * len(frame.points) < len(thin.points) < 0.99 * len(frame.points)
    known = {point.tobytes() for point in frame.points}
    assert all(point.tobytes() in known for point in thin.points)


def test_the_crop_is_a_forward_wedge() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((-50, -50, -2, 0), (50, 50, 0, 1), (5000, 4)).astype(np.float32)
    boxes = np.zeros((3, 7), np.float32)
    boxes[:, :2] = (20, 3), (-20, 3), (5, 30)
    cropped = vary(Frame(points, boxes, np.array([0, 1, 2])), camera_crop_probability=1)
    azimuth = np.abs(np.arctan2(points[:, 1], points[:, 0]))
    assert (azimuth < np.deg2rad(38)).sum() <= len(cropped.points) <= (azimuth < 0.803).sum()
    assert cropped.labels.tolist() == [0]


def test_the_scan_given_is_not_changed(tmp_path) -> None:
    frame = make_street()
    for array in (frame.points, frame.boxes, frame.labels):
        array.flags.writeable = False  # as scans from the cache are
    config = AugmentationConfig(
        sampled_objects=(5, 5, 5), object_rotation_deg=20, object_translation=(0.2, 0.2, 0.1)
    )
    objects = build_object_database(Streets(), tmp_path)
    varied = augment(frame, config, np.random.default_rng(0), objects)
    assert len(varied.boxes) != len(frame.boxes)


def test_an_empty_scan_stays_empty(tmp_path) -> None:
    empty = Frame(np.zeros((0, 4), np.float32), np.zeros((0, 7), np.float32), np.zeros(0, np.int64))
    config = AugmentationConfig(object_rotation_deg=20, translation=1.0)
    varied = augment(empty, config, np.random.default_rng(0))
    assert varied.points.shape == (0, 4)
    assert varied.boxes.shape == (0, 7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampled_objects": (-1,)},
        {"sampled_min_points": 2},
        {"object_translation": (0.1, 0.1)},
        {"rotation_deg": 181},
        {"colour_jitter": 1},
    ],
)
def test_impossible_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentationConfig.model_validate(wrong)
