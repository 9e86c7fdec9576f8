# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting and moving a health reference: known distributions come back, bad data is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from health_reference_factory import LAYERS, STAGES, make_reference

from eloss_perception.errors import DataError
from eloss_perception.health import fit as health_fit
from eloss_perception.health.fit import (
    MAX_THRESHOLD,
    MIN_THRESHOLD,
    Condition,
    ProfileReadings,
    alarm_threshold,
    fit_reference,
    move_reference,
    resolution_of,
)
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.readings import reading_names
from eloss_perception.health.reference import HealthReference

Array = npt.NDArray[np.float64]

NAMES = reading_names(LAYERS)
NUM_READINGS = len(NAMES)
STD = np.linspace(0.05, 0.3, NUM_READINGS)
MEAN = np.linspace(-2.0, 3.0, NUM_READINGS)
CORRELATION = 0.6 ** np.abs(np.subtract.outer(np.arange(NUM_READINGS), np.arange(NUM_READINGS)))
FOG = np.where(np.arange(NUM_READINGS) < 10, 2.0, 0.0)

# Readings that are resolved much finer than they vary.
USUAL = resolution_of(NAMES) < 0.1 * STD


def draw(num_frames: int, seed: int, scale: float = 1.0) -> Array:
    """Frames around MEAN, readings correlated with their neighbours."""
    rng = np.random.default_rng(seed)
    return MEAN + scale * STD * rng.multivariate_normal(
        np.zeros(NUM_READINGS), CORRELATION, num_frames
    )


def drives(num_drives: int = 300) -> ProfileReadings:
    """Streets that differ, frames of a street that hardly do; fog moves ten readings."""
    street = draw(num_drives, 1)
    frames = [street + draw(num_drives, seed, 0.1) - MEAN for seed in (2, 3, 4)]
    before, clean, foggy = frames
    corrupted: dict[Condition, Array] = {
        ("fog", 4): MEAN + STD * np.sinh(np.arcsinh((foggy - MEAN) / STD) + FOG),
        ("rain", 1): clean.copy(),
    }
    return ProfileReadings(before, clean, corrupted, {("fog", 4): 35.0, ("rain", 1): -0.7})


def fit(clean: Array, **changes: object) -> HealthReference:
    arguments: dict = {
        "varied": clean,
        "profiles": drives(),
        "layer_names": LAYERS,
        "stages": STAGES,
        "names": NAMES,
        "source": "drawn",
        "false_alarms_per_hour": 1.0,
    }
    reference = fit_reference(clean, **(arguments | changes))
    # These frames are of a sensor that is known: there is no gap to bridge.
    return replace(reference, gap=np.zeros_like(reference.gap))


@pytest.fixture(scope="module")
def reference() -> HealthReference:
    return fit(draw(1500, 0))


def test_mean_and_spread_come_back(reference: HealthReference) -> None:
    np.testing.assert_allclose((reference.mean - MEAN) / STD, 0.0, atol=0.1)
    expected = np.sqrt(STD**2 + resolution_of(NAMES) ** 2)
    np.testing.assert_allclose(reference.std, expected, rtol=0.08)
    assert reference.num_frames == 1500 and reference.source == "drawn"


def test_the_correlations_come_back(reference: HealthReference) -> None:
    scale = np.sqrt(np.diag(reference.covariance))
    found = reference.covariance / np.outer(scale, scale)
    # Less of them by the ridge.
    expected = (1.0 - health_fit._RIDGE) * CORRELATION + health_fit._RIDGE * np.eye(NUM_READINGS)
    difference = np.abs(found - expected)[np.ix_(USUAL, USUAL)]
    assert np.median(difference) < 0.03 and difference.max() < 0.15
    # Frames of one street differ by a tenth of what streets differ by.
    change = np.sqrt(np.diag(reference.change_covariance) / health_fit._CHANGE_SPREAD)
    assert 0.1 < np.median(change / scale) < 0.25


def test_profiles_are_mean_shifts_and_their_harm(reference: HealthReference) -> None:
    profiles = reference.profiles
    assert profiles.names == ("fog",) and profiles.severities == (4,)  # rain leaves no trace
    np.testing.assert_allclose(profiles.shifts[0][USUAL], FOG[USUAL], atol=0.1)
    np.testing.assert_array_equal(profiles.ap_loss, [35.0])


def test_a_disturbance_that_does_good_costs_nothing() -> None:
    found = drives()
    found.ap_loss[("fog", 4)] = -3.0  # type: ignore[index]
    np.testing.assert_array_equal(fit(draw(300, 0), profiles=found).profiles.ap_loss, [0.0])


def test_new_frames_are_told_apart(reference: HealthReference) -> None:
    clean = draw(400, 50)
    fog = MEAN + STD * np.sinh(np.arcsinh((draw(400, 51) - MEAN) / STD) + FOG)
    assert (HealthJudge(reference).score(clean) < reference.threshold).mean() > 0.97
    assert (HealthJudge(reference).score(fog) > reference.threshold).mean() > 0.9
    assert np.mean([c == "fog" for c in HealthJudge(reference).likely_causes(fog)]) > 0.9
    for limit in HealthJudge(reference).check_ratios(clean).T:
        assert (limit > 1).mean() < 0.05  # one in a hundred, where they were fitted


