# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the live node on full scans for an hour: does its memory grow, is every scan accounted for?

Player and node are processes of their own, as on a vehicle; this one listens. A simulated drive of
full sweeps is played in a loop. The slope of the node's resident memory is fitted to its medians of
each minute, the warm-up left out. Exits with 1 where a bar is missed: the slope (judged from half
an hour on), an exception in the node, a scan that is neither answered nor dropped by name, boxes
that the node published and that did not arrive here.

    ./run python benchmarks/soak.py
    ./run python benchmarks/soak.py --minutes 2 --bundle models/pillars_light_360
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.speed.machine import rss_mb
from benchmarks.speed.ros_run import RosRun
from benchmarks.speed.rows import BenchmarkSettings
from eloss_perception.errors import ElossError
from eloss_perception.interrupts import StopSignal, check_interrupt
from eloss_perception.runtime.bundle import default_bundle_path

_MAX_SLOPE_MB_PER_HOUR = 1.0
# Before that, pages that come and go tilt the line by more.
_JUDGED_FROM_MIN = 30.0
_WARM_UP_SHARE, _MAX_WARM_UP_MIN = 0.1, 5.0
_PERIOD_S = 1.0
_SAY_EVERY_S = 10.0


@dataclass
class Soak:
    """The result; times in seconds, memory in MB.

    Attributes:
        num_sent: Scans that the player published.
        num_received: Those that reached the node; its subscription is best effort.
        num_answered: Those whose boxes it published.
        num_heard: Boxes that arrived here.
        num_replaced, num_malformed, num_failed: Scans that the node dropped: for a newer one, as
            unreadable, because the backend failed.
        num_exceptions: Tracebacks in the node's log, and 1 for an exit status other than 0.
        slope: Of its memory [MB/h].
    """

    duration_s: float
    num_sent: int
    num_received: int
    num_answered: int
    num_heard: int
    num_replaced: int
    num_malformed: int
    num_failed: int
    num_exceptions: int
    latency_p50_ms: float
    latency_p99_ms: float
    latency_max_ms: float
    rss_first: float
    rss_last: float
    rss_max: float
    slope: float

    @property
    def num_unaccounted(self) -> int:
        """Scans that reached the node and are neither answered nor dropped by name."""
        dropped = self.num_replaced + self.num_malformed + self.num_failed
        return self.num_received - self.num_answered - dropped

    def problems(self) -> list[str]:
        """The bars that were missed."""
        found = []
        if self.duration_s >= 60.0 * _JUDGED_FROM_MIN and self.slope >= _MAX_SLOPE_MB_PER_HOUR:
            found.append(f"memory grows by {self.slope:.2f} MB/h")
        if self.num_exceptions:
            found.append(f"{self.num_exceptions} exceptions")
        if self.num_unaccounted or self.num_received > self.num_sent:
            found.append(f"{self.num_unaccounted} scans are not accounted for")
        if self.num_heard != self.num_answered:
            found.append(f"{self.num_answered - self.num_heard} answers did not arrive")
        return found


