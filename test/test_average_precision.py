# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_factory import car, found, random_frames, region

from eloss_perception.datasets.kitti import camera_boxes
from eloss_perception.detection.boxes import bev_iou, iou_3d
from eloss_perception.errors import DataError
from eloss_perception.evaluation import (
    DIFFICULTIES,
    EvaluationFrame,
    PrecisionEvaluator,
)

EASY, MODERATE, HARD = DIFFICULTIES["easy"], DIFFICULTIES["moderate"], DIFFICULTIES["hard"]


def evaluate(frames, metric="3d", difficulty=EASY, min_overlap=0.7, class_name="Car"):
    return PrecisionEvaluator(frames).average_precision(class_name, metric, difficulty, min_overlap)


def perfect_frames(num_frames=50):
    scores = np.linspace(0.9, 0.1, num_frames)
    return [EvaluationFrame([car()], [found(car(), float(score))]) for score in scores]


ALL_METRICS = pytest.mark.parametrize("metric", ["image", "bev", "3d"])


class TestByHand:
    @ALL_METRICS
    def test_perfect_detections(self, metric):
        score = evaluate(perfect_frames(), metric)
        assert score.ap_r11 == score.ap_r40 == score.ap_exact == pytest.approx(100.0)
        assert score.ceiling_r11 == score.ceiling_r40 == pytest.approx(100.0)
        assert score.max_recall == pytest.approx(100.0)
        assert score.num_objects == 50

    def test_no_detection(self):
        score = evaluate([EvaluationFrame([car()], [])] * 50)
        assert (score.ap_r11, score.ap_r40, score.ap_exact, score.max_recall) == (0, 0, 0, 0)

    def test_no_object(self):
        score = evaluate([EvaluationFrame([], [found(car(), 0.5)])])
        assert math.isnan(score.ap_r40)
        assert math.isnan(score.ap_exact)
        assert score.num_objects == 0
        assert math.isnan(evaluate([]).ap_r40)

    @ALL_METRICS
    def test_one_false_positive_of_the_top_score(self, metric):
        frames = perfect_frames(40)
        frames[0] = replace_detections(frames[0], [found(car(3), 0.99)])
        score = evaluate(frames, metric)
        # The k-th of 40 true positives is found at precision k / (k + 1), which rises, so that
        # 40 / 41 is the precision at every recall. Of the 40 scores, rank 1 stands for recall 0.
        assert score.ap_exact == pytest.approx(100 * 40 / 41)
        assert score.ap_r40 == pytest.approx(100 * 40 / 41 * 39 / 40)
        assert score.ceiling_r40 == pytest.approx(100 * 39 / 40)

    def test_one_false_positive_of_the_lowest_score_costs_nothing(self):
        frames = perfect_frames()
        frames[0] = replace_detections(frames[0], [found(car(3), 0.01)])
        assert evaluate(frames).ap_r40 == pytest.approx(100.0)

    def test_half_of_the_objects_found(self):
        frames = [
            EvaluationFrame([car(), car(1)], [found(car(), 0.5 + i / 1000)]) for i in range(80)
        ]
        score = evaluate(frames)
        assert score.max_recall == pytest.approx(50.0)
        assert score.ap_exact == pytest.approx(50.0)
        # The official sampling takes the last score as one more sample.
        assert score.ap_r40 == pytest.approx(50.0, abs=2.5)

    def test_a_second_detection_of_the_same_object_is_false(self):
        frames = [
            EvaluationFrame([car()], [found(car(), 0.9), found(car(), 0.8)]) for _ in range(50)
        ]
        # All first ones come before all second ones: at the only true score precision is whole.
        assert evaluate(frames).ap_r40 == pytest.approx(100.0)
        frames = [
            EvaluationFrame([car()], [found(car(), 0.9), found(car(), 0.9)]) for _ in range(50)
        ]
        assert evaluate(frames).ap_r40 == pytest.approx(50.0)

    def test_few_objects_have_a_ceiling(self):
        score = evaluate(perfect_frames(4))
        assert score.ap_exact == pytest.approx(100.0)
        # Four scores give the samples 0 to 3: three of R40's forty, one of R11's eleven.
        assert score.ap_r40 == score.ceiling_r40 == pytest.approx(100 * 3 / 40)
        assert score.ap_r11 == score.ceiling_r11 == pytest.approx(100 / 11)

    def test_overlap_decides(self):
        # 0.5 m of 4 m aside: IoU 3.5 / 4.5 = 0.78; 1 m: 3 / 5 = 0.6.
        near = [EvaluationFrame([car()], [found(car(), 0.9, location=(0.5, 1.7, 20.0))])] * 50
        far = [EvaluationFrame([car()], [found(car(), 0.9, location=(1.0, 1.7, 20.0))])] * 50
        assert evaluate(near, "bev").ap_r40 == pytest.approx(100.0)
        assert evaluate(far, "bev").ap_r40 == 0.0
        assert evaluate(far, "bev", min_overlap=0.5).ap_r40 == pytest.approx(100.0)

    def test_height_counts_in_3d_alone(self):
        raised = [EvaluationFrame([car()], [found(car(), 0.9, location=(0.0, 1.0, 20.0))])] * 50
        assert evaluate(raised, "bev").ap_r40 == pytest.approx(100.0)
        assert evaluate(raised, "3d").ap_r40 == 0.0


