# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rows that run through ROS 2: a player publishes full sweeps, the detector node answers.

`end_to_end` and `sustained_rate` note when the boxes of each scan arrive; the latency holds two
passages through DDS. `start` is the time from the node's process start to its first boxes while a
sensor already publishes, with warm caches and once with empty ones, when numba compiles everything.
`memory` is the resident memory of the node's process at the sensor's rate.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.speed.machine import cpu_seconds, rss_mb
from benchmarks.speed.ros_run import Played, RosRun
from benchmarks.speed.rows import (
    Benchmark,
    BenchmarkSettings,
    Progress,
    Row,
    Value,
    existing_bundle,
    light_bundle,
    milliseconds,
    node_backend,
)

_BUDGET_MS = 100.0
_BAR_HZ = 30.0
_DROPPED_SHARE = 0.01
# A player that sends a twentieth less than it was asked for is not at that rate any more.
_PLAYER_SHARE = 0.95
# One hiccup of the machine must not end the rise.
_NUM_ATTEMPTS = 2
_START_BAR_S = 3.0
_PLAYER_START_S = 3.0
_BAR_MB = 600.0
_WATCHED_S = 590.0  # ten minutes, the last reading and the start left out
# A node that answers fewer scans has less to hold.
_ANSWERED_SHARE = 0.9
# What the middle of the last quarter may lie above that of the first: pages come and go.
_GROWTH_MB = 3.0
_PERIOD_S = 0.5
# Pools of DDS, rclpy and the allocator fill in the first moments.
_SETTLE_SHARE = 0.1


