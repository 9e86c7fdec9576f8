# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eloss_perception.detection.boxes import (
    Boxes3D,
    bev_corners,
    bev_iou,
    corners_3d,
    iou_3d,
    nms_bev,
    points_in_boxes,
    wrap_angle,
)


def box(x=0.0, y=0.0, z=0.0, length=4.0, width=2.0, height=1.5, yaw=0.0):
    return np.array([[x, y, z, length, width, height, yaw]])


def random_boxes(rng, num_boxes, spread=6.0):
    return np.column_stack(
        [
            rng.uniform(-spread, spread, (num_boxes, 2)),
            rng.uniform(-1.0, 1.0, num_boxes),
            rng.uniform(0.3, 6.0, (num_boxes, 3)),
            rng.uniform(-math.pi, math.pi, num_boxes),
        ]
    )


def slow_intersection_area(a, b):
    """Clip one box's corners by the other's four edges, in plain Python."""
    polygon = [tuple(corner) for corner in bev_corners(a)[0]]
    clip = [tuple(corner) for corner in bev_corners(b)[0]]
    for (x0, y0), (x1, y1) in zip(clip, [*clip[1:], clip[0]], strict=True):
        clipped = []
        sides = [(x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) for x, y in polygon]
        for k, (x, y) in enumerate(polygon):
            following = (k + 1) % len(polygon)
            if sides[k] >= 0:
                clipped.append((x, y))
            if sides[k] * sides[following] < 0:
                fraction = sides[k] / (sides[k] - sides[following])
                there = polygon[following]
                clipped.append((x + fraction * (there[0] - x), y + fraction * (there[1] - y)))
        polygon = clipped
        if not polygon:
            return 0.0
    turned = [*polygon[1:], polygon[0]]
    return 0.5 * abs(
        sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, turned, strict=True))
    )


def slow_nms(boxes, scores, iou_threshold, max_num):
    iou = bev_iou(boxes, boxes)
    left = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    kept = []
    while left and len(kept) < max_num:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if iou[best, i] <= iou_threshold]
    return kept


class TestIouByHand:
    def test_identical_boxes_overlap_wholly(self):
        for yaw in (0.0, 0.3, -2.0, math.pi / 2):
            a = box(50.0, -30.0, yaw=yaw)
            assert bev_iou(a, a)[0, 0] == pytest.approx(1.0, abs=1e-12)
            assert iou_3d(a, a)[0, 0] == pytest.approx(1.0, abs=1e-12)

    def test_half_turn_changes_nothing(self):
        assert bev_iou(box(), box(yaw=-math.pi))[0, 0] == pytest.approx(1.0, abs=1e-12)

    def test_shift_by_half_the_length(self):
        # 2 x 2 of the 4 x 2 is shared: 4 / (8 + 8 - 4).
        assert bev_iou(box(), box(x=2.0))[0, 0] == pytest.approx(1 / 3, abs=1e-12)

    def test_quarter_turn_of_a_two_to_one_box(self):
        # A 2 x 2 square in the middle: 4 / (8 + 8 - 4).
        assert bev_iou(box(), box(yaw=math.pi / 2))[0, 0] == pytest.approx(1 / 3, abs=1e-12)

    def test_unit_square_turned_by_45_degrees(self):
        # The regular octagon of inradius 1/2 has area 2 (sqrt 2 - 1).
        square = box(length=1.0, width=1.0)
        octagon = 2.0 * (math.sqrt(2.0) - 1.0)
        turned = box(length=1.0, width=1.0, yaw=math.pi / 4)
        expected = octagon / (2.0 - octagon)
        assert bev_iou(square, turned)[0, 0] == pytest.approx(expected, abs=1e-12)

    def test_contained_box(self):
        inner = box(0.3, 0.1, length=1.0, width=0.5, yaw=0.4)
        assert bev_iou(box(), inner)[0, 0] == pytest.approx(0.5 / 8.0, abs=1e-12)

    def test_heights_enter_the_volume_only(self):
        raised = box(z=0.75)
        assert bev_iou(box(), raised)[0, 0] == pytest.approx(1.0)
        # Half of each volume is shared: 1 / (2 + 2 - 1).
        assert iou_3d(box(), raised)[0, 0] == pytest.approx(1 / 3, abs=1e-12)
        assert iou_3d(box(), box(z=1.5))[0, 0] == 0.0

    @pytest.mark.parametrize("other", [box(x=4.0), box(y=2.0), box(x=4.0, y=2.0), box(x=40.0)])
    def test_touching_or_apart_is_zero(self, other):
        assert bev_iou(box(), other)[0, 0] == 0.0
        assert iou_3d(box(), other)[0, 0] == 0.0

    @pytest.mark.parametrize(
        "flat", [box(length=0.0), box(width=0.0), box(length=0.0, width=0.0, height=0.0)]
    )
    def test_box_without_area_overlaps_nothing(self, flat):
        assert bev_iou(flat, flat)[0, 0] == 0.0
        assert bev_iou(box(), flat)[0, 0] == 0.0
        assert iou_3d(flat, box())[0, 0] == 0.0

    def test_shapes(self):
        rng = np.random.default_rng(0)
        assert bev_iou(random_boxes(rng, 3), random_boxes(rng, 5)).shape == (3, 5)
        assert iou_3d(np.zeros((0, 7)), random_boxes(rng, 5)).shape == (0, 5)


