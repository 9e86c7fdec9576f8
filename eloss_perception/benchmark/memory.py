# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Resident memory of the node's process while scans come at 10 Hz."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from eloss_perception.benchmark.bundles import light_bundle, node_backend
from eloss_perception.benchmark.processes import pid_of, rss_mb
from eloss_perception.benchmark.ros_run import RosRun
from eloss_perception.benchmark.row import Benchmark, NotMeasuredError, Progress, Row, Value
from eloss_perception.benchmark.settings import BenchmarkSettings

_BAR_MB = 600.0
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
        pid = pid_of(run.start_node(light_bundle(settings), backend, {}))
        run.start_player(settings.rate_hz)
        run.wait_for_answer()
        start = time.monotonic()
        while (elapsed_s := time.monotonic() - start) < seconds:
            run.listener.spin(_PERIOD_S)
            samples.append(rss_mb(pid))
            times.append(elapsed_s)
            progress(f"{samples[-1]:.0f} MB after {elapsed_s:.0f} of {seconds:.0f} s")
        num_answers = len(run.listener.answers.latency_ms)
    if num_answers < settings.rate_hz * seconds / 2:
        raise NotMeasuredError(f"only {num_answers} answers in {seconds:.0f} s")
    return row_of(times, samples, num_answers, backend)


def row_of(times: Sequence[float], samples: Sequence[float], num_answers: int, backend: str) -> Row:
    """The row of a series of readings [s, MB]."""
    settled = int(_SETTLE_SHARE * len(samples))
    time_min, memory = np.array(times[settled:]) / 60.0, np.array(samples[settled:])
    quarter = max(1, len(memory) // 4)
    growth = float(np.median(memory[-quarter:]) - np.median(memory[:quarter]))
    slope = float(np.polyfit(time_min, memory, 1)[0]) if len(memory) > 2 else 0.0
    highest = float(max(samples))
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
        note="" if times[-1] >= 590.0 else "shorter than the ten minutes that the bar asks for",
    )


BENCHMARK = Benchmark(
    what="memory of the node",
    against="-",
    bar=f"< {_BAR_MB:g} MB, no growth in 10 min",
    measure=measure,
)
