# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 end to end at the sensor's rate, with the full network quantised for CPUs.

A player publishes full turns of about 120,000 points, the detector node answers, and this process
notes when the boxes of each scan arrive. The latency holds two passages through DDS.
"""

from __future__ import annotations

from benchmarks.speed.bundles import existing_bundle
from benchmarks.speed.ros_run import Played, RosRun
from benchmarks.speed.row import Benchmark, Progress, Row, Value
from benchmarks.speed.settings import BenchmarkSettings

_BUDGET_MS = 100.0


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Plays for a minute and looks at every scan."""
    bundle = existing_bundle(settings.full_int8_bundle, "full bundle quantised for CPUs")
    with RosRun(settings, "end_to_end", progress) as run:
        progress("starting the detector node")
        node = run.start_node(bundle, settings.int8_backend, {})
        played = run.play(node, settings.rate_hz, settings.seconds)
    return row_of(played, settings)


def row_of(played: Played, settings: BenchmarkSettings) -> Row:
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


BENCHMARK = Benchmark(
    what="ROS 2 end to end at 10 Hz, full network int8",
    against=f"the {_BUDGET_MS:g} ms budget",
    bar=f"0 drops in 60 s, p99 < {_BUDGET_MS:g} ms",
    measure=measure,
)