def replace_detections(frame, more):
    return EvaluationFrame(frame.labels, [*frame.detections, *more])


class TestIgnoring:
    @ALL_METRICS
    def test_a_found_van_is_neither_right_nor_wrong(self, metric):
        van = car(2, type="Van")
        frames = [
            EvaluationFrame([*frame.labels, van], [*frame.detections, found(car(2), 0.99)])
            for frame in perfect_frames()
        ]
        score = evaluate(frames, metric)
        assert score.ap_r40 == pytest.approx(100.0)
        assert score.num_objects == 50

    def test_a_truck_is_no_neighbour(self):
        truck = car(2, type="Truck")
        frames = [
            EvaluationFrame([*frame.labels, truck], [*frame.detections, found(car(2), 0.99)])
            for frame in perfect_frames()
        ]
        assert evaluate(frames).ap_r40 == pytest.approx(50.0)

    def test_a_sitting_person_is_ignored_for_pedestrians(self):
        person = car(type="Pedestrian")
        frames = [
            EvaluationFrame(
                [person, car(2, type="Person_sitting")],
                [found(person, 0.5), found(car(2, type="Pedestrian"), 0.99)],
            )
        ] * 50
        assert evaluate(frames, class_name="Pedestrian").ap_r40 == pytest.approx(100.0)

    def test_dont_care_forgives_in_the_image_alone(self):
        frames = [
            EvaluationFrame([*frame.labels, region(2)], [*frame.detections, found(car(2), 0.99)])
            for frame in perfect_frames()
        ]
        assert evaluate(frames, "image").ap_r40 == pytest.approx(100.0)
        # As in the official program: a region has no 3D box.
        assert evaluate(frames, "bev").ap_r40 == pytest.approx(50.0)
        assert evaluate(frames, "3d").ap_r40 == pytest.approx(50.0)

    @pytest.mark.parametrize(
        ("changes", "counts"),
        [
            ({}, (True, True, True)),
            ({"height": 40.5}, (True, True, True)),
            ({"height": 40.0}, (False, True, True)),
            ({"height": 39.0}, (False, True, True)),
            ({"height": 25.5}, (False, True, True)),
            ({"height": 25.0}, (False, False, False)),
            ({"occlusion": 1}, (False, True, True)),
            ({"occlusion": 2}, (False, False, True)),
            ({"occlusion": 3}, (False, False, False)),
            ({"truncation": 0.15}, (True, True, True)),
            ({"truncation": 0.2}, (False, True, True)),
            ({"truncation": 0.4}, (False, False, True)),
            ({"truncation": 0.6}, (False, False, False)),
        ],
    )
    def test_difficulty_decides_what_counts(self, changes, counts):
        frames = [EvaluationFrame([car(), car(1, **changes)], [])]
        for difficulty, counted in zip((EASY, MODERATE, HARD), counts, strict=True):
            assert evaluate(frames, difficulty=difficulty).num_objects == 1 + counted

    def test_an_ignored_object_may_be_found_without_counting(self):
        hidden = car(2, occlusion=2)
        frames = [
            EvaluationFrame([*frame.labels, hidden], [*frame.detections, found(car(2), 0.99)])
            for frame in perfect_frames()
        ]
        score = evaluate(frames, difficulty=MODERATE)
        assert (score.num_objects, score.ap_r40) == (50, pytest.approx(100.0))
        assert evaluate(frames, difficulty=HARD).num_objects == 100

    def test_a_detection_too_low_for_the_difficulty_is_not_false(self):
        frames = [
            replace_detections(frame, [found(car(2, height=30.0), 0.99)])
            for frame in perfect_frames()
        ]
        assert evaluate(frames, difficulty=EASY).ap_r40 == pytest.approx(100.0)
        assert evaluate(frames, difficulty=MODERATE).ap_r40 == pytest.approx(50.0)

    def test_type_names_go_by_letters_not_case(self):
        frames = [EvaluationFrame([car(type="car")], [found(car(), 0.9)])] * 50
        assert evaluate(frames).ap_r40 == pytest.approx(100.0)

    def test_a_detection_without_score_is_refused(self):
        with pytest.raises(DataError, match="no score"):
            PrecisionEvaluator([EvaluationFrame([car()], [car()])])


