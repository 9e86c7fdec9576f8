# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the entropy readout costs inside the network, on ONNX Runtime, one thread.

`benchmarks/entropy_cost.py` runs the exported graph in turns with the same graph without what only
its readings need.
"""

from __future__ import annotations

from benchmarks.speed.row import Benchmark, Progress, Row, Value, milliseconds
from benchmarks.speed.scripts import run_script
from benchmarks.speed.settings import BenchmarkSettings

_BAR = 0.02
_SCRIPT = "entropy_cost.py"
# A light frame takes a fifteenth of a full one's time.
_LIGHT_FRAMES = 4


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Runs the script."""
    progress(f"benchmarks/{_SCRIPT}")
    frames = settings.num_frames
    figures = run_script(
        _SCRIPT,
        [
            *("--only", "readout", "--threads", "1"),
            *("--frames", str(_LIGHT_FRAMES * frames), "--full-frames", str(frames)),
        ],
    )
    return row_of(figures)


def row_of(figures: dict[str, dict[str, float]]) -> Row:
    """The row of the script's figures."""
    values, shares = [], {}
    for key, name in (("readout, light", "light"), ("readout, PointPillars", "PointPillars")):
        found = figures[key]
        # Of one thread: on a machine that does other things the steadier of the two.
        shares[name] = found["cpu_share"]
        values += [
            milliseconds(f"{name} without, CPU time", found["cpu_ms"]),
            milliseconds(f"{name} with, CPU time", found["cpu_with_readout_ms"]),
            Value(f"{name}, share of CPU time", round(100 * found["cpu_share"], 2), "%"),
            Value(f"{name}, share of wall time", round(100 * found["wall_share"], 2), "%"),
        ]
    return Row(
        measured=", ".join(f"{100 * share:.1f} % of {name}" for name, share in shares.items()),
        values=tuple(values),
        met=max(shares.values()) <= _BAR,
    )


BENCHMARK = Benchmark(
    what="entropy readout on and off",
    against="the same network without taps",
    bar=f"<= {100 * _BAR:g} % of network time",
    measure=measure,
)
