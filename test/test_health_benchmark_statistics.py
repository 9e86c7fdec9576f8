# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rank statistics and intervals of the health benchmark, against hand and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eloss_perception.evaluation.average_precision import draw_counts
from eloss_perception.evaluation.health.comparison import paired_difference
from eloss_perception.evaluation.health.sequences import poisson_limit
from eloss_perception.evaluation.health.statistics import (
    Normal,
    auroc,
    auroc_resamples,
    average_ranks,
    draw_blocks,
    estimate,
    fpr_at_tpr,
    fpr_resamples,
    share_interval,
    spearman,
)

# Few distinct values, so that ties are common.
scores = st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, math.inf]), min_size=1, max_size=12)


def test_auroc_by_hand() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0
    assert auroc(np.array([1.0, 3.0]), np.array([2.0, 3.0])) == pytest.approx(2.5 / 4)
    assert auroc(np.array([5.0]), np.array([5.0])) == 0.5
    assert math.isnan(auroc(np.zeros(0), np.ones(3)))


@given(scores, scores)
@settings(max_examples=60, deadline=None)
def test_auroc_counts_pairs(clean: list[float], corrupted: list[float]) -> None:
    pairs = [(b > a) + 0.5 * (b == a) for a in clean for b in corrupted]
    assert auroc(np.array(clean), np.array(corrupted)) == pytest.approx(np.mean(pairs))


def test_fpr_at_tpr_by_hand() -> None:
    corrupted = np.arange(20.0)  # 19 of 20 are at least 1.
    assert fpr_at_tpr(np.array([0.5, 1.0, 7.0, 0.0]), corrupted) == 0.5
    assert fpr_at_tpr(np.array([2.0, 2.0]), np.array([2.0])) == 1.0
    assert fpr_at_tpr(np.array([1.0]), np.array([2.0, 3.0])) == 0.0
    assert math.isnan(fpr_at_tpr(np.zeros(0), np.ones(3)))


@given(scores, scores)
@settings(max_examples=60, deadline=None)
def test_fpr_is_the_least_of_all_thresholds_that_catch_enough(
    clean: list[float], corrupted: list[float]
) -> None:
    rates = [
        np.mean(np.array(clean) >= threshold)
        for threshold in corrupted
        if np.mean(np.array(corrupted) >= threshold) >= 0.95 - 1e-9
    ]
    assert fpr_at_tpr(np.array(clean), np.array(corrupted)) == min(rates)


