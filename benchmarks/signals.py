# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Signals at random moments: does the node always end with 0, and how long does that take?

Starts `detector_node` again and again, and sends SIGINT or SIGTERM at a random moment between the
start of its process and two seconds after activation, and once more shortly afterwards, as a
terminal and `ros2 launch` do. A moment before Python runs the first line of the node is no trial:
nothing can be heeded there, and nothing has begun that a signal could damage.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from eloss_perception.interrupts import StopSignal, check_interrupt, pause

COMMAND = [sys.executable, "-u", "-m", "eloss_perception.ros.process"]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AFTER_ACTIVATION_S = 2.0
_LONGEST_S = 60.0


class Trial(NamedTuple):
    """One start and end.

    Attributes:
        number: The signal.
        moment_s: When it was sent, from the start of the process.
        again_s: When it was sent again, from then.
        state: What the node was doing.
        exit_code: What the process ended with; None where it had to be killed.
        end_s: How long it took to end, from the first signal.
        output: What it said.
    """

    number: int
    moment_s: float
    again_s: float
    state: str
    exit_code: int | None
    end_s: float
    output: str


class Node:
    """A started node whose output is read by a thread."""

    def __init__(self, arguments: list[str]) -> None:
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [*COMMAND, "--ros-args", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.output += line

    @property
    def is_heeding(self) -> bool:
        """Whether it has handlers for both signals."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        caught = next(
            (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0"
        )
        return all(int(caught, 16) >> (number - 1) & 1 for number in SIGNALS)

    @property
    def is_active(self) -> bool:
        """Whether the network is loaded."""
        return " on ONNX Runtime" in self.output

    def wait_until(self, condition: str) -> float:
        """Waits for a property to hold; returns the time since the start [s].

        Raises:
            SystemExit: If the node ended before, or took a minute.
        """
        while not getattr(self, condition):
            check_interrupt()
            if self.process.poll() is not None or time.monotonic() - self.start > _LONGEST_S:
                self.process.kill()
                raise SystemExit(f"the node did not start:\n{self.output}")
            time.sleep(0.002)
        return time.monotonic() - self.start

    def end(self) -> None:
        """Waits for all that it says."""
        self.process.wait()
        self._reader.join()


def run_trial(arguments: list[str], number: int, moment_s: float, again_s: float) -> Trial:
    """Starts a node and ends it at a moment."""
    node = Node(arguments)
    try:
        heeding_s = node.wait_until("is_heeding")
        pause(max(0.0, moment_s - heeding_s))
        moment_s = time.monotonic() - node.start
        state = "active" if node.is_active else "starting"
        sent = time.monotonic()
        node.process.send_signal(number)
        while node.process.poll() is None and time.monotonic() - sent < _LONGEST_S:
            if again_s <= time.monotonic() - sent:
                node.process.send_signal(number)
                break
            time.sleep(0.002)
        try:
            node.process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            return Trial(number, moment_s, again_s, state, None, _LONGEST_S, node.output)
        end_s = time.monotonic() - sent
        node.end()
        return Trial(number, moment_s, again_s, state, node.process.returncode, end_s, node.output)
    finally:
        node.process.kill()
        node.end()


def run_trials(arguments: list[str], num_trials: int, seed: int) -> list[Trial]:
    """Trials at random moments, SIGINT and SIGTERM in turn."""
    rng = random.Random(seed)
    first = Node(arguments)
    try:
        heeding_s = first.wait_until("is_heeding")
        active_s = first.wait_until("is_active")
    finally:
        first.process.kill()
        first.end()
    print(f"heeds signals {heeding_s:.2f} s after the start, is active after {active_s:.1f} s")
    trials = []
    for index in range(num_trials):
        check_interrupt()
        moment_s = rng.uniform(0.0, active_s + _AFTER_ACTIVATION_S)
        trials.append(
            run_trial(arguments, SIGNALS[index % 2], moment_s, again_s=rng.uniform(0.0, 0.5))
        )
        worst_s = max(trial.end_s for trial in trials)
        num_bad = sum(trial.exit_code != 0 for trial in trials)
        print(
            f"\r{index + 1} of {num_trials}: {num_bad} not 0, worst {worst_s:.2f} s",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    return trials


def table(trials: list[Trial]) -> str:
    """Exit codes and times by signal and state."""
    lines = [
        "| signal | state | trials | exit codes | median | worst |",
        "|---|---|---|---|---|---|",
    ]
    for number in SIGNALS:
        for state in ("starting", "active"):
            some = [trial for trial in trials if (trial.number, trial.state) == (number, state)]
            if some:
                codes = sorted({str(trial.exit_code) for trial in some})
                times = [trial.end_s for trial in some]
                name = signal.Signals(number).name
                lines.append(
                    f"| {name} | {state} | {len(some)} | {', '.join(codes)} |"
                    f" {statistics.median(times):.2f} s | {max(times):.2f} s |"
                )
    return "\n".join(lines)


def main() -> int:
    """Runs the trials; returns 1 where one did not end with 0 in time."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python benchmarks/signals.py --trials 200 --limit 2",
    )
    parser.add_argument("--trials", type=int, default=40, help="starts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument(
        "--limit", type=float, default=2.0, help="longest time to end [s] (default: %(default)s)"
    )
    parser.add_argument(
        "--bundle", type=Path, help="bundle that the node loads (default: the one that is shipped)"
    )
    parser.add_argument("--json", type=Path, help="file for all trials")
    arguments = parser.parse_args()
    parameters = ["-p", f"bundle:={arguments.bundle}"] if arguments.bundle else []
    with StopSignal():
        trials = run_trials(parameters, arguments.trials, arguments.seed)
    print(table(trials))
    if arguments.json:
        arguments.json.write_text(json.dumps([t._asdict() for t in trials], indent=1) + "\n")
    bad = [t for t in trials if t.exit_code != 0 or t.end_s > arguments.limit]
    for trial in bad:
        name, code = signal.Signals(trial.number).name, trial.exit_code
        print(f"{name} after {trial.moment_s:.3f} s: {code} in {trial.end_s:.2f} s\n{trial.output}")
    print(f"{len(trials) - len(bad)} of {len(trials)} ended with 0 within {arguments.limit:g} s")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
