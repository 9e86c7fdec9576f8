# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's rows that run through ROS 2: once for real, and on made-up answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="these rows start the node")
pytest.importorskip("onnx", reason="the tiny bundle is written with it")

from tiny_bundle import write_tiny_bundle

from benchmarks.speed import ros_rows
from benchmarks.speed.listener import Answers
from benchmarks.speed.machine import cpu_seconds, rss_mb
from benchmarks.speed.ros_run import Played
from benchmarks.speed.rows import BenchmarkSettings, Row
from eloss_perception.errors import ElossError
from eloss_perception.replay.demo.record import STAGES


def played(
    num_sent: int, missing: int = 0, latency_ms: float = 40.0, rate_hz: float = 10.0
) -> Played:
    """A run in which the last scans got no answer."""
    period_ns = round(1e9 / rate_hz)
    stamps = [period_ns * i for i in range(num_sent - missing)]
    stages = {stamp: dict.fromkeys(STAGES, 3.0) for stamp in stamps}
    answers = Answers(dict.fromkeys(stamps, latency_ms), stages)
    return Played(num_sent, 0, 0.0, num_sent / rate_hz, answers, 1.0, 0.5)


def values_of(row: Row) -> dict[str, Any]:
    return {value.name: value.value for value in row.values}


@pytest.mark.parametrize(
    ("run", "met"),
    [(played(600), True), (played(600, 1), False), (played(600, 0, 120.0), False)],
)
def test_the_bar_end_to_end(run: Played, met: bool) -> None:
    row = ros_rows.end_to_end_row(run, BenchmarkSettings())
    assert row.met is met
    found = values_of(row)
    assert found["scans dropped"] == run.num_dropped
    assert found["rate of answers"] == pytest.approx(10.0)
    assert found["inference p50"] == 3.0


def test_what_ends_the_rise_of_the_rate() -> None:
    assert ros_rows.why_too_fast(played(1000, 9, rate_hz=50.0), 50.0) == ""
    dropped = ros_rows.why_too_fast(played(1000, 10, rate_hz=50.0), 50.0)
    assert dropped == "1.0% dropped at 50 Hz"
    slow = ros_rows.why_too_fast(played(400, rate_hz=40.0), 50.0)
    assert slow == "the player sent 40 scans a second when asked for 50"


def test_the_row_of_the_highest_rate() -> None:
    runs = {40.0: played(400, rate_hz=40.0), 20.0: played(200, rate_hz=20.0)}
    row = ros_rows.sustained_rate_row(runs, 40.0, "", "a backend")
    assert row.met is True and values_of(row)["20 Hz: dropped"] == 0.0
    nothing = ros_rows.sustained_rate_row(
        {20.0: played(200, 200)}, 0.0, "100.0% dropped at 20 Hz", "x"
    )
    assert nothing.met is False


def test_a_process_that_is_gone() -> None:
    assert rss_mb(os.getpid()) > 10.0 and cpu_seconds(os.getpid()) > 0.0
    gone = 2**22 + 1  # above the kernel's highest process id
    assert cpu_seconds(gone) == 0.0
    with pytest.raises(ElossError, match="has ended"):
        rss_mb(gone)


def test_end_to_end_through_dds(tmp_path: Path) -> None:
    settings = BenchmarkSettings(
        full_int8_bundle=write_tiny_bundle(tmp_path / "tiny"),
        int8_backend="onnxruntime_cpu",
        num_threads=1,
        drive_frames=3,
        seconds=1.0,
        output=tmp_path / "output",
    )
    told: list[str] = []
    row = ros_rows.measure_end_to_end(settings, told.append)
    found = values_of(row)
    assert found["scans sent"] >= 1
    # The machine may be busy, but answers come, and what came is complete.
    assert 1 <= found["scans answered"] <= found["scans sent"]
    assert found["stamp to result p50"] > 0.0
    assert found["total p50"] > 0.0 and found["node's share of a core"] > 0.0
    assert any("10 Hz" in text for text in told)