def measure_end_to_end(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Plays for a minute and looks at every scan."""
    bundle = existing_bundle(settings.full_int8_bundle, "full bundle quantised for CPUs")
    with RosRun(settings, "end_to_end", progress) as run:
        progress("starting the detector node")
        node = run.start_node(bundle, settings.int8_backend, {})
        played = run.play(node, settings.rate_hz, settings.seconds)
    return end_to_end_row(played, settings)


def end_to_end_row(played: Played, settings: BenchmarkSettings) -> Row:
    """The row of a run."""
    values = played.latency_values()
    p99 = next(value.value for value in values if value.name == "stamp to result p99")
    p99_ms = float(p99)
    note = ""
    if played.num_late:
        note = (
            f"the player sent {played.num_late} scans late, by up to {played.worst_delay_ms:.0f} ms"
        )
    return Row(
        measured=(
            f"{played.num_answered} of {played.num_sent} answered at {played.rate_hz:.1f} Hz,"
            f" p99 {p99_ms:.0f} ms"
        ),
        values=(
            Value("scans sent", played.num_sent),
            Value("scans answered", played.num_answered),
            Value("scans dropped", played.num_dropped),
            Value("rate of answers", round(played.rate_hz, 2), "Hz"),
            *values,
            *played.share_values(),
            Value("scans sent late", played.num_late),
            Value("backend", settings.int8_backend),
        ),
        met=played.num_dropped == 0 and p99_ms < _BUDGET_MS,
        note=note,
    )


def measure_sustained_rate(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Raises the rate until it is too high."""
    runs: dict[float, Played] = {}
    best, limit = 0.0, ""
    with RosRun(settings, "sustained_rate", progress) as run:
        progress("starting the detector node")
        backend = node_backend(settings)
        node = run.start_node(light_bundle(settings), backend, {})
        run.play(node, settings.rate_hz, 1.0)  # past its first frames

        def try_rate(rate_hz: float) -> str:
            nonlocal best
            reason = ""
            for _ in range(_NUM_ATTEMPTS):
                runs[rate_hz] = played = run.play(node, rate_hz, settings.rate_seconds)
                reason = why_too_fast(played, rate_hz)
                if not reason:
                    best = max(best, rate_hz)
                    break
            return reason

        for rate_hz in settings.rates_hz:
            limit = try_rate(rate_hz)
            if limit:
                try_rate((best + rate_hz) / 2)
                break
    return sustained_rate_row(runs, best, limit, backend)


def why_too_fast(played: Played, rate_hz: float) -> str:
    """Returns what gave way at a rate; nothing where all kept up."""
    sent_hz = played.num_sent / max(played.duration_s, 1e-9)
    if sent_hz < _PLAYER_SHARE * rate_hz:
        return f"the player sent {sent_hz:.0f} scans a second when asked for {rate_hz:g}"
    if played.dropped_share >= _DROPPED_SHARE:
        return f"{played.dropped_share:.1%} dropped at {rate_hz:g} Hz"
    return ""


def sustained_rate_row(runs: dict[float, Played], best: float, limit: str, backend: str) -> Row:
    """The row of all the rates tried."""
    values = [Value("highest rate kept", best, "Hz"), Value("backend", backend)]
    for rate_hz, played in sorted(runs.items()):
        figures = [
            Value("scans sent", played.num_sent),
            Value("sent late", played.num_late),
            Value("dropped", round(100 * played.dropped_share, 2), "%"),
            *played.share_values(),
        ]
        if played.num_answered:
            latency = np.median(list(played.answers.latency_ms.values()))
            totals = [stage["total"] for stage in played.answers.stage_ms.values()]
            figures += [
                milliseconds("stamp to result p50", latency),
                milliseconds("node in all p50", np.median(totals)),
            ]
        values += [replace(value, name=f"{rate_hz:g} Hz: {value.name}") for value in figures]
    return Row(
        measured=f"{best:g} Hz" + (f"; then {limit}" if limit else "; no higher rate tried"),
        values=tuple(values),
        met=best >= _BAR_HZ,
    )


def measure_start(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Starts the node several times with warm caches and once with cold ones."""
    backend = node_backend(settings)
    with tempfile.TemporaryDirectory(prefix="eloss_cold_") as folder:
        # Not the page cache: emptying that needs root. Numba's and the engines'.
        empty = {
            name: str(Path(folder) / name.lower()) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
        }
        with RosRun(settings, "start", progress) as run:
            run.start_player(settings.rate_hz, num_subscribers=0)
            run.listener.spin(_PLAYER_START_S)

            busy_s: list[float] = []

            def start(variables: dict[str, str]) -> float:
                run.listener.clear()
                began = time.monotonic()
                node = run.start_node(light_bundle(settings), backend, variables)
                run.wait_for_answer()
                seconds = time.monotonic() - began
                busy_s.append(cpu_seconds(node.pid))
                node.stop()
                run.listener.spin(0.5)  # what it said last
                return seconds

            progress("once untimed, which fills the caches")
            start({})
            warm = []
            for number in range(settings.starts):
                progress(f"start {number + 1} of {settings.starts}")
                warm.append(start({}))
            warm_busy_s = statistics.median(busy_s[1:])
            progress("start with empty caches")
            cold = start(empty)
    median = statistics.median(warm)
    return Row(
        measured=f"{median:.2f} s (median of {len(warm)}), with empty caches {cold:.1f} s",
        values=(
            Value("process start to first boxes, median", round(median, 3), "s"),
            Value("processor time until then, median", round(warm_busy_s, 3), "s"),
            Value("slowest", round(max(warm), 3), "s"),
            Value("with empty caches", round(cold, 3), "s"),
            Value("starts", len(warm)),
            Value("backend", backend),
        ),
        met=median < _START_BAR_S,
    )


def measure_memory(settings: BenchmarkSettings, progress: Progress) -> Row:
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
    return memory_row(times, samples, num_answers, settings.rate_hz, backend)


def memory_row(
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
    if times[-1] < _WATCHED_S:
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


BENCHMARKS = {
    "end_to_end": Benchmark(
        what="ROS 2 end to end at 10 Hz, full network int8",
        against=f"the {_BUDGET_MS:g} ms budget",
        bar=f"0 drops in 60 s, p99 < {_BUDGET_MS:g} ms",
        measure=measure_end_to_end,
    ),
    "sustained_rate": Benchmark(
        what="highest sustained rate of the light network",
        against="-",
        bar=f">= {_BAR_HZ:g} Hz with < 1 % drops",
        measure=measure_sustained_rate,
    ),
    "start": Benchmark(
        what="process start to first boxes, caches warm",
        against="-",
        bar=f"< {_START_BAR_S:g} s",
        measure=measure_start,
    ),
    "memory": Benchmark(
        what="memory of the node",
        against="-",
        bar=f"< {_BAR_MB:g} MB, no growth in 10 min",
        measure=measure_memory,
    ),
}