@pytest.mark.parametrize("function", [bev_iou, iou_3d])
def test_iou_refuses_what_is_no_box(function):
    with pytest.raises(ValueError, match="box 0 is not finite"):
        function(box(x=math.nan), box())
    with pytest.raises(ValueError, match="box 0 is not finite"):
        function(box(), box(yaw=math.inf))
    with pytest.raises(ValueError, match="negative size"):
        function(box(), box(length=-1.0))
    with pytest.raises(ValueError, match=r"must be \(N, 7\)"):
        function(np.zeros(7), box())


def test_iou_against_a_slow_implementation():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 40), random_boxes(rng, 40)
    fast, fast_3d = bev_iou(a, b), iou_3d(a, b)
    assert (fast > 0).mean() > 0.2
    for i in range(40):
        for j in range(40):
            shared = slow_intersection_area(a[i : i + 1], b[j : j + 1])
            area_a, area_b = a[i, 3] * a[i, 4], b[j, 3] * b[j, 4]
            assert fast[i, j] == pytest.approx(shared / (area_a + area_b - shared), abs=1e-9)
            top = min(a[i, 2] + a[i, 5] / 2, b[j, 2] + b[j, 5] / 2)
            bottom = max(a[i, 2] - a[i, 5] / 2, b[j, 2] - b[j, 5] / 2)
            shared *= max(top - bottom, 0.0)
            union = area_a * a[i, 5] + area_b * b[j, 5] - shared
            assert fast_3d[i, j] == pytest.approx(shared / union, abs=1e-9)


def test_iou_against_counting_points():
    rng = np.random.default_rng(2)
    a, b = random_boxes(rng, 1, spread=1.0), random_boxes(rng, 1, spread=1.0)
    points = rng.uniform(-6.0, 6.0, (400_000, 3))
    in_a, in_b = points_in_boxes(points, a) == 0, points_in_boxes(points, b) == 0
    counted = (in_a & in_b).sum() / (in_a | in_b).sum()
    assert iou_3d(a, b)[0, 0] == pytest.approx(counted, abs=0.02)


sizes = st.floats(0.0, 20.0, width=32)
places = st.floats(-100.0, 100.0, width=32)
yaws = st.floats(-3.125, 3.125, width=32)
any_box = st.tuples(places, places, places, sizes, sizes, sizes, yaws).map(
    lambda values: np.array([values], np.float32)
)
near_box = st.tuples(*[st.floats(-3, 3, width=32)] * 3, sizes, sizes, sizes, yaws).map(
    lambda values: np.array([values], np.float32)
)


@given(near_box, near_box)
@example(box(), box(yaw=1e-9))
@example(box(length=1e-30), box(width=1e-30))
def test_iou_is_symmetric_and_within_zero_and_one(a, b):
    for function in (bev_iou, iou_3d):
        there, back = function(a, b)[0, 0], function(b, a)[0, 0]
        assert 0.0 <= there <= 1.0
        assert there == pytest.approx(back, abs=1e-6)


def test_iou_of_needles_and_of_sizes_beyond_any_object_is_within_zero_and_one():
    rng = np.random.default_rng(3)
    boxes = np.zeros((400, 7))
    boxes[:, :2] = rng.normal(size=(400, 2)) * 10.0 ** rng.integers(-3, 12, (400, 1))
    boxes[::2, :2] = boxes[:1, :2]
    boxes[:, 3:6] = 10.0 ** rng.uniform(-12, 12, (400, 3))
    boxes[:, 6] = rng.choice([0.0, 1e-16, 1e-8, 0.3, math.pi / 4, math.pi / 2], 400)
    boxes[-3:, :6] = [[1e300] * 6, [1e-300] * 6, [0, 0, 0, 1e308, 1e-308, 1.0]]
    for function in (bev_iou, iou_3d):
        iou = function(boxes, boxes)
        assert not np.isnan(iou).any() and iou.min() >= 0.0 and iou.max() <= 1.0


@given(any_box)
def test_iou_with_itself_is_one_or_without_size_zero(a):
    area = float(a[0, 3]) * float(a[0, 4])
    assert bev_iou(a, a)[0, 0] == pytest.approx(1.0 if area > 0 else 0.0, abs=1e-6)


