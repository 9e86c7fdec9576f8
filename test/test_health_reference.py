# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The health reference: posterior, harm and distance with known answers; wrong shapes refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from health_reference_factory import KNOWN, clean_readings, disturbed_readings, make_reference

from eloss_perception.errors import ConfigError
from eloss_perception.health import judge as module
from eloss_perception.health.judge import UNKNOWN_AP_LOSS, HealthJudge
from eloss_perception.health.reference import CLEAN, UNKNOWN, HealthReference, Profiles
from eloss_perception.health.reference_file import without_readings

REFERENCE = make_reference()
JUDGE = HealthJudge(REFERENCE)
NUM_READINGS = len(REFERENCE.mean)
# What a frame may score for being unusual alone.
SLACK = module._MAX_UNUSUAL + module._MAX_DISTANT


def correlated(seed: int = 0) -> HealthReference:
    """The same with covariances of no special form."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 0.4, (2, NUM_READINGS, NUM_READINGS)) / np.sqrt(NUM_READINGS)
    covariances = [f @ f.T + 0.3 * np.eye(NUM_READINGS) for f in factors]
    return make_reference(covariance=covariances[0], change_covariance=covariances[1])


def far_from_everything(reference: HealthReference) -> npt.NDArray[np.float64]:
    """A frame in a direction that no profile points to."""
    shift = np.where((reference.profiles.shifts == 0).all(axis=0), 5.0, 0.0)
    return reference.mean + np.sinh(shift) * reference.std


def slow_posterior(
    reference: HealthReference, deviations: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Of one frame: tempered Gaussian densities, each with an inverse of its own."""

    def log_density(center: npt.NDArray[np.float64], variance: float) -> float:
        covariance = reference.covariance * variance
        difference = deviations - center
        log_det = np.linalg.slogdet(covariance)[1]
        return float(-0.5 * (difference @ np.linalg.solve(covariance, difference) + log_det))

    shifts = reference.profiles.shifts
    logs = [module._TEMPER * log_density(np.zeros(NUM_READINGS), 1.0)]
    for shift in shifts:
        prior = np.log(module._PRIOR_ODDS / len(shifts))
        square = shift @ np.linalg.solve(reference.covariance, shift) / NUM_READINGS
        variance = 1.0 + module._SPREAD_PER_SHIFT * square
        logs.append(module._TEMPER * log_density(shift, variance) + prior)
    unknown = log_density(np.zeros(NUM_READINGS), module._UNKNOWN_SPREAD**2)
    logs.append(module._TEMPER * unknown + np.log(module._PRIOR_ODDS))
    weights = np.exp(np.array(logs) - max(logs))
    return np.asarray(weights / weights.sum())


def test_the_posterior_is_that_of_tempered_gaussians() -> None:
    reference = correlated()
    rng = np.random.default_rng(1)
    mixes = rng.uniform(0.0, 1.1, (20, 1)) * reference.profiles.shifts[rng.integers(0, 3, 20)]
    deviations = mixes + rng.normal(0, 0.5, (20, NUM_READINGS))
    readings = reference.mean + np.sinh(deviations) * reference.std
    found = HealthJudge(reference).judge(readings).probabilities
    expected = [slow_posterior(reference, row) for row in deviations]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found.max(axis=1) < 0.99).any()  # the frames are not all plain


def test_clean_frames_score_next_to_nothing() -> None:
    for reference in (REFERENCE, correlated()):
        assert HealthJudge(reference).score(reference.mean)[0] < 0.6
        judgement = HealthJudge(reference).judge(reference.mean[None])
        assert judgement.distance[0] == pytest.approx(0.0, abs=1e-9)
        assert judgement.probabilities[0, 0] > 0.9


@pytest.mark.parametrize("name", KNOWN)
def test_a_frame_at_a_profile_scores_its_harm_and_has_its_name(name: str) -> None:
    readings = disturbed_readings(REFERENCE, name, spread=0.0)
    harm = KNOWN[name][1]
    assert harm - 0.5 < JUDGE.score(readings)[0] < harm + SLACK + 0.5
    assert JUDGE.likely_causes(readings[None]) == [name]


def test_a_frame_far_from_everything_is_unknown_and_scores_so() -> None:
    readings = far_from_everything(REFERENCE)
    assert UNKNOWN_AP_LOSS < JUDGE.score(readings)[0] < UNKNOWN_AP_LOSS + SLACK + 1e-6
    assert JUDGE.likely_causes(readings[None]) == [UNKNOWN]


def test_between_clean_and_a_profile_the_score_rises() -> None:
    shift = REFERENCE.profiles.shifts[0]
    steps = np.linspace(0, 1, 9)[:, None] * shift
    scores = JUDGE.score(REFERENCE.mean + np.sinh(steps) * REFERENCE.std)
    assert (np.diff(scores) > -1e-9).all() and scores[0] < 1 < 35 < scores[-1]


def test_more_profiles_do_not_make_a_disturbance_likelier_beforehand() -> None:
    half_way = REFERENCE.mean + np.sinh(0.5 * REFERENCE.profiles.shifts[0]) * REFERENCE.std
    twice = Profiles(
        names=REFERENCE.profiles.names * 2,
        severities=REFERENCE.profiles.severities * 2,
        shifts=np.tile(REFERENCE.profiles.shifts, (2, 1)),
        ap_loss=np.tile(REFERENCE.profiles.ap_loss, 2),
    )
    doubled = replace(REFERENCE, profiles=twice)
    assert HealthJudge(doubled).score(half_way)[0] == pytest.approx(JUDGE.score(half_way)[0])
    # A cause's profiles are added up.
    judges = (HealthJudge(doubled), JUDGE)
    found, expected = (judge.causes(judge.judge(half_way[None])) for judge in judges)
    assert list(found) == list(expected) == [CLEAN, *KNOWN, UNKNOWN]
    for name, probability in expected.items():
        np.testing.assert_allclose(found[name], probability)


