# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a monitor remembers: recent frames while they are recent, drift within its bounds."""

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.health.recent_frames import RecentFrames, SlowDrift


def test_the_mean_is_that_of_the_last_frames_once_there_are_five() -> None:
    recent = RecentFrames(6)
    for value in range(4):
        recent.add(np.full(3, float(value)))
        assert recent.mean() is None
    for value in range(4, 10):
        recent.add(np.full(3, float(value)))
        assert recent.mean() is not None
    np.testing.assert_array_equal(recent.mean(), np.full(3, np.mean(range(4, 10))))


@pytest.mark.parametrize("num_frames", [5, 7, 40])
def test_the_mean_is_that_of_a_list_of_the_last_frames_bit_for_bit(num_frames: int) -> None:
    recent = RecentFrames(num_frames)
    kept: list[np.ndarray] = []
    for index, readings in enumerate(np.random.default_rng(0).normal(size=(300, 4))):
        if index == 150:
            kept.clear()
            for _ in range(31):
                recent.age()
        recent.add(readings)
        kept = [*kept, readings][-num_frames:]
        if len(kept) >= 5:
            np.testing.assert_array_equal(recent.mean(), np.mean(kept, axis=0))
        else:
            assert recent.mean() is None


def test_frames_without_a_clean_one_age_the_memory() -> None:
    recent = RecentFrames(10)
    for _ in range(5):
        recent.add(np.ones(2))
    for _ in range(30):
        recent.age()
    assert recent.mean() is not None
    recent.add(np.ones(2))  # young again
    for _ in range(30):
        recent.age()
    assert recent.mean() is not None
    recent.age()
    assert recent.mean() is None


def test_no_frames_are_kept_where_none_are_wanted() -> None:
    recent = RecentFrames(0)
    for _ in range(20):
        recent.add(np.ones(2))
    assert recent.mean() is None


def test_drift_goes_half_of_the_way_in_two_minutes_and_stops_at_its_bound() -> None:
    drift = SlowDrift(np.array([1.0, 2.0, 1.0]), max_drift=0.5)
    for _ in range(1200):
        drift.add(np.array([0.1, -0.1, 5.0]))
    np.testing.assert_allclose(drift.offset[:2], [0.05, -0.05], rtol=0.05)
    assert drift.offset[2] == 0.5
    for _ in range(20_000):
        drift.add(np.array([0.0, -9.0, 0.0]))
    np.testing.assert_allclose(drift.offset, [0.0, -1.0, 0.0], atol=1e-4)


def test_no_drift_where_none_is_allowed() -> None:
    drift = SlowDrift(np.ones(2), max_drift=0.0)
    drift.add(np.ones(2))
    np.testing.assert_array_equal(drift.offset, 0.0)