@given(near_box, near_box, st.floats(-50, 50), st.floats(-50, 50), st.floats(-3, 3))
def test_iou_is_unchanged_by_a_rigid_motion(a, b, dx, dy, turn):
    def moved(boxes):
        result = boxes.astype(np.float64)
        cos, sin = math.cos(turn), math.sin(turn)
        x, y = result[:, 0].copy(), result[:, 1].copy()
        result[:, 0] = cos * x - sin * y + dx
        result[:, 1] = sin * x + cos * y + dy
        result[:, 6] = wrap_angle(result[:, 6] + turn)
        return result

    # A sliver's overlap is ill-conditioned: what rounding moves is a share of a tiny area.
    a, b = (
        np.maximum(a, [-9, -9, -9, 0.05, 0.05, 0.05, -9]),
        np.maximum(b, [-9, -9, -9, 0.05, 0.05, 0.05, -9]),
    )
    for function in (bev_iou, iou_3d):
        assert function(moved(a), moved(b))[0, 0] == pytest.approx(function(a, b)[0, 0], abs=1e-6)


class TestNms:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("iou_threshold", [0.0, 0.1, 0.5, 1.0])
    def test_against_a_slow_implementation(self, seed, iou_threshold):
        rng = np.random.default_rng(seed)
        boxes = random_boxes(rng, 80)
        # Rounded, so that some scores are equal.
        scores = np.round(rng.random(80), 1)
        for max_num in (80, 7):
            kept = nms_bev(boxes, scores, iou_threshold, max_num)
            assert kept.tolist() == slow_nms(boxes, scores, iou_threshold, max_num)

    @pytest.mark.parametrize("seed", range(3))
    def test_boxes_of_different_labels_do_not_compete(self, seed):
        rng = np.random.default_rng(seed)
        boxes, scores, labels = random_boxes(rng, 80), rng.random(80), rng.integers(0, 3, 80)
        own = [np.flatnonzero(labels == label) for label in range(3)]
        kept = [of[slow_nms(boxes[of], scores[of], 0.1, 80)] for of in own]
        expected = sorted(np.concatenate(kept).tolist(), key=lambda index: -scores[index])
        assert nms_bev(boxes, scores, 0.1, 80, labels).tolist() == expected
        assert nms_bev(boxes, scores, 0.1, 9, labels).tolist() == expected[:9]

    def test_ties_go_by_index(self):
        boxes = np.concatenate([box(), box(x=20.0), box(x=0.1)])
        assert nms_bev(boxes, [0.5, 0.5, 0.5], 0.2, 10).tolist() == [0, 1]

    def test_empty_and_none_wanted(self):
        assert nms_bev(np.zeros((0, 7)), np.zeros(0), 0.2, 10).tolist() == []
        assert nms_bev(box(), [1.0], 0.2, 0).tolist() == []

    def test_refuses_bad_input(self):
        with pytest.raises(ValueError, match="not finite"):
            nms_bev(box(), [math.nan], 0.2, 10)
        with pytest.raises(ValueError, match="scores of shape"):
            nms_bev(box(), [0.1, 0.2], 0.2, 10)
        with pytest.raises(ValueError, match="labels of shape"):
            nms_bev(box(), [0.1], 0.2, 10, [1, 2])
        with pytest.raises(ValueError, match="iou_threshold"):
            nms_bev(box(), [0.1], 1.2, 10)
        with pytest.raises(ValueError, match="max_num"):
            nms_bev(box(), [0.1], 0.2, -1)


