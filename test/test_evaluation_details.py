# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distance bins, errors of boxes and what became of each frame."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation_factory import car, found, random_frames

from eloss_perception.evaluation import (
    DIFFICULTIES,
    DistanceBin,
    EvaluationFrame,
    PrecisionEvaluator,
)
from eloss_perception.evaluation.outcomes import box_errors, frame_outcomes

EASY = DIFFICULTIES["easy"]


def at(distance, **changes):
    return car(location=(0.0, 1.7, distance), **changes)


class TestDistanceBins:
    def score(self, frames, near, far, metric="bev"):
        evaluator = PrecisionEvaluator(frames)
        bins = DistanceBin(near, far)
        return evaluator.match("Car", metric, EASY, 0.5, bins)

    def test_only_objects_in_the_bin_count(self):
        frames = [EvaluationFrame([at(10.0), at(20.0), at(39.9), at(40.0)], [])]
        counts = [
            self.score(frames, *edges).average_precision().num_objects
            for edges in ((0, 20), (20, 40), (40, 70))
        ]
        assert counts == [1, 2, 1]

    def test_distance_is_on_the_ground_in_any_direction(self):
        aside = car(location=(30.0, 1.7, 40.0))
        frames = [EvaluationFrame([aside], [])]
        assert self.score(frames, 50.0, 51.0).average_precision().num_objects == 1

    def test_a_detection_of_an_object_elsewhere_is_not_false(self):
        frames = [
            EvaluationFrame([at(10.0), at(30.0)], [found(at(10.0), 0.5), found(at(30.0), 0.9)])
        ]
        for edges in ((0, 20), (20, 40)):
            curve = self.score(frames, *edges).precision_recall()
            assert curve.precision.tolist() == [1.0]
            assert curve.recall.tolist() == [1.0]

    def test_a_false_detection_counts_where_it_is(self):
        frames = [
            EvaluationFrame([at(10.0), at(30.0)], [found(at(10.0), 0.5), found(at(50.0), 0.9)])
        ]
        precision = self.score(frames, 0, 20).precision_recall().precision
        assert precision.tolist() == [1.0]
        assert self.score(frames, 20, 40).precision_recall().precision.tolist() == []
        assert self.score(frames, 40, 70).precision_recall().precision.tolist() == [0.0]

    def test_an_object_at_the_edge_may_be_found_from_the_other_side(self):
        frames = [EvaluationFrame([at(19.8)], [found(at(20.1), 0.5)])]
        assert self.score(frames, 0, 20).average_precision().max_recall == 100.0
        assert self.score(frames, 20, 40).precision_recall().precision.tolist() == []

    @pytest.mark.parametrize("metric", ["image", "bev", "3d"])
    def test_bins_share_out_all_objects_and_mistakes(self, metric):
        frames = random_frames(np.random.default_rng(1), 20)
        # 10 m between the places, so that bins cut between objects.
        bins = ((0, 25), (25, 40), (40, math.inf))
        parts = [self.score(frames, *edges, metric=metric) for edges in bins]
        whole = PrecisionEvaluator(frames).match("Car", metric, EASY, 0.5)
        assert sum(part.objects.sum() for part in parts) == whole.objects.sum()
        for name in ("true_changes", "false_changes"):
            total = sum(int(getattr(part, name).sum()) for part in parts)
            assert total == getattr(whole, name).sum() > 0


class TestBoxErrors:
    def errors(self, *pairs):
        frames = [EvaluationFrame([label], [result]) for label, result in pairs]
        return box_errors(PrecisionEvaluator(frames), "Car", EASY, 0.3)

    def test_each_parameter_has_its_sign_and_axis(self):
        # The camera's x is right, y down, z forward; a location is the middle of the bottom.
        label = car()
        result = found(
            car(
                location=(-0.1, 1.6, 20.3),
                dimensions=(1.7, 1.5, 4.4),
                rotation_y=-0.05,
            ),
            0.5,
        )
        errors = self.errors((label, result))
        assert errors.num_objects == 1
        assert errors.median == pytest.approx(
            {
                **{"x": 0.3, "y": 0.1, "z": 0.2, "length": 0.4, "width": -0.1, "height": 0.2},
                "yaw": 0.05,
            }
        )
        assert errors.mae["width"] == pytest.approx(0.1)
        assert errors.reversed_heading == 0.0

    def test_median_is_signed_and_mean_is_not(self):
        results = [found(car(location=(0.0, 1.7, 20.0 + d)), 0.5) for d in (-0.2, -0.2, 0.4)]
        errors = self.errors(*((car(), result) for result in results))
        assert errors.median["x"] == pytest.approx(-0.2)
        assert errors.mae["x"] == pytest.approx(0.8 / 3)

    def test_a_reversed_box_has_a_straight_axis(self):
        turned = found(car(rotation_y=math.pi - 0.02), 0.5)
        errors = self.errors((car(), turned), (car(), found(car(), 0.5)))
        assert errors.reversed_heading == 0.5
        assert errors.mae["yaw"] == pytest.approx(0.01)

    def test_only_found_objects_that_count(self):
        missed = (car(), found(car(4), 0.5))
        hidden = (car(occlusion=2), found(car(), 0.5))
        low = (car(), found(car(height=20.0), 0.5))
        errors = self.errors(missed, hidden, low)
        assert errors.num_objects == 0
        assert math.isnan(errors.median["x"])
        assert math.isnan(errors.reversed_heading)


class TestFrameOutcomes:
    def test_by_hand(self):
        van, hidden = car(2, type="Van"), car(3, occlusion=3)
        person = car(4, type="Pedestrian")
        frames = [
            EvaluationFrame(
                [car(), car(1), van, hidden, person],
                [
                    found(car(), 0.8),
                    found(car(5), 0.7),
                    found(
                        van,
                        0.9,
                    ),
                    found(hidden, 0.9),
                ],
            ),
            EvaluationFrame([car()], [found(car(), 0.6), found(car(5), 0.1)]),
        ]
        frames[0] = replace(
            frames[0],
            detections=[replace(item, type="Car") for item in frames[0].detections],
        )
        outcomes, thresholds = frame_outcomes(frames, ["Car", "Pedestrian"])
        # At 0.6 two of three cars are found with one false detection; at 0.1 with two.
        assert thresholds == {"Car": 0.6, "Pedestrian": math.inf}
        first, second = outcomes
        assert [item.score for item in first.found] == [0.8]
        assert [item.score for item in first.false] == [0.7]
        assert first.missed == [car(1), person]
        assert first.ignored == [hidden]
        assert first.num_errors == 3
        assert (len(second.found), second.num_errors) == (1, 0)

    def test_every_label_and_detection_has_one_place(self):
        frames = random_frames(np.random.default_rng(3), 25)
        outcomes, thresholds = frame_outcomes(frames, ["Car"], "hard")
        for frame, outcome in zip(frames, outcomes, strict=True):
            cars = sum(item.type == "Car" for item in frame.labels)
            assert len(outcome.found) + len(outcome.missed) + len(outcome.ignored) == cars
            shown = [*outcome.found, *outcome.false]
            assert len({id(item) for item in shown}) == len(shown)
            assert all(item.score >= thresholds["Car"] for item in shown)

    def test_no_frames(self):
        assert frame_outcomes([], ["Car"]) == ([], {"Car": math.inf})