def test_without_profiles_there_is_still_the_unknown() -> None:
    reference = make_reference(known={})
    assert HealthJudge(reference).score(reference.mean)[0] < 0.6
    far = reference.mean + np.sinh(6.0) * reference.std
    assert HealthJudge(reference).likely_causes(np.stack([reference.mean, far])) == [CLEAN, UNKNOWN]


def test_what_is_not_finite_scores_infinity() -> None:
    rows = np.stack([clean_readings(REFERENCE, seed) for seed in range(4)])
    rows[1, 3], rows[2, 0] = np.nan, -np.inf
    scores = JUDGE.score(rows)
    assert np.isinf(scores[[1, 2]]).all() and (scores[[0, 3]] < 1).all()


def test_each_frame_is_judged_by_itself() -> None:
    rows = np.stack([disturbed_readings(REFERENCE, name, 1) for name in KNOWN])
    alone = [JUDGE.judge(row[None]).score[0] for row in rows]
    np.testing.assert_array_equal(JUDGE.judge(rows).score, alone)


def test_a_change_is_judged_around_the_frames_before() -> None:
    elsewhere = REFERENCE.mean + 2.0 * REFERENCE.std  # another street
    fog = elsewhere + np.sinh(REFERENCE.profiles.shifts[0]) * REFERENCE.std
    assert JUDGE.judge_change(elsewhere[None], elsewhere).score[0] < 0.6
    assert JUDGE.judge_change(fog[None], elsewhere).score[0] > 39
    assert JUDGE.judge(elsewhere[None]).distance[0] > 1


def test_deviations_are_linear_near_and_logarithmic_far_out() -> None:
    for sigmas, squashed in ((0.1, 0.1), (-0.1, -0.1), (1000.0, np.log(2000.0))):
        found = REFERENCE.deviations(REFERENCE.mean + sigmas * REFERENCE.std)
        np.testing.assert_allclose(found, squashed, rtol=2e-3)


def test_check_ratios_are_rms_deviations_over_their_limits() -> None:
    limits = np.linspace(0.5, 2.0, len(REFERENCE.checks))
    reference = replace(REFERENCE, check_limits=limits)
    deviations = np.random.default_rng(0).normal(0, 1, (3, NUM_READINGS))
    ratios = HealthJudge(reference).check_ratios(
        reference.mean + np.sinh(deviations) * reference.std
    )
    for index, check in enumerate(reference.checks):
        members = [n.startswith(f"{check}.") for n in reference.reading_names]
        rms = np.sqrt((deviations[:, members] ** 2).mean(axis=1))
        np.testing.assert_allclose(ratios[:, index], rms / limits[index])
    assert HealthJudge(reference).check_ratios(reference.mean).shape == (len(reference.checks),)


def test_a_reading_that_is_not_finite_departs_in_its_own_check_only() -> None:
    for value in (np.nan, np.inf, -np.inf):
        readings = REFERENCE.mean.copy()
        readings[REFERENCE.reading_names.index("ground.pitch")] = value
        ratios = dict(zip(REFERENCE.checks, JUDGE.check_ratios(readings), strict=True))
        assert 100 < ratios.pop("ground") < np.inf
        assert max(ratios.values()) == 0.0


def test_the_layers_bands_are_their_readings() -> None:
    np.testing.assert_array_equal(REFERENCE.layer_mean, [0.7, 0.6, 0.5])
    np.testing.assert_array_equal(REFERENCE.layer_std, [0.02] * 3)


def profiles(**changes: object) -> Profiles:
    return replace(REFERENCE.profiles, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": (0, 0)},
        {"mean": np.zeros(4)},
        {"std": np.zeros(NUM_READINGS)},
        {"std": np.ones(4)},
        {"mean": np.full(NUM_READINGS, np.nan)},
        {"covariance": np.eye(4)},
        {"covariance": -np.eye(NUM_READINGS)},
        {"change_covariance": np.zeros((NUM_READINGS, NUM_READINGS))},
        {"check_limits": np.ones(3)},
        {"check_limits": np.zeros(len(REFERENCE.checks))},
        {"threshold": 0.0},
        {"eloss_normal": -1.0},
        {"profiles": profiles(shifts=np.zeros((3, 4)))},
        {"profiles": profiles(shifts=np.full((3, NUM_READINGS), np.inf))},
        {"profiles": profiles(ap_loss=np.zeros(2))},
        {"profiles": profiles(ap_loss=np.array([1.0, -1.0, 0.0]))},
        {"profiles": profiles(severities=(1, 2))},
    ],
)
def test_an_impossible_reference_is_refused(changes: dict) -> None:
    with pytest.raises(ConfigError, match="health reference"):
        HealthJudge(make_reference(**changes))


def test_a_reading_is_left_out_as_if_it_had_been_normal() -> None:
    reference = make_reference()
    dropped = reference.reading_names[-1]
    fewer = without_readings(reference, [dropped, "never.read"])
    assert fewer.reading_names == reference.reading_names[:-1]
    readings = clean_readings(reference, spread=2.0)
    readings[-1] = reference.mean[-1]
    np.testing.assert_allclose(
        HealthJudge(fewer).check_ratios(readings[:-1]),
        HealthJudge(reference).check_ratios(readings),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        HealthJudge(fewer).judge(readings[None, :-1]).distance,
        HealthJudge(reference).judge(readings[None]).distance,
    )
    assert without_readings(reference, ["never.read"]) is reference
