# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What stamps tell: the sensor's rate, the scans that were lost, how long an answer takes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eloss_perception.ros.status import AnswerPeriod, Arrivals, LostScans


def lost(stamps_s: np.ndarray) -> LostScans:
    arrivals = Arrivals()
    for stamp in stamps_s:
        arrivals.add(round(1e9 * stamp))
    return arrivals.lost()


@pytest.mark.parametrize("rate_hz", [1.0, 5.0, 10.0, 20.0])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.29, 0.5])
@pytest.mark.parametrize("jitter", [0.0, 0.03])
def test_rate_and_loss_are_found_whatever_the_jitter(
    rate_hz: float, share: float, jitter: float
) -> None:
    rng = np.random.default_rng(4)
    stamps = (np.arange(400) + jitter * rng.standard_normal(400)) / rate_hz + 1.7e9
    found = lost(stamps[rng.random(400) >= share])
    assert found.sensor_rate_hz == pytest.approx(rate_hz, rel=0.05)
    assert found.share == pytest.approx(share, abs=0.12)  # of 64 scans
    assert (found.share == 0.0) == (share == 0.0)


def test_stamps_that_tell_nothing() -> None:
    for stamps in ([], [1.0] * 20, [0.0] * 20, np.arange(8) / 10, np.arange(20, 0, -1.0)):
        assert math.isnan(lost(np.asarray(stamps)).share)
    jump = np.concatenate([np.arange(20) / 10, -5e8 + np.arange(20) / 5])
    assert lost(jump).sensor_rate_hz == pytest.approx(5.0)
    pause = np.concatenate([np.arange(20) / 10, 1e6 + np.arange(20) / 10])
    assert lost(pause).share == 0.0


def test_any_stamp_is_taken() -> None:
    arrivals, period = Arrivals(), AnswerPeriod()
    for sec in (-(2**31), 2**31 - 1, 0, -1, 5):
        for nanosec in (0, 2**32 - 1):
            arrivals.add(sec * 10**9 + nanosec)
            assert math.isfinite(period.add(1.0, sec * 10**9 + nanosec))
    arrivals.lost()


def test_the_period_of_answers_is_the_longest_of_late_in_either_time() -> None:
    period = AnswerPeriod()
    assert period.add(10.0, 0) == 0.0
    assert period.add(10.1, 100_000_000) == 0.0  # may have been a pause
    assert period.add(10.2, 500_000_000) == pytest.approx(0.4)  # a bag at four times its speed
    assert period.add(10.9, 500_000_000) == pytest.approx(0.7)
    for index in range(5):
        last = period.add(11.0 + 0.1 * index, 0)
    assert last == pytest.approx(0.1)
