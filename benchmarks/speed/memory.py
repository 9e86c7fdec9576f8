# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Resident memory of the node's process while scans come at 10 Hz."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.speed.bundles import light_bundle, node_backend
from benchmarks.speed.processes import rss_mb
from benchmarks.speed.ros_run import RosRun
from benchmarks.speed.row import Benchmark, Progress, Row, Value
from benchmarks.speed.settings import BenchmarkSettings

_BAR_MB = 600.0
_BAR_S = 590.0  # ten minutes, the last reading and the start left out
# A node that answers fewer scans has less to hold.
_ANSWERED_SHARE = 0.9
# What the middle of the last quarter may lie above that of the first: pages come and go.
_GROWTH_MB = 3.0
_PERIOD_S = 0.5
# Pools of DDS, rclpy and the allocator fill in the first moments.
_SETTLE_SHARE = 0.1


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Watches the node for some minutes."""
    backend, samples, times = node_backend(settings), [], []
    seconds = 60.0 * settings.minutes
    with RosRun(settings, "memory", progress) as run:
        progress("starting the detector node")
        pid = run.start_node(light_bundle(settings), backend, {}).pid
        run.start_player(settings.rate_hz)
        run.wait_for_answer()
        start = time.monotonic()
        while (elapsed_s := time.monotonic() - start) < seconds:
            run.listener.spin(_PERIOD_S)
            samples.append(rss_mb(pid))
            times.append(elapsed_s)
            progress(f"{samples[-1]:.0f} MB after {elapsed_s:.0f} of {seconds:.0f} s")
        num_answers = len(run.listener.answers.latency_ms)
    return row_of(times, samples, num_answers, settings.rate_hz, backend)


def row_of(
    times: Sequence[float], samples: Sequence[float], num_answers: int, rate_hz: float, backend: str
) -> Row:
    """The row of a series of readings [s, MB]."""
    settled = int(_SETTLE_SHARE * len(samples))
    time_min, memory = np.array(times[settled:]) / 60.0, np.array(samples[settled:])
    quarter = max(1, len(memory) // 4)
    growth = float(np.median(memory[-quarter:]) - np.median(memory[:quarter]))
    slope = float(np.polyfit(time_min, memory, 1)[0]) if len(memory) > 2 else 0.0
    highest = float(max(samples))
    notes = []
    if times[-1] < _BAR_S:
        notes.append("shorter than the ten minutes that the bar asks for")
    if num_answers < _ANSWERED_SHARE * rate_hz * times[-1]:
        notes.append(f"only {num_answers / times[-1]:.1f} of {rate_hz:g} scans a second answered")
    return Row(
        measured=f"at most {highest:.0f} MB, {growth:+.1f} MB in {times[-1] / 60:.1f} min",
        values=(
            Value("highest", round(highest, 1), "MB"),
            Value("first quarter, median", round(float(np.median(memory[:quarter])), 1), "MB"),
            Value("last quarter, median", round(float(np.median(memory[-quarter:])), 1), "MB"),
            Value("growth from first to last quarter", round(growth, 2), "MB"),
            Value("slope", round(slope, 3), "MB/min"),
            Value("watched", round(times[-1] / 60.0, 2), "min"),
            Value("scans answered", num_answers),
            Value("backend", backend),
        ),
        met=highest < _BAR_MB and growth <= _GROWTH_MB,
        note="; ".join(notes),
    )


BENCHMARK = Benchmark(
    what="memory of the node",
    against="-",
    bar=f"< {_BAR_MB:g} MB, no growth in 10 min",
    measure=measure,
)
