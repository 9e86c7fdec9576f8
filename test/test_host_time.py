# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the host's steps: both ways find the same, and what is written down."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from plain import host_time

STEPS = {
    *("receive (deserialise)", "cloud to points", "points to pillars", "decode and NMS"),
    *("readings", "health score", "detections", "health", "markers", "gauge"),
}


def test_both_ways_find_the_same_and_every_step_is_timed() -> None:
    ours, plain = host_time.measure(num_scans=1, repeats=2, num_points=20_000)
    assert set(ours) == set(plain) == STEPS
    assert {len(values) for values in ours.values()} == {2}
    table = host_time.summarise(ours)
    assert set(table) == STEPS | {"answer", "pictures", "total"}
    whole = np.sum(list(ours.values()), axis=0)
    assert table["total"]["p50_ms"] == pytest.approx(np.median(whole), abs=1e-3)


def test_what_differs_is_named() -> None:
    path = host_time.HostPath(host_time.default_bundle_path())
    wire = host_time.serialize_message(host_time.cloud_message(host_time.scan_of(5_000, 1)))
    noise = np.zeros(len(path.reference.mean))
    ours = path.frame(wire, path.learn(wire), noise, 0, host_time.Stopwatch())
    plain = path.plain_frame(wire, path.learn(wire), noise, 0, host_time.Stopwatch())
    assert host_time.disagreement(ours, plain) is None
    fewer = dataclasses.replace(plain.counts, num_pillars=1)
    assert "counts" in host_time.disagreement(ours, dataclasses.replace(plain, counts=fewer))
    other = dataclasses.replace(plain, readings=plain.readings + 1.0)
    assert "readings" in host_time.disagreement(ours, other)


def test_a_scan_has_as_many_points_as_asked_for() -> None:
    for count in (1_000, 130_000):
        assert host_time.scan_of(count, 3).shape == (count, 4)


def test_figures_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figures.json"
    monkeypatch.setattr(host_time.os, "sched_setaffinity", lambda *_: None)
    arguments = ["host_time.py", "--scans", "1", "--repeats", "1", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", arguments)
    host_time.main()
    figures = json.loads(path.read_text())
    assert set(figures["ours"]) == set(figures["plain"]) == STEPS | {"answer", "pictures", "total"}
    assert all(row["p50_ms"] > 0.0 for row in figures["ours"].values())
    # Into buffers, not beside them.
    assert figures["bytes"]["points to pillars"] < 20_000


def test_the_sample_is_all_that_grows_with_the_points() -> None:
    few, many = (host_time.bytes_of_a_frame(count, 1) for count in (5_000, 9_000))
    few.pop("receive (deserialise)")
    assert all(many[step] - taken < 16 * 4000 for step, taken in few.items())
