# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_factory import car, found, random_frames
from hypothesis import given
from hypothesis import strategies as st

from eloss_perception.evaluation import (
    DIFFICULTIES,
    EvaluationFrame,
    PrecisionEvaluator,
)
from eloss_perception.evaluation.average_precision import ap_intervals, draw_counts, draw_indices


def match(frames, difficulty="hard"):
    return PrecisionEvaluator(frames).match("Car", "bev", DIFFICULTIES[difficulty], 0.5)


def drawn(*arguments: int) -> np.ndarray:
    return draw_counts(draw_indices(*arguments))


class TestDrawFrames:
    @given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
    def test_every_resample_has_as_many_frames(self, num_frames, block_length, seed):
        draws = drawn(num_frames, 5, block_length, seed)
        assert draws.shape == (5, num_frames)
        assert (draws.sum(axis=1) == num_frames).all()

    def test_the_seed_decides(self):
        assert (drawn(20, 10, 1, 3) == drawn(20, 10, 1, 3)).all()
        assert (drawn(20, 10, 1, 3) != drawn(20, 10, 1, 4)).any()

    def test_each_frame_is_drawn_as_often(self):
        for block_length in (1, 5):
            means = drawn(20, 4000, block_length, 0).mean(axis=0)
            assert means == pytest.approx(1.0, abs=0.1)

    def test_a_block_keeps_neighbours_together(self):
        draws = drawn(30, 2000, 10, 0)
        near = np.corrcoef(draws[:, 7], draws[:, 8])[0, 1]
        far = np.corrcoef(draws[:, 7], draws[:, 22])[0, 1]
        assert near > 0.8 > 0.0 > far

    def test_no_frames(self):
        assert drawn(0, 3, 1, 0).shape == (3, 0)


class TestIntervals:
    def test_weights_equal_repeated_frames(self):
        rng = np.random.default_rng(2)
        frames = random_frames(rng, 30)
        matched = match(frames)
        for weights in drawn(30, 10, 1, 7):
            repeated = [frame for frame, n in zip(frames, weights, strict=True) for _ in range(n)]
            assert matched.average_precision(weights) == match(repeated).average_precision()

    def test_equal_frames_leave_nothing_uncertain(self):
        frame = EvaluationFrame([car(), car(1)], [found(car(), 0.5)])
        intervals = ap_intervals(match([frame] * 60), drawn(60, 20, 1, 0), 0.95)
        low, high = intervals["ap_exact"]
        assert low == high == pytest.approx(50.0)

    def test_holds_the_score_and_grows_with_confidence(self):
        matched = match(random_frames(np.random.default_rng(4), 60))
        draws = drawn(60, 200, 1, 0)
        wide, narrow = (ap_intervals(matched, draws, c)["ap_r40"] for c in (0.95, 0.5))
        score = matched.average_precision().ap_r40
        assert wide.low < narrow.low < score < narrow.high < wide.high

    def test_covers_the_truth_as_often_as_it_says(self):
        # Every object is found with probability 0.6 and nothing is false: AP is the recall.
        rng = np.random.default_rng(0)
        covered = 0
        for trial in range(40):
            hits = rng.random(80) < 0.6
            frames = [
                EvaluationFrame([car()], [found(car(), float(rng.random()))] if hit else [])
                for hit in hits
            ]
            intervals = ap_intervals(match(frames), drawn(80, 60, 1, trial), 0.9)
            low, high = intervals["ap_exact"]
            covered += low <= 60.0 <= high
        assert 0.75 <= covered / 40 <= 1.0

    def test_no_objects(self):
        low, high = ap_intervals(match([EvaluationFrame([], [])]), drawn(1, 5, 1, 0), 0.9)["ap_r40"]
        assert math.isnan(low)
        assert math.isnan(high)