def test_ranks_and_spearman_by_hand() -> None:
    assert average_ranks(np.array([10.0, 20.0, 20.0, 5.0])).tolist() == [2.0, 3.5, 3.5, 1.0]
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(rising, np.exp(rising)) == pytest.approx(1.0)
    assert spearman(rising, -(rising**3)) == pytest.approx(-1.0)
    # 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15)
    assert spearman(rising, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    assert math.isnan(spearman(rising, np.ones(4)))
    assert math.isnan(spearman(rising[:2], rising[:2]))


def test_resamples_are_the_statistics_of_the_drawn_frames() -> None:
    rng = np.random.default_rng(3)
    clean, corrupted = rng.integers(0, 9, (2, 17)).astype(float)
    draws = draw_blocks(17, 12, 1, seed=1)
    areas = auroc_resamples(clean, corrupted, draw_counts(draws))
    rates = fpr_resamples(clean, corrupted, draws)
    for row, area, rate in zip(draws, areas, rates, strict=True):
        assert area == pytest.approx(auroc(clean[row], corrupted[row]))
        assert rate == fpr_at_tpr(clean[row], corrupted[row])


def test_blocks_are_consecutive_and_wrap_around() -> None:
    draws = draw_blocks(10, 50, 4, seed=0)
    assert draws.shape == (50, 10)
    assert ((draws >= 0) & (draws < 10)).all()
    assert ((np.diff(draws, axis=1) % 10 == 1) | (np.arange(1, 10) % 4 == 0)).all()
    assert np.array_equal(draws, draw_blocks(10, 50, 4, seed=0))
    assert not np.array_equal(draws, draw_blocks(10, 50, 4, seed=1))
    assert (draw_counts(draws).sum(axis=1) == 10).all()


def test_an_interval_holds_the_middle_share() -> None:
    value = estimate(5.0, np.append(np.arange(101.0), np.nan), confidence=0.9)
    assert value == pytest.approx((5.0, 5.0, 95.0))
    assert math.isnan(estimate(1.0, np.full(3, np.nan), 0.9).low)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    truth, hits = 0.76025, 0  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    for number in range(60):
        clean = rng.normal(size=40)
        corrupted = rng.normal(size=40) + 1.0
        counts = draw_counts(draw_blocks(40, 200, 1, seed=number))
        _, low, high = estimate(0.0, auroc_resamples(clean, corrupted, counts), 0.9)
        hits += low <= truth <= high
    assert 0.78 <= hits / 60 <= 0.99


def test_pairing_takes_out_what_frames_have_in_common() -> None:
    rng = np.random.default_rng(1)
    clean, corrupted = rng.normal(size=50), rng.normal(size=50) + 1.0
    draws = draw_blocks(50, 300, 1, seed=0)
    same = paired_difference([(clean, corrupted)], [(clean, corrupted)], draws, 0.95)
    assert same == (0.0, 0.0, 0.0)
    worse = corrupted - 0.8
    gap = paired_difference([(clean, corrupted)], [(clean, worse)], draws, 0.95)
    assert gap.value == pytest.approx(auroc(clean, corrupted) - auroc(clean, worse))
    assert 0.0 < gap.low < gap.value < gap.high


def test_shares_and_rare_events_by_the_book() -> None:
    share = share_interval(0, 20)
    assert (share.value, share.low) == (0.0, 0.0)
    assert share.high == pytest.approx(0.1611, abs=1e-3)  # Wilson: z² / (n + z²)
    assert share_interval(10, 20).low == pytest.approx(0.2993, abs=1e-3)
    # Upper 95 % limits of a Poisson mean, as tables have them.
    assert poisson_limit(0) == pytest.approx(2.996, abs=1e-3)
    assert poisson_limit(1) == pytest.approx(4.744, abs=1e-3)
    assert poisson_limit(5) == pytest.approx(10.513, abs=1e-3)


def test_distance_is_the_deviation_in_standard_deviations() -> None:
    rng = np.random.default_rng(2)
    spread = rng.normal(5.0, 2.0, (500, 1))
    normal = Normal.fit(spread, centre=np.array([[1.0], [3.0]]))
    std = spread.std(ddof=1)
    assert normal.distance(np.array([[2.0], [2.0 + 3 * std], [2.0 - 3 * std]])) == pytest.approx(
        [0.0, 3.0, 3.0], abs=1e-6
    )
    assert normal.distance(np.array([[np.nan]]))[0] == np.inf


def test_distance_allows_for_what_goes_together() -> None:
    rng = np.random.default_rng(4)
    first = rng.normal(size=2000)
    both = np.stack([first, first + 0.3 * rng.normal(size=2000)], axis=1)
    along, across = Normal.fit(both).distance(np.array([[1.0, 1.0], [1.0, -1.0]]))
    assert across > 4 * along


def test_a_constant_feature_and_few_frames_are_no_division_by_zero() -> None:
    rng = np.random.default_rng(5)
    few = np.column_stack([rng.normal(size=(6, 9)), np.full(6, 7.0)])
    distance = Normal.fit(few).distance(few)
    assert np.isfinite(distance).all()
    moved = few.copy()
    moved[:, -1] += 0.1
    assert (Normal.fit(few).distance(moved) > 1e3).all()
    assert np.isfinite(Normal.fit(np.zeros((4, 3))).whitening).all()
