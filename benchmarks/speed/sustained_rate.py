# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The highest rate at which the light network answers all but one scan in a hundred.

The player's rate rises step by step until too many scans are dropped or the player itself, which
shares the cores, falls behind; the midpoint between the last two rates is tried as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.speed.bundles import light_bundle, node_backend
from benchmarks.speed.ros_run import Played, RosRun
from benchmarks.speed.row import Benchmark, Progress, Row, Value, milliseconds
from benchmarks.speed.settings import BenchmarkSettings

_BAR_HZ = 30.0
_DROPPED_SHARE = 0.01
# A player that sends a twentieth less than it was asked for is not at that rate any more.
_PLAYER_SHARE = 0.95
# One hiccup of the machine must not end the rise.
_NUM_ATTEMPTS = 2


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
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
    return row_of(runs, best, limit, backend)


def why_too_fast(played: Played, rate_hz: float) -> str:
    """Returns what gave way at a rate; nothing where all kept up."""
    sent_hz = played.num_sent / max(played.duration_s, 1e-9)
    if sent_hz < _PLAYER_SHARE * rate_hz:
        return f"the player sent {sent_hz:.0f} scans a second when asked for {rate_hz:g}"
    if played.dropped_share >= _DROPPED_SHARE:
        return f"{played.dropped_share:.1%} dropped at {rate_hz:g} Hz"
    return ""


def row_of(runs: dict[float, Played], best: float, limit: str, backend: str) -> Row:
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


BENCHMARK = Benchmark(
    what="highest sustained rate of the light network",
    against="-",
    bar=f">= {_BAR_HZ:g} Hz with < 1 % drops",
    measure=measure,
)
