# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The health monitor: average over time, hysteresis, memory of recent frames, reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from health_reference_factory import clean_readings, disturbed_readings, make_reference
from pydantic import ValidationError

from eloss_perception.errors import ConfigError
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.monitor import HealthLevel, HealthMonitor, HealthReport, HealthSettings

REFERENCE = make_reference()
OK, WARN, ERROR = HealthLevel.OK, HealthLevel.WARN, HealthLevel.ERROR
Readings = npt.NDArray[np.float64]


def clean(monitor: HealthMonitor, num_frames: int, seed: int = 0) -> list[HealthReport]:
    return [monitor.update(clean_readings(REFERENCE, seed + i)) for i in range(num_frames)]


def disturbed(
    monitor: HealthMonitor, name: str, num_frames: int, seed: int = 100
) -> list[HealthReport]:
    return [
        monitor.update(disturbed_readings(REFERENCE, name, seed + i)) for i in range(num_frames)
    ]


def elsewhere(seed: int) -> Readings:
    """Clean frames of a street that differs from the mean by half a standard deviation."""
    return clean_readings(REFERENCE, seed) + 0.5 * REFERENCE.std


def test_the_level_follows_an_average_of_the_scores() -> None:
    monitor = HealthMonitor(REFERENCE, HealthSettings(smoothing=0.25))
    average = 0.0
    for report in [*clean(monitor, 3), *disturbed(monitor, "beam_missing", 3), *clean(monitor, 3)]:
        average += 0.25 * (report.score - average)
        assert report.smoothed_score == pytest.approx(average)
        assert report.threshold == REFERENCE.threshold


def test_a_frames_weight_is_bounded() -> None:
    monitor = HealthMonitor(REFERENCE)
    report = monitor.update(np.full(len(REFERENCE.mean), np.nan))
    assert report.score == 100.0
    assert report.smoothed_score == pytest.approx(0.4 * 36.0)


@pytest.mark.parametrize("threshold", [5.0, 12.0, 25.0])
def test_the_worst_is_an_error_whatever_the_threshold(threshold: float) -> None:
    monitor = HealthMonitor(replace(REFERENCE, threshold=threshold))
    reports = [monitor.update(np.full(len(REFERENCE.mean), np.nan)) for _ in range(10)]
    assert reports[-1].level == ERROR


def test_clean_frames_are_ok() -> None:
    reports = clean(HealthMonitor(REFERENCE), 30)
    assert {r.level for r in reports} == {OK}
    assert {r.reason for r in reports} == {"readings are normal"}
    assert {r.likely_cause for r in reports} == {""}


def test_a_severe_disturbance_is_an_error_in_two_frames_and_over_in_ten() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    levels = [r.level for r in disturbed(monitor, "fog", 10)]
    assert levels[0] >= WARN and set(levels[1:]) == {ERROR}
    after = [r.level for r in clean(monitor, 10, seed=50)]
    assert after[0] == ERROR and after[-1] == OK
    assert after == sorted(after, reverse=True)


def test_a_single_odd_frame_is_no_error() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    levels = [r.level for r in (*disturbed(monitor, "fog", 1), *clean(monitor, 10, seed=50))]
    assert ERROR not in levels and levels[-1] == OK


def test_a_harmless_disturbance_stays_quiet() -> None:
    reports = disturbed(HealthMonitor(REFERENCE), "rain", 20)
    assert {r.level for r in reports} == {OK}


def test_the_level_falls_below_part_of_the_limit_that_raised_it() -> None:
    # The score counts at once: smoothing 1. Thresholds around the score of a fixed frame.
    readings = [disturbed_readings(REFERENCE, "beam_missing", seed) for seed in range(3)]
    score = HealthJudge(REFERENCE).score(readings[0])[0]
    settings = HealthSettings(smoothing=1.0, error_ratio=100.0, recent_frames=0)
    for ratio, before, expected in (
        (0.9, OK, OK),
        (0.9, WARN, WARN),
        (0.75, WARN, OK),
        (1.1, OK, WARN),
    ):
        monitor = HealthMonitor(replace(REFERENCE, threshold=score / ratio), settings)
        monitor._level = before
        monitor._was_anomalous = True
        assert monitor.update(readings[0]).level == expected, ratio


def test_one_odd_frame_raises_no_level_and_the_second_does() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    reports = [monitor.update(disturbed_readings(REFERENCE, "beam_missing", k)) for k in range(2)]
    assert reports[0].score > 25 and reports[0].smoothed_score > REFERENCE.threshold
    assert [report.level for report in reports] == [OK, ERROR]


def test_a_scan_without_a_point_in_range_is_blind() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    readings = clean_readings(REFERENCE, 50)
    readings[REFERENCE.reading_names.index("counts.in_range")] = 0.0
    report = monitor.update(readings)
    assert report.level == WARN and report.likely_cause == "blind"
    assert report.reason.startswith("no point in range")


def test_a_repeated_scan_is_stale() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    readings = clean_readings(REFERENCE, 99)
    assert monitor.update(readings).level == OK
    reports = [monitor.update(readings.copy()) for _ in range(3)]
    assert {r.likely_cause for r in reports} == {"stale_scan"}
    assert all("the same scan again" in r.reason for r in reports)
    assert [r.level for r in reports][1:] == [ERROR, ERROR]


