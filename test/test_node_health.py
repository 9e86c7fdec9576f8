# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Delay and recovery of the level in the live node, through DDS, with a detector that replays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy")

from cloud_factory import random_points, xyzi_cloud
from node_harness import Harness, wait_for

from eloss_perception.health.monitor import HealthLevel
from eloss_perception.msg import EntropyHealth

OK, WARN, ERROR = HealthLevel.OK, HealthLevel.WARN, HealthLevel.ERROR


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness(stale_timeout=30.0)
    made.start()
    yield made
    made.close()


def play(
    harness: Harness, num_frames: int, disturbance: str = "", *, repeat: bool = False
) -> list[EntropyHealth]:
    """Sends scans one after the other; returns what the node said of them."""
    harness.detector.disturbance = disturbance
    said = harness.received["output/entropy_health"]
    first = len(said)
    for index in range(first, first + num_frames):
        seed = first - 1 if repeat else index
        harness.publish(xyzi_cloud(random_points(100, seed)), stamp_ns=index)
        assert wait_for(lambda count=index + 1: len(said) == count)
    return list(said[first:])


def levels(messages: list[EntropyHealth]) -> list[int]:
    return [message.level[0] for message in messages]


@pytest.mark.parametrize("disturbance", ["fog", "beam_missing"])
def test_a_severe_fault_is_an_error_within_three_frames_and_over_within_ten(
    harness: Harness, disturbance: str
) -> None:
    assert set(levels(play(harness, 12))) == {OK}
    faulty = play(harness, 6, disturbance)
    assert levels(faulty)[1] >= WARN
    assert set(levels(faulty)[2:]) == {ERROR}
    assert {message.likely_cause for message in faulty} == {disturbance}
    after = play(harness, 10)
    assert OK in levels(after)
    assert levels(after) == sorted(levels(after), reverse=True)  # no way back up
    assert all(message.likely_cause == "" for message in after)
    # The reason says why the level is still up, while it is.
    for message in after:
        still_up = "readings are normal again" in message.reason
        assert still_up == (message.level != EntropyHealth.OK)


def test_what_costs_nothing_stays_quiet(harness: Harness) -> None:
    play(harness, 8)
    harmless = play(harness, 12, "rain")
    assert set(levels(harmless)) == {OK}
    # It is seen all the same: its check departs.
    checks = dict(zip(harmless[-1].check_names, harmless[-1].check_ratio, strict=True))
    assert checks["intensity"] > 1.0


def test_a_repeated_scan_is_an_error_and_a_new_one_ends_it(harness: Harness) -> None:
    play(harness, 8)
    repeated = play(harness, 4, repeat=True)
    assert set(levels(repeated)[2:]) == {ERROR}
    assert repeated[-1].likely_cause == "stale_scan"
    assert "the same scan again" in repeated[-1].reason
    assert OK in levels(play(harness, 10))


def test_the_smoothed_score_is_what_the_level_follows(harness: Harness) -> None:
    messages = [*play(harness, 6), *play(harness, 4, "fog"), *play(harness, 10)]
    smoothed = 0.0
    for message in messages:
        smoothed += 0.4 * (min(message.score, 36.0) - smoothed)
        assert message.smoothed_score == pytest.approx(smoothed, rel=1e-4)
    rising = next(m for m in messages if m.level != EntropyHealth.OK)
    assert rising.smoothed_score >= rising.threshold
    assert np.all(np.isfinite([message.score for message in messages]))
