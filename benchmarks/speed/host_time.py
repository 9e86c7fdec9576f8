# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Host time around the network, from the message to the messages, on one core.

`benchmarks/host_time.py` times every step of a frame of 120,000 points on the network's real
outputs, in turns with the same steps written plainly.
"""

from __future__ import annotations

from typing import Any

from benchmarks.speed.row import (
    Benchmark,
    Progress,
    Row,
    Value,
    milliseconds,
    ratio,
)
from benchmarks.speed.scripts import run_script
from benchmarks.speed.settings import BenchmarkSettings

_P50_MS, _P99_MS, _TIMES_FASTER = 5.0, 8.0, 8.0
_SCRIPT = "host_time.py"


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Runs the script."""
    progress(f"benchmarks/{_SCRIPT}")
    arguments = ["--scans", str(settings.num_scans), "--repeats", str(settings.repeats)]
    return row_of(run_script(_SCRIPT, arguments))


def row_of(figures: dict[str, Any]) -> Row:
    """The row of the script's figures: percentiles of every step and of the total, of both."""
    ours, plain = figures["ours"], figures["plain"]
    p50, p99 = ours["total"]["p50_ms"], ours["total"]["p99_ms"]
    faster = plain["total"]["p50_ms"] / p50
    values: list[Value] = []
    for name, steps in (("", ours), ("plain, ", plain)):
        for step, times in steps.items():
            values.append(milliseconds(f"{name}{step} p50", times["p50_ms"]))
            if step == "total":
                values.append(milliseconds(f"{name}{step} p95", times["p95_ms"]))
                values.append(milliseconds(f"{name}{step} p99", times["p99_ms"]))
    return Row(
        measured=f"p50 {p50:.2f} ms, p99 {p99:.2f} ms; {faster:.1f} x faster than written plainly",
        values=(*values, ratio("times faster than written plainly", faster)),
        met=p50 <= _P50_MS and p99 <= _P99_MS and faster >= _TIMES_FASTER,
    )


BENCHMARK = Benchmark(
    what="host time around the network, 120,000 points, one core",
    against="the same steps written plainly",
    bar=f"p50 <= {_P50_MS:g}, p99 <= {_P99_MS:g} ms, {_TIMES_FASTER:g} x faster",
    measure=measure,
)