def test_half_of_the_last_turn_is_stale_too() -> None:
    monitor = HealthMonitor(REFERENCE)
    prints = np.arange(1, 17, dtype=np.uint64)
    other = prints + np.uint64(100)
    assert monitor.update(clean_readings(REFERENCE, 0), prints).likely_cause == ""
    mixed = np.where(np.arange(16) < 8, prints, other)
    report = monitor.update(clean_readings(REFERENCE, 1), mixed)
    assert report.likely_cause == "stale_scan" and report.score > 20
    assert monitor.update(clean_readings(REFERENCE, 2), prints + np.uint64(500)).score < 1


def test_the_onset_of_a_disturbance_stands_out_against_the_frames_before() -> None:
    # Hidden in the variety of streets, plain against the last second.
    wide = replace(REFERENCE, covariance=100.0 * np.eye(len(REFERENCE.mean)))
    onset = elsewhere(50) + np.sinh(REFERENCE.profiles.shifts[0]) * REFERENCE.std
    scores = {}
    for num_recent in (0, 10):
        monitor = HealthMonitor(wide, HealthSettings(recent_frames=num_recent))
        for seed in range(10):
            assert monitor.update(elsewhere(seed)).level == OK
        report = monitor.update(onset)
        scores[num_recent] = report.score
    assert scores[0] < wide.threshold < 30 < scores[10]
    assert report.likely_cause == "fog"


def test_memory_is_frozen_during_an_alarm_and_dropped_after_three_seconds() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    before = monitor._recent.mean()
    assert before is not None
    disturbed(monitor, "fog", 30)
    kept = monitor._recent.mean()
    assert kept is not None
    np.testing.assert_array_equal(kept, before)
    disturbed(monitor, "fog", 1, seed=300)
    assert monitor._recent.mean() is None


def test_reset_forgets_everything() -> None:
    monitor = HealthMonitor(REFERENCE, HealthSettings(follow_drift=True))
    first = [r.smoothed_score for r in clean(monitor, 8)]
    disturbed(monitor, "fog", 5)
    monitor.reset()
    again = clean(monitor, 8)
    assert [r.smoothed_score for r in again] == first
    assert again[0].level == OK


def test_the_reason_names_cause_harm_and_what_departs() -> None:
    monitor = HealthMonitor(REFERENCE)
    clean(monitor, 10)
    report = disturbed(monitor, "fog", 2)[-1]
    assert report.likely_cause == "fog"
    assert report.reason.startswith("like fog (4")
    assert "fewer far returns" in report.reason
    assert "layer entropy high" in report.reason


def test_recovery_says_why_the_level_is_still_up() -> None:
    monitor = HealthMonitor(REFERENCE)
    disturbed(monitor, "fog", 5)
    report = clean(monitor, 1)[0]
    assert report.level == ERROR and "normal again" in report.reason
    assert report.likely_cause == ""


def test_a_reading_that_is_not_finite_is_an_error_with_that_reason() -> None:
    monitor = HealthMonitor(REFERENCE)
    for value in (np.nan, np.inf, -np.inf):
        readings = clean_readings(REFERENCE, 1)
        readings[5] = value
        report = monitor.update(readings)
        assert report.score == 100.0 and "not finite" in report.reason
    assert report.level == ERROR
    assert clean(monitor, 1)[0].score < 1  # and no trace of it is left


def test_the_report_carries_the_profile_and_the_published_metric() -> None:
    readings = clean_readings(REFERENCE, 0)
    readings[:3] = 0.9, 0.7, 0.6
    report = HealthMonitor(make_reference(stages=(0, 0, 0))).update(readings)
    np.testing.assert_array_equal(report.layer_entropy, [0.9, 0.7, 0.6])
    np.testing.assert_allclose(report.entropy_change, [-0.2, -0.1])
    expected = np.var([-0.2, -0.1], ddof=1)
    assert report.eloss == pytest.approx(expected)
    assert report.eloss_ratio == pytest.approx(expected / 1e-3)
    assert len(report.layer_mean) == len(report.layer_std) == len(report.layer_names) == 3
    assert report.check_ratios.shape == (len(report.check_names),)
    # Entropies ten, five and five standard deviations out.
    squares = np.arcsinh([10.0, 5.0, 5.0]) ** 2
    index = report.check_names.index("entropy")
    assert report.check_ratios[index] == pytest.approx(np.sqrt(squares.mean()))


def test_readings_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        HealthMonitor(REFERENCE).update(np.zeros(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warn_ratio": 2.0, "error_ratio": 1.0}, "must not be below"),
        ({"smoothing": 0.0}, "greater than 0"),
        ({"recent_frames": -1}, "greater than or equal to 0"),
        ({"frames_to_raise": 3}, "Extra inputs"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HealthSettings(**changes)


def test_a_single_scan_settles_where_a_stream_of_such_scans_would() -> None:
    reference = make_reference()
    for name in ("fog", "rain"):
        stream = HealthMonitor(reference)
        for seed in range(30):
            last = stream.update(disturbed_readings(reference, name, seed, spread=0.01))
        alone = HealthMonitor(reference).settle(disturbed_readings(reference, name, 40, 0.01))
        assert alone.level == last.level
        assert alone.smoothed_score == pytest.approx(last.smoothed_score, rel=0.05)
