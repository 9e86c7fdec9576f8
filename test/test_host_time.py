# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the host's steps: both ways find the same, and what is written down."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rclpy")

from benchmarks.speed import host_path, host_rows

STEPS = {
    *("receive (deserialise)", "cloud to points", "points to pillars", "decode and NMS"),
    *("readings", "health score", "detections", "health", "markers", "gauge"),
}


def test_both_ways_find_the_same_and_every_step_is_timed() -> None:
    ours, naive = host_path.measure(num_scans=1, repeats=2, num_points=20_000)
    assert set(ours) == set(naive) == STEPS
    assert {len(values) for values in ours.values()} == {2}
    table = host_path.summarise(ours)
    assert set(table) == STEPS | {"answer", "markers and gauge", "total"}
    whole = np.sum(list(ours.values()), axis=0)
    assert table["total"]["p50_ms"] == pytest.approx(np.median(whole), abs=1e-3)


def test_what_differs_is_named() -> None:
    path = host_path.HostPath(host_path.default_bundle_path())
    wire = host_path.serialize_message(host_path.cloud_message(host_path.scan_of(5_000, 1)))
    noise = np.zeros(len(path.reference.mean))
    ours = path.frame(wire, path.learn(wire), noise, 0, host_path.Stopwatch())
    naive = path.naive_frame(wire, path.learn(wire), noise, 0, host_path.Stopwatch())
    assert host_path.disagreement(ours, naive) is None
    fewer = dataclasses.replace(naive.counts, num_pillars=1)
    assert "counts" in host_path.disagreement(ours, dataclasses.replace(naive, counts=fewer))
    other = dataclasses.replace(naive, readings=naive.readings + 1.0)
    assert "readings" in host_path.disagreement(ours, other)


def test_figures_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_path.os, "sched_setaffinity", lambda *_: None)
    figures = host_path.measure_host(num_scans=1, repeats=1)
    sums = {"answer", "markers and gauge", "total"}
    assert set(figures["ours"]) == set(figures["naive"]) == STEPS | sums
    assert all(row["p50_ms"] > 0.0 for row in figures["ours"].values())
    # Into buffers, not beside them.
    assert figures["bytes"]["points to pillars"] < 20_000
    assert host_rows.host_time_row(figures).met is not None


def test_the_sample_is_all_that_grows_with_the_points() -> None:
    few, many = (host_path.bytes_of_a_frame(count, 1) for count in (5_000, 9_000))
    few.pop("receive (deserialise)")
    assert all(many[step] - taken < 16 * 4000 for step, taken in few.items())