def slow_counts(frames, metric, score):
    """Return true and false positives at a score and the number of objects, moderate cars."""
    run, num_objects = slow_matching(frames, metric, MODERATE, 0.5, "Car")
    true, num_false = run(score)
    return len(true), num_false, num_objects


def slow_matching(frames, metric, difficulty, min_overlap, class_name):
    """Return a function of a threshold that matches, and the number of objects."""
    neighbour = {"Car": "Van", "Pedestrian": "Person_sitting"}.get(class_name)

    def overlap(a, b):
        if metric == "image":
            width = min(a.bbox2d[2], b.bbox2d[2]) - max(a.bbox2d[0], b.bbox2d[0])
            height = min(a.bbox2d[3], b.bbox2d[3]) - max(a.bbox2d[1], b.bbox2d[1])
            shared = max(width, 0) * max(height, 0)
            return shared / (area(a) + area(b) - shared)
        function = bev_iou if metric == "bev" else iou_3d
        return function(camera_boxes([a]), camera_boxes([b]))[0, 0]

    def area(a):
        return (a.bbox2d[2] - a.bbox2d[0]) * (a.bbox2d[3] - a.bbox2d[1])

    def share(a, b):
        width = min(a.bbox2d[2], b.bbox2d[2]) - max(a.bbox2d[0], b.bbox2d[0])
        height = min(a.bbox2d[3], b.bbox2d[3]) - max(a.bbox2d[1], b.bbox2d[1])
        return max(width, 0) * max(height, 0) / area(a) if metric == "image" else 0.0

    def height(a):
        return a.bbox2d[3] - a.bbox2d[1]

    def counts(label):
        return (
            label.type == class_name
            and label.occlusion <= difficulty.max_occlusion
            and label.truncation <= difficulty.max_truncation
            and height(label) > difficulty.min_height
        )

    def is_low(detection):
        return height(detection) < difficulty.min_height

    def run(threshold):
        """Return the true scores and the number of false positives; None: by score, all."""
        true, num_false = [], 0
        for frame in frames:
            free = [
                d
                for d in frame.detections
                if (d.type == class_name or is_low(d))
                and (threshold is None or d.score >= threshold)
            ]
            for label in frame.labels:
                if label.type not in (class_name, neighbour):
                    continue
                fitting = [d for d in free if overlap(d, label) > min_overlap]
                if threshold is None:
                    fitting.sort(key=lambda d: -d.score)
                else:
                    full = [d for d in fitting if not is_low(d)]
                    full.sort(key=lambda d: -overlap(d, label))
                    fitting = full or fitting
                if fitting:
                    free = [d for d in free if d is not fitting[0]]
                    if counts(label) and not is_low(fitting[0]):
                        true.append(fitting[0].score)
            regions = [label for label in frame.labels if label.type == "DontCare"]
            num_false += sum(
                not is_low(d) and all(share(d, r) <= min_overlap for r in regions) for d in free
            )
        return true, num_false

    return run, sum(counts(label) for frame in frames for label in frame.labels)


