# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Following slow drift: by default not at all, within bounds, and never across an alarm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from health_reference_factory import clean_readings, disturbed_readings, make_reference

from eloss_perception.health.monitor import HealthLevel, HealthMonitor, HealthSettings

REFERENCE = make_reference()


def drifted(seed: int, sigmas: float) -> npt.NDArray[np.float64]:
    return clean_readings(REFERENCE, seed) + sigmas * REFERENCE.std


def score_of(monitor: HealthMonitor, readings: npt.NDArray[np.float64]) -> float:
    """The score that the monitor gives, compared with its normal values alone."""
    return monitor.update(readings).score


def follow(num_frames: int, sigmas: float, **settings: float) -> HealthMonitor:
    """A monitor that has seen so many frames so far from normal."""
    monitor = HealthMonitor(REFERENCE, HealthSettings(recent_frames=0, **settings))  # type: ignore[arg-type]
    for seed in range(num_frames):
        assert monitor.update(drifted(seed, sigmas)).level == HealthLevel.OK
    return monitor


def test_normal_values_stay_where_they_are_by_default() -> None:
    probe = drifted(9999, 0.4)
    expected = score_of(HealthMonitor(REFERENCE, HealthSettings(recent_frames=0)), probe)
    assert score_of(follow(800, 0.4), probe) == expected


def test_normal_values_follow_half_of_the_way_in_two_minutes() -> None:
    monitor = follow(1200, 0.4, follow_drift=True)  # at 10 Hz
    np.testing.assert_allclose(monitor._drift.offset / REFERENCE.std, 0.2, atol=0.03)
    probe = drifted(9999, 0.4)
    assert score_of(monitor, probe) < score_of(follow(1, 0.4), probe)


def test_they_follow_no_further_than_stated() -> None:
    monitor = follow(1500, 0.4, follow_drift=True, max_drift=0.1)
    np.testing.assert_allclose(monitor._drift.offset, 0.1 * REFERENCE.std)


@pytest.mark.parametrize("disturbance", ["fog", "beam_missing"])
def test_they_stand_still_from_the_first_odd_frame_until_the_level_is_ok_again(
    disturbance: str,
) -> None:
    monitor = follow(200, 0.4, follow_drift=True)
    before = monitor._drift.offset.copy()
    for seed in range(500):
        monitor.update(disturbed_readings(REFERENCE, disturbance, seed))
        assert np.array_equal(monitor._drift.offset, before)
    # Frames that look clean do not count while the alarm lasts.
    seed = 1000
    while monitor.update(drifted(seed, 0.4)).level != HealthLevel.OK:
        assert np.array_equal(monitor._drift.offset, before)
        seed += 1
    assert seed > 1002
    monitor.update(drifted(5000, 0.4))
    assert not np.array_equal(monitor._drift.offset, before)


def test_a_reset_forgets_the_drift() -> None:
    monitor = follow(300, 0.4, follow_drift=True)
    monitor.reset()
    assert not monitor._drift.offset.any()