class TestCornersAndPoints:
    def test_corners_by_hand(self):
        corners = bev_corners(box(1.0, 2.0, yaw=math.pi / 2))[0]
        np.testing.assert_allclose(corners, [[0, 4], [0, 0], [2, 0], [2, 4]], atol=1e-12)

    def test_corners_of_the_volume(self):
        corners = corners_3d(box(z=1.0, height=0.5))
        assert corners.shape == (1, 8, 3)
        np.testing.assert_allclose(corners[0, :4, 2], 0.75)
        np.testing.assert_allclose(corners[0, 4:, 2], 1.25)
        np.testing.assert_allclose(corners[0, :4, :2], bev_corners(box())[0])
        np.testing.assert_allclose(corners[0].mean(axis=0), [0, 0, 1], atol=1e-12)

    def test_points_by_hand(self):
        boxes = np.concatenate([box(yaw=math.pi / 2), box(x=0.5)])
        points = np.array(
            [
                [0.0, 1.9, 0.0, 0.5],  # in the first, which stands across
                [0.2, 0.2, 0.2, 0.5],  # in both: the first counts
                [2.4, 0.9, 0.0, 0.5],  # in the second
                [2.4, 0.9, 0.8, 0.5],  # above it
                [2.5, 1.0, 0.75, 0.5],  # its very corner
                [math.nan, 0.0, 0.0, 0.5],
                [math.inf, 0.0, 0.0, 0.5],
            ],
            np.float32,
        )
        index = points_in_boxes(points, boxes)
        assert index.dtype == np.int32
        assert index.tolist() == [0, 0, 1, -1, 1, -1, -1]

    def test_points_without_boxes(self):
        assert points_in_boxes(np.zeros((3, 3)), np.zeros((0, 7))).tolist() == [-1] * 3
        assert points_in_boxes(np.zeros((0, 4)), box()).shape == (0,)
        with pytest.raises(ValueError, match="points have the shape"):
            points_in_boxes(np.zeros((3, 2)), box())

    @given(near_box, st.integers(0, 2**32 - 1))
    @settings(max_examples=30)
    def test_points_mixed_from_the_corners_are_inside(self, a, seed):
        a = np.maximum(a, [-9, -9, -9, 0.1, 0.1, 0.1, -9])
        weights = np.random.default_rng(seed).random((20, 8)) + 0.01
        weights /= weights.sum(axis=1, keepdims=True)
        assert (points_in_boxes(weights @ corners_3d(a)[0], a) == 0).all()


class TestWrapAngle:
    def test_by_hand(self):
        assert wrap_angle(0.0) == 0.0
        assert wrap_angle(math.pi) == -math.pi
        assert wrap_angle(-math.pi) == -math.pi
        assert wrap_angle(3 * math.pi / 2) == pytest.approx(-math.pi / 2)
        assert wrap_angle(-7.0) == pytest.approx(2 * math.pi - 7.0)
        assert isinstance(wrap_angle(1), float)

    @given(st.floats(-1e4, 1e4), st.sampled_from([np.float32, np.float64]))
    @example(math.pi, np.float32)
    @example(-math.pi, np.float32)
    @example(-1e-17, np.float64)
    @example(math.nextafter(-math.pi, -4), np.float64)
    def test_lies_in_the_interval_and_keeps_the_direction(self, yaw, dtype):
        array = np.array([yaw], dtype)
        wrapped = wrap_angle(array)
        assert wrapped.dtype == dtype
        assert -math.pi <= float(wrapped[0]) < math.pi
        np.testing.assert_array_equal(wrap_angle(wrapped), wrapped)
        exact = float(array[0])
        assert math.cos(float(wrapped[0])) == pytest.approx(math.cos(exact), abs=1e-6)
        assert math.sin(float(wrapped[0])) == pytest.approx(math.sin(exact), abs=1e-6)


class TestBoxes3D:
    def test_selects_by_index_and_mask(self):
        boxes = Boxes3D(
            np.concatenate([box(x=float(i)) for i in range(3)]).astype(np.float32),
            np.array([0.1, 0.2, 0.3], np.float32),
            np.array([0, 1, -1]),
        )
        assert len(boxes) == 3
        chosen = boxes.select(np.array([2, 0]))
        assert chosen.labels.tolist() == [-1, 0]
        assert chosen.boxes[:, 0].tolist() == [2.0, 0.0]
        assert len(boxes.select(boxes.scores > 0.15)) == 2
        assert len(boxes.select(slice(0, 1))) == 1

    def test_empty_is_a_value(self):
        empty = Boxes3D.empty()
        assert len(empty) == 0
        assert empty.boxes.shape == (0, 7)
        assert empty.boxes.dtype == np.float32
        assert empty.labels.dtype == np.int64

    def test_converts_to_the_stated_types(self):
        boxes = Boxes3D(box(), np.array([1.0]), np.array([0], np.int32))
        assert boxes.boxes.dtype == np.float32
        assert boxes.scores.dtype == np.float32
        assert boxes.labels.dtype == np.int64

    @pytest.mark.parametrize(
        ("boxes", "scores", "labels", "message"),
        [
            (np.zeros((1, 6)), [1.0], [0], r"must be \(N, 7\)"),
            (box(x=math.nan), [1.0], [0], "not finite"),
            (box(width=-1.0), [1.0], [0], "negative size"),
            (box(yaw=3.5), [1.0], [0], "apply wrap_angle"),
            (box(), [1.0, 0.5], [0], "scores of shape"),
            (box(), [1.5], [0], r"outside \[0, 1\]"),
            (box(), [math.nan], [0], r"outside \[0, 1\]"),
            (box(), [1.0], [0, 1], "labels of shape"),
            (box(), [1.0], [0.5], "must be integers"),
            (box(), [1.0], [-2], "at least -1"),
        ],
    )
    def test_refuses(self, boxes, scores, labels, message):
        with pytest.raises(ValueError, match=message):
            Boxes3D(boxes, np.array(scores), np.array(labels))