def slow_average_precision(frames, metric, difficulty, min_overlap, class_name="Car"):
    """R11 and R40 step by step, in plain Python over one frame at a time."""
    run, num_objects = slow_matching(frames, metric, difficulty, min_overlap, class_name)
    scores = sorted(run(None)[0], reverse=True)
    precision = []
    recall = 0.0
    for i, score in enumerate(scores):
        is_last = i == len(scores) - 1
        here, following = (i + 1) / num_objects, (i + 2) / num_objects
        if not is_last and following - recall < recall - here:
            continue
        true, num_false = run(score)
        precision.append(len(true) / (len(true) + num_false) if true else 0.0)
        recall += 1 / 40
    precision += [0.0] * (41 - len(precision))
    precision = [max(precision[i:]) for i in range(41)]
    return 100 * sum(precision[::4]) / 11, 100 * sum(precision[1:]) / 40


@ALL_METRICS
@pytest.mark.parametrize("level", ["easy", "moderate", "hard"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_a_slow_implementation(metric, level, seed):
    frames = random_frames(np.random.default_rng(seed), 40)
    difficulty = DIFFICULTIES[level]
    for min_overlap in (0.7, 0.5):
        score = evaluate(frames, metric, difficulty, min_overlap)
        r11, r40 = slow_average_precision(frames, metric, difficulty, min_overlap)
        assert 0.0 < r40 < 100.0
        assert score.ap_r11 == pytest.approx(r11, abs=1e-9)
        assert score.ap_r40 == pytest.approx(r40, abs=1e-9)


def test_exact_recall_agrees_with_r40_for_many_objects():
    frames = random_frames(np.random.default_rng(5), 1000)
    score = evaluate(frames, "bev", HARD)
    assert score.num_objects > 1000
    assert score.ap_exact == pytest.approx(score.ap_r40, abs=1.5)


class TestPrecisionRecall:
    def matched(self, frames, metric="bev"):
        return PrecisionEvaluator(frames).match("Car", metric, MODERATE, 0.5)

    def test_by_hand(self):
        frames = [
            EvaluationFrame([car(), car(1)], [found(car(), 0.9), found(car(3), 0.7)]),
            EvaluationFrame([car()], [found(car(), 0.7), found(car(2), 0.2)]),
        ]
        curve = self.matched(frames).precision_recall()
        assert curve.scores.tolist() == [0.9, 0.7, 0.2]
        assert curve.recall == pytest.approx([1 / 3, 2 / 3, 2 / 3])
        assert curve.precision == pytest.approx([1, 2 / 3, 1 / 2])
        assert curve.best_threshold() == 0.7

    @ALL_METRICS
    def test_against_a_slow_implementation(self, metric):
        frames = random_frames(np.random.default_rng(8), 12)
        curve = self.matched(frames, metric).precision_recall()
        assert len(curve.scores) > 10
        for score, recall, precision in zip(*curve, strict=True):
            true, num_false, num_objects = slow_counts(frames, metric, score)
            assert recall == pytest.approx(true / num_objects)
            assert precision == pytest.approx(true / (true + num_false))

    def test_the_curve_of_exact_recalls_has_the_mean_of_the_exact_ap(self):
        matched = self.matched(random_frames(np.random.default_rng(9), 40))
        curve = matched.precision_curve()
        assert curve.shape == (40,)
        assert (np.diff(curve) <= 0).all()
        assert 100 * curve.mean() == pytest.approx(matched.average_precision().ap_exact)

    def test_nothing_detected(self):
        curve = self.matched([EvaluationFrame([car()], [])]).precision_recall()
        assert len(curve.scores) == 0
        assert curve.best_threshold() == math.inf

    def test_no_object(self):
        matched = self.matched([EvaluationFrame([], [found(car(), 0.5)])])
        assert matched.precision_recall().recall.tolist() == [0.0]
        assert np.isnan(matched.precision_curve()).all()
