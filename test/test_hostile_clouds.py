# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Thousands of hostile clouds: nothing escapes, the counts add up, the node lives."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy")

from cloud_factory import hostile_cloud, random_points, xyzi_cloud
from node_harness import Harness, cloud_msg, wait_for

NUM_IN_PROCESS = 10_000
NUM_THROUGH_DDS = 200


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


def test_ten_thousand_clouds_through_the_path_of_a_scan(harness: Harness) -> None:
    # The pictures of every answer would take most of the time; the test through DDS has them.
    harness.node.settings = harness.node.settings.model_copy(
        update={"publish_markers": False, "publish_gauge": False}
    )
    rng = np.random.default_rng(2026)
    for _ in range(NUM_IN_PROCESS):
        harness.node.process(hostile_cloud_msg(rng))
    status = harness.node.status
    assert status.num_answered + status.num_malformed == NUM_IN_PROCESS
    # Both kinds are there in numbers, or the clouds would not be worth throwing.
    assert min(status.num_answered, status.num_malformed) > NUM_IN_PROCESS // 5
    assert harness.node.worker_failure is None
    answers_a_good_scan(harness)


def test_ten_thousand_clouds_through_the_callback(harness: Harness) -> None:
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
