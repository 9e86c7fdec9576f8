# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The health monitor: scores with known answers, hysteresis, reasons."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from eloss_perception.core.health import (
    HealthLevel,
    HealthMonitor,
    HealthReference,
    HealthSettings,
    make_readings,
)
from eloss_perception.errors import ConfigError

POINTS, PILLARS = 20_000, 5_000
NORMAL = np.array([0.8, 0.7, 0.6])
SPREAD = 0.02


def make_reference(**changes: object) -> HealthReference:
    fields: dict = {
        "layer_names": ("stage1.conv1", "stage1.conv2", "stage1.conv3"),
        "stages": (0, 0, 0),
        "mean": make_readings(NORMAL, POINTS, PILLARS),
        "covariance": np.diag([SPREAD**2] * 3 + [0.1**2] * 2),
        "threshold": 2.0,
        "eloss_normal": 1e-3,
        "num_frames": 100,
        "source": "a test",
    }
    return HealthReference(**(fields | changes))


def levels(monitor: HealthMonitor, deviations: list[float]) -> list[HealthLevel]:
    return [
        monitor.update(NORMAL + np.array([d * SPREAD, 0, 0]), POINTS, PILLARS).level
        for d in deviations
    ]


def test_the_mean_scores_zero_and_a_deviation_scores_its_whitened_length() -> None:
    monitor = HealthMonitor(make_reference())
    assert monitor.update(NORMAL, POINTS, PILLARS).score == pytest.approx(0.0, abs=1e-9)
    report = monitor.update(NORMAL + np.array([3 * SPREAD, 0, -4 * SPREAD]), POINTS, PILLARS)
    assert report.score == pytest.approx(5.0 / np.sqrt(5))


def test_correlated_readings_are_whitened() -> None:
    covariance = np.diag([SPREAD**2] * 3 + [0.1**2] * 2)
    covariance[0, 1] = covariance[1, 0] = 0.9 * SPREAD**2
    reference = make_reference(covariance=covariance)
    together = make_readings(NORMAL + np.array([SPREAD, SPREAD, 0]), POINTS, PILLARS)
    apart = make_readings(NORMAL + np.array([SPREAD, -SPREAD, 0]), POINTS, PILLARS)
    assert reference.score(together) == pytest.approx(np.sqrt(2 / 1.9 / 5))
    assert reference.score(apart) == pytest.approx(np.sqrt(2 / 0.1 / 5))


def test_one_odd_frame_does_not_move_the_level() -> None:
    monitor = HealthMonitor(make_reference())
    assert set(levels(monitor, [0, 50, 0, 50, 50, 0])) == {HealthLevel.OK}


def test_the_level_rises_and_falls_after_the_stated_number_of_frames() -> None:
    settings = HealthSettings(frames_to_raise=3, frames_to_clear=4)
    monitor = HealthMonitor(make_reference(), settings)
    assert levels(monitor, [50] * 3) == [0, 0, HealthLevel.ERROR]
    assert levels(monitor, [0] * 4) == [HealthLevel.ERROR] * 3 + [HealthLevel.OK]


def test_a_run_of_mixed_severity_moves_as_far_as_all_of_it_agrees() -> None:
    warn = 1.2 * 2.0 * np.sqrt(5)  # deviation that scores 1.2 times the threshold
    monitor = HealthMonitor(make_reference(), HealthSettings(frames_to_raise=3, frames_to_clear=2))
    assert levels(monitor, [50, warn, 50])[-1] == HealthLevel.WARN
    assert levels(monitor, [50, 50, 50])[-1] == HealthLevel.ERROR
    assert levels(monitor, [0, warn])[-1] == HealthLevel.WARN
    assert levels(monitor, [0, 0])[-1] == HealthLevel.OK


def test_the_reason_names_what_departs_and_how() -> None:
    monitor = HealthMonitor(make_reference())
    report = monitor.update(NORMAL - np.array([0, 20 * SPREAD, 0]), POINTS // 8, PILLARS)
    assert "stage1.conv2 low" in report.reason and "log_points low" in report.reason
    assert "conv1" not in report.reason
    assert monitor.update(NORMAL, POINTS, PILLARS).reason == "readings are normal"


def test_recovery_says_why_the_level_is_still_up() -> None:
    monitor = HealthMonitor(make_reference())
    levels(monitor, [50] * 5)
    assert "normal again" in monitor.update(NORMAL, POINTS, PILLARS).reason


def test_a_reading_that_is_not_finite_scores_infinity() -> None:
    monitor = HealthMonitor(make_reference())
    report = monitor.update(NORMAL * np.nan, POINTS, PILLARS)
    assert report.score == np.inf and "not finite" in report.reason


def test_reset_forgets() -> None:
    monitor = HealthMonitor(make_reference())
    levels(monitor, [50] * 5)
    monitor.reset()
    assert levels(monitor, [0]) == [HealthLevel.OK]


def test_the_published_metric_is_reported_with_its_ratio() -> None:
    report = HealthMonitor(make_reference()).update(np.array([0.9, 0.7, 0.6]), POINTS, PILLARS)
    expected = np.var([-0.2, -0.1], ddof=1)
    assert report.eloss == pytest.approx(expected)
    assert report.eloss_ratio == pytest.approx(expected / 1e-3)
    np.testing.assert_allclose(report.entropy_change, [-0.2, -0.1])


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": np.zeros(4)},
        {"covariance": np.eye(4)},
        {"covariance": -np.eye(5)},
        {"threshold": 0.0},
        {"stages": (0, 0)},
        {"mean": np.full(5, np.nan)},
    ],
)
def test_an_impossible_reference_is_refused(changes: dict) -> None:
    with pytest.raises(ConfigError):
        make_reference(**changes)


def test_a_profile_of_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 layers"):
        HealthMonitor(make_reference()).update(np.zeros(5), POINTS, PILLARS)


def test_settings_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="must not be below"):
        HealthSettings(warn_ratio=2.0, error_ratio=1.0)