def slope_mb_per_hour(times_s: np.ndarray, memory_mb: np.ndarray) -> float:
    """Slope of the medians of each minute, the warm-up left out; 0 where there are too few."""
    start = min(_WARM_UP_SHARE * times_s[-1], 60.0 * _MAX_WARM_UP_MIN)
    minute = ((times_s - start) // 60.0).astype(int)
    numbers = np.unique(minute[minute >= 0])
    if len(numbers) < 3:
        return 0.0
    medians = [np.median(memory_mb[minute == number]) for number in numbers]
    return float(np.polyfit(numbers / 60.0, medians, 1)[0])


def soak(settings: BenchmarkSettings) -> Soak:
    """Plays, listens and counts.

    Raises:
        ElossError: A process failed.
    """
    start = said = time.monotonic()
    shown = ""

    def progress(text: str) -> None:
        nonlocal said, shown
        if text != shown and (not shown or time.monotonic() - said >= _SAY_EVERY_S):
            print(text, file=sys.stderr, flush=True)
            said, shown = time.monotonic(), text

    times, memory = [], []
    with RosRun(settings, "soak", progress) as run:
        bundle = settings.bundle or default_bundle_path()
        node = run.start_node(bundle, settings.backend, {})
        player = run.start_player(settings.rate_hz)
        run.wait_for_answer()
        start = time.monotonic()
        while (elapsed_s := time.monotonic() - start) < 60.0 * settings.minutes:
            check_interrupt()
            run.listener.spin(_PERIOD_S)
            times.append(elapsed_s)
            memory.append(rss_mb(node.pid))
            progress(
                f"{elapsed_s / 60:.1f} of {settings.minutes:g} min: {memory[-1]:.1f} MB,"
                f" {len(run.listener.answers.latency_ms)} answers,"
                f" {run.listener.diagnostics.get('num_dropped', '?')} dropped"
            )
        num_sent = int(run.stop_player(player)["num_clouds"])
        run.listener.spin(2.5)  # diagnostics come once a second
        status = node.stop()
        tracebacks = node.log.read_text(errors="replace").count("Traceback (most recent call")
        said_last, answers = run.listener.diagnostics, run.listener.answers
    counts = {
        name: int(said_last[name])
        for name in ("num_received", "num_answered", "num_malformed", "num_failed")
    }
    latency = np.array(list(answers.latency_ms.values()))
    settled = np.array(times) >= min(_WARM_UP_SHARE * times[-1], 60.0 * _MAX_WARM_UP_MIN)
    return Soak(
        duration_s=times[-1],
        num_sent=num_sent,
        num_heard=len(latency),
        num_replaced=int(said_last["num_dropped_for_newer"]),
        num_exceptions=tracebacks + (status != 0),
        latency_p50_ms=float(np.percentile(latency, 50)),
        latency_p99_ms=float(np.percentile(latency, 99)),
        latency_max_ms=float(latency.max()),
        rss_first=float(np.array(memory)[settled][0]),
        rss_last=memory[-1],
        rss_max=max(memory),
        slope=slope_mb_per_hour(np.array(times), np.array(memory)),
        **counts,
    )


def table(soak: Soak) -> str:
    """All of it in words."""
    lost = soak.num_sent - soak.num_received
    rows = [
        ("watched", f"{soak.duration_s / 60:.1f} min"),
        ("memory after the warm-up, at the end, at most",
         f"{soak.rss_first:.1f}, {soak.rss_last:.1f}, {soak.rss_max:.1f} MB"),
        ("slope of the memory", f"{soak.slope:+.2f} MB/h"
         + ("" if soak.duration_s >= 60 * _JUDGED_FROM_MIN else " (too short to be judged)")),
        ("exceptions", f"{soak.num_exceptions}"),
        ("scans sent", f"{soak.num_sent}"),
        ("lost before the node (best effort)", f"{lost}"),
        ("received by the node", f"{soak.num_received}"),
        ("answered", f"{soak.num_answered}"),
        ("dropped: for a newer one, malformed, backend failed",
         f"{soak.num_replaced}, {soak.num_malformed}, {soak.num_failed}"),
        ("not accounted for", f"{soak.num_unaccounted}"),
        ("answers heard", f"{soak.num_heard}"),
        ("stamp to boxes: p50, p99, max", f"{soak.latency_p50_ms:.1f}, {soak.latency_p99_ms:.1f},"
         f" {soak.latency_max_ms:.1f} ms"),
    ]  # fmt: skip
    return "\n".join(f"{name:52}{value}" for name, value in rows)


def main() -> int:
    """Runs it and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (%(default)g)")
    parser.add_argument("--rate", type=float, default=10.0, help="scans a second (%(default)g)")
    parser.add_argument("--bundle", type=Path, help="whose network (default: the shipped one)")
    parser.add_argument("--backend", default="onnxruntime_cpu", help="what runs it (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs") / "benchmark",
                        help="folder of the drive and the logs (%(default)s)")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    with StopSignal() as stop:
        try:
            settings = BenchmarkSettings(
                bundle=arguments.bundle,
                backend=arguments.backend,
                minutes=arguments.minutes,
                rate_hz=arguments.rate,
                output=arguments.output,
            )
            result = soak(settings)
        except KeyboardInterrupt:
            return stop.exit_status
        except (ElossError, ValueError) as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
    print(table(result))
    problems = result.problems()
    print("; ".join(problems) or "all bars met")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
