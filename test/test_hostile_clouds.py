# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Thousands of hostile clouds: nothing escapes, the counts add up, the node lives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("onnx")

from cloud_factory import hostile_cloud, random_points, xyzi_cloud
from node_harness import Harness, cloud_msg, wait_for
from tiny_bundle import write_tiny_bundle

from benchmarks.hostile_clouds import Report, Target, kind_of, throw_all
from eloss_perception.runtime.bundle import default_bundle_path

# Indices are checked in `.ci/run`, where these tests run a second time and everything takes longer.
NUM_REAL = 5_000 if numba.config.BOUNDSCHECK else 20_000
NUM_SHIPPED = 100
NUM_IN_PROCESS = 3_000
NUM_THROUGH_DDS = 200
MAX_GROWTH_MB = 40.0


def test_twenty_thousand_clouds_through_the_real_detector_monitor_and_messages(
    tmp_path: Path,
) -> None:
    with Target(write_tiny_bundle(tmp_path)) as target:
        report = throw_all(target, 2026, 0, NUM_REAL)
        assert target.node.worker_failure is None
    assert report.is_accounted_for and report.num_sent == NUM_REAL
    # Both kinds are there in numbers, or the clouds would not be worth throwing.
    assert report.num_answered > NUM_REAL // 3 and report.dropped.total() > NUM_REAL // 10
    assert len(report.dropped) > 10 and "" not in report.dropped
    assert all(reason.isprintable() for reason in report.dropped)
    assert report.rss_mb[-1] - report.rss_mb[0] < MAX_GROWTH_MB


def test_hundreds_of_clouds_through_a_network_that_is_shipped() -> None:
    with Target(default_bundle_path()) as target:
        report = throw_all(target, 7, 0, NUM_SHIPPED)
    assert report.is_accounted_for and report.num_answered > NUM_SHIPPED // 3


def test_a_cloud_can_be_thrown_again(tmp_path: Path) -> None:
    with Target(write_tiny_bundle(tmp_path)) as target:
        apart = [throw_all(target, 3, first, 10) for first in (0, 10)]
        together = throw_all(target, 3, 0, 20)
    assert together.num_answered == sum(report.num_answered for report in apart)
    assert together.dropped == apart[0].dropped + apart[1].dropped


def test_a_reason_is_counted_whatever_the_names_and_numbers() -> None:
    assert kind_of("field 'a\\'b' has count 3, must be 1") == kind_of(
        "field 'c'... (90 characters) has count -7, must be 1"
    )
    assert not Report(num_sent=1).is_accounted_for


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness(stale_timeout=60.0)
    made.start()
    yield made
    made.close()


def counts(harness: Harness) -> tuple[int, int]:
    """Received, and what became of them."""
    status = harness.node.status
    done = status.num_answered + status.num_replaced + status.num_malformed + status.num_failed
    return status.num_received, done


def test_thousands_of_clouds_through_the_callback(harness: Harness) -> None:
    rng = np.random.default_rng(7)
    for _ in range(NUM_IN_PROCESS):
        harness.node.receive(hostile_cloud_msg(rng))
    assert wait_for(lambda: counts(harness) == (NUM_IN_PROCESS, NUM_IN_PROCESS))
    assert harness.node.worker_failure is None
    answers_a_good_scan(harness)


def test_two_hundred_clouds_through_dds(harness: Harness) -> None:
    rng = np.random.default_rng(1)
    for sent in range(1, NUM_THROUGH_DDS + 1):
        harness.publisher.publish(hostile_cloud_msg(rng))
        # Best effort, depth 1: only one that is on its way alone is sure to arrive.
        assert wait_for(lambda n=sent: counts(harness) == (n, n)), counts(harness)
    status = harness.node.status
    num_health = len(harness.received["output/entropy_health"])
    assert wait_for(lambda: len(harness.received["output/entropy_health"]) == NUM_THROUGH_DDS), (
        num_health
    )
    assert wait_for(lambda: len(harness.received["output/detections"]) == status.num_answered)
    assert min(status.num_answered, status.num_malformed) > NUM_THROUGH_DDS // 5
    answers_a_good_scan(harness)


def hostile_cloud_msg(rng: np.random.Generator):  # type: ignore[no-untyped-def]
    return cloud_msg(hostile_cloud(rng))


def answers_a_good_scan(harness: Harness) -> None:
    time.sleep(0.05)
    before = harness.node.status.num_answered
    harness.publish(xyzi_cloud(random_points(500)))
    assert wait_for(lambda: harness.node.status.num_answered == before + 1)
