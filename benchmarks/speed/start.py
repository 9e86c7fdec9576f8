# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the start of the node's process to its first boxes, while a sensor is already publishing.

With warm caches, as after the first start on a vehicle; and once with empty ones, when numba
compiles everything and an engine, where there is one, is built.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.speed.bundles import light_bundle, node_backend
from benchmarks.speed.processes import cpu_seconds
from benchmarks.speed.ros_run import RosRun
from benchmarks.speed.row import Benchmark, Progress, Row, Value
from benchmarks.speed.settings import BenchmarkSettings

_BAR_S = 3.0
_PLAYER_START_S = 3.0


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
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
        met=median < _BAR_S,
    )


BENCHMARK = Benchmark(
    what="process start to first boxes, caches warm",
    against="-",
    bar=f"< {_BAR_S:g} s",
    measure=measure,
)