@pytest.mark.parametrize("per_hour", [1.0, 6.0, 60.0])
def test_the_threshold_is_exceeded_at_the_stated_rate(per_hour: float) -> None:
    """On streams of places of five seconds, each with a score of its own."""
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        seen = MIN_THRESHOLD + rng.exponential(3.0, 400)
        threshold = alarm_threshold(seen, per_hour)
        places = MIN_THRESHOLD + rng.exponential(3.0, 20 * 720)  # 20 hours
        ratios.append((places > threshold).sum() / 20 / per_hour)
    assert 0.5 < np.median(ratios) < 2.0


def test_quiet_scores_give_the_least_threshold() -> None:
    scores = np.random.default_rng(0).uniform(0, 0.5, 300)
    assert alarm_threshold(scores, 1.0) == MIN_THRESHOLD
    assert alarm_threshold(np.full(50, 0.3), 1.0) == MIN_THRESHOLD


def test_no_threshold_makes_the_alarm_deaf() -> None:
    scores = np.array([0.0] * 32 + [26.6, 26.6, 49.8])
    assert alarm_threshold(scores, 1.0) == MAX_THRESHOLD


def test_fewer_false_alarms_ask_for_a_higher_threshold() -> None:
    scores = MIN_THRESHOLD + np.random.default_rng(0).exponential(1.5, 400)
    rates = (0.1, 1.0, 10.0, 100.0)
    thresholds = [alarm_threshold(scores, rate) for rate in rates]
    assert thresholds == sorted(thresholds, reverse=True) and len(set(thresholds)) == 4


def move(old: HealthReference, clean: Array, frames_apart_s: float = 60.0) -> HealthReference:
    return move_reference(old, clean, "a car", 1.0, frames_apart_s)


def test_a_moved_reference_is_normal_elsewhere_and_keeps_its_profiles(
    reference: HealthReference,
) -> None:
    elsewhere = draw(30, 7) + 3.0 * STD
    assert np.median(HealthJudge(reference).score(elsewhere)) > 10
    moved = move(reference, elsewhere)
    np.testing.assert_array_equal(moved.mean, np.median(elsewhere, axis=0))
    assert np.median(HealthJudge(moved).score(draw(200, 8) + 3.0 * STD)) < 2
    assert moved.profiles is reference.profiles and moved.num_frames == 30
    np.testing.assert_array_equal(moved.std, reference.std)


def test_few_frames_leave_the_covariance_nearly_as_it_was(reference: HealthReference) -> None:
    frames = draw(100, 9, scale=2.0)
    middle = np.median(frames, axis=0)
    own = (np.arcsinh((frames - middle) / reference.std) ** 2).mean(axis=0)
    old = np.diag(reference.covariance)
    shares = [
        np.median((np.diag(move(reference, frames, apart).covariance) - old) / (own - old))
        for apart in (60.0, 0.5, 0.05)
    ]
    # Frames half a second apart count for a tenth of as many places.
    prior = health_fit._PRIOR_FRAMES
    expected = [count / (count + prior) for count in (100, 10, 1)]
    np.testing.assert_allclose(shares, expected, rtol=0.1)


def test_limits_and_threshold_never_fall_below_what_the_new_frames_reach(
    reference: HealthReference,
) -> None:
    wild = draw(60, 10, scale=4.0)
    moved = move(reference, wild)
    assert (HealthJudge(moved).score(wild) > moved.threshold).mean() < 0.05
    assert (HealthJudge(moved).check_ratios(wild) > 1).mean() < 0.05
    assert (moved.check_limits >= reference.check_limits).all()


def test_a_reference_that_is_moved_twice_names_its_origin_once(
    reference: HealthReference,
) -> None:
    twice = move(move(reference, draw(40, 11)), draw(40, 12))
    assert twice.source == "a car; profiles of disturbances from drawn"


def test_bad_frames_are_refused() -> None:
    old = make_reference()
    spoilt = np.tile(old.mean, (40, 1)) + np.random.default_rng(0).normal(size=(40, NUM_READINGS))
    spoilt[3, 5] = np.nan
    for clean, message in (
        (spoilt, "not finite"),
        (np.tile(old.mean, (40, 1)), "all the same"),
        (np.zeros((0, NUM_READINGS)), "no scans"),
    ):
        with pytest.raises(DataError, match=message):
            move(old, clean)
        with pytest.raises(DataError, match=message):
            fit(clean)


def test_what_is_alike_in_all_frames_is_told_no_finer_than_it_resolves() -> None:
    clean = draw(300, 13)
    constant = NAMES.index("ground.pitch")
    clean[:, constant] = 0.5
    found = fit(clean)
    assert found.std[constant] == pytest.approx(resolution_of(NAMES)[constant])
    assert math.isfinite(HealthJudge(found).score(clean[:1])[0])


def test_a_sensor_that_is_not_known_widens_what_is_clean_until_its_scans_are() -> None:
    clean = draw(1500, 0)
    other_units = draw(1500, 60) + STD * np.random.default_rng(61).normal(0, 2, (1500, 1))
    arguments = ("drawn", 1.0)
    shipped = fit_reference(clean, other_units, drives(), LAYERS, STAGES, NAMES, *arguments)
    known = replace(shipped, gap=np.zeros_like(shipped.gap))
    another = draw(400, 70) + 2.0 * STD
    assert (HealthJudge(shipped).score(another) < shipped.threshold).mean() > 0.95
    assert (HealthJudge(known).score(another) < known.threshold).mean() < 0.5
    moved = move_reference(shipped, another[:100], "another", 1.0, 60.0)
    assert not moved.gap.any()
    assert (HealthJudge(moved).score(another[100:]) < moved.threshold).mean() > 0.95
