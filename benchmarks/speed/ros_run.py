# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Player and detector node as processes, as on a vehicle, and this process listening to both."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.speed.machine import cpu_seconds
from benchmarks.speed.rows import (
    BenchmarkSettings,
    NotMeasuredError,
    Progress,
    Value,
    milliseconds,
)
from eloss_perception.errors import DataError

if TYPE_CHECKING:
    from benchmarks.speed.listener import Answers, Listener
    from eloss_perception.replay.demo.processes import Child

START_TIMEOUT_S = 120.0
"""Until the first answer: an engine is built or code compiled on the first start."""

_DRIVE_SEED = 1
_DRIVE_RATE_HZ = 10.0
_PAUSE_TIMEOUT_S = 2.0
# The last scan on its way still has to be answered.
_SETTLE_S = 1.0
_SLICE_S = 0.1


@dataclass(frozen=True, slots=True)
class Played:
    """One run of the player and its answers.

    Attributes:
        num_sent: Scans that the player published.
        num_late: Those it published more than 10 ms after they were due.
        worst_delay_ms: The latest of them [ms].
        duration_s: From the first answer to the pause.
        answers: What came back.
        node_cpu_s: Processor time that the node took meanwhile.
        player_cpu_s: That of the player.
    """

    num_sent: int
    num_late: int
    worst_delay_ms: float
    duration_s: float
    answers: Answers
    node_cpu_s: float
    player_cpu_s: float

    @property
    def num_answered(self) -> int:
        """Scans with boxes in return."""
        return len(self.answers.latency_ms)

    @property
    def num_dropped(self) -> int:
        """Scans sent and not answered, for whatever reason."""
        return max(0, self.num_sent - self.num_answered)

    @property
    def dropped_share(self) -> float:
        """Of the scans sent."""
        return self.num_dropped / max(1, self.num_sent)

    @property
    def rate_hz(self) -> float:
        """Answers a second, between the first and the last scan answered."""
        stamps = sorted(self.answers.latency_ms)
        if len(stamps) < 2 or stamps[-1] == stamps[0]:
            return 0.0
        return (len(stamps) - 1) / ((stamps[-1] - stamps[0]) / 1e9)

    def share_values(self) -> tuple[Value, ...]:
        """How busy the processes were; they share the cores."""
        shares = {"node": self.node_cpu_s, "player": self.player_cpu_s}
        return tuple(
            Value(f"{name}'s share of a core", round(cpu_s / self.duration_s, 3))
            for name, cpu_s in shares.items()
        )

    def latency_values(self) -> tuple[Value, ...]:
        """Percentiles from a scan's stamp to its boxes, and where the time went."""
        latency = np.array(list(self.answers.latency_ms.values()))
        values = [
            milliseconds(f"stamp to result p{q}", np.percentile(latency, q)) for q in (50, 95, 99)
        ]
        values.append(milliseconds("stamp to result max", latency.max()))
        stages = list(self.answers.stage_ms.values())
        for name in stages[0] if stages else ():
            times = np.array([stage[name] for stage in stages])
            times = times[np.isfinite(times)]
            title = name.replace("_", " ")
            if len(times):
                values += [
                    milliseconds(f"{title} p50", np.percentile(times, 50)),
                    milliseconds(f"{title} p99", np.percentile(times, 99)),
                ]
        return tuple(values)


class RosRun:
    """Context manager around the processes of one measurement.

    Args:
        settings: Of the benchmark.
        name: Of the row, for the log folder.
        progress: Told what is waited for.
    """

    def __init__(self, settings: BenchmarkSettings, name: str, progress: Progress) -> None:
        self._settings = settings
        self._folder = (settings.output / name).absolute()
        self._progress = progress
        self._stack = ExitStack()

    def __enter__(self) -> RosRun:
        # Measured alone: another machine's scans must not come in, nor ours go out.
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        if os.environ.get("ROS_DISTRO") == "humble":
            os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
        try:
            from benchmarks.speed.listener import Listener
            from eloss_perception.replay.demo.processes import ChildProcesses, reserve_domain
        except ModuleNotFoundError as error:
            raise NotMeasuredError(
                f"needs ROS 2 ({error.name} not found): `./run eloss benchmark`"
            ) from None
        domain = os.environ.get("ROS_DOMAIN_ID") or str(reserve_domain())
        environment = {"ROS_DOMAIN_ID": domain, "PYTHONUNBUFFERED": "1"}
        self._children = self._stack.enter_context(ChildProcesses(self._folder, environment))
        self.listener: Listener = self._stack.enter_context(Listener(int(domain)))
        self.bag = _drive(self._settings, self._progress)
        return self

    def start_node(self, bundle: Path, backend: str, variables: dict[str, str]) -> Child:
        """Starts the detector node as `ros2 run` does.

        Args:
            bundle: Folder of the model.
            backend: What runs it.
            variables: Environment of its own.
        """
        from eloss_perception.replay.drives import POINTS_TOPIC

        program = [sys.executable, "-m", "eloss_perception.ros.process", "--ros-args"]
        if variables:
            program = ["env", *(f"{key}={value}" for key, value in variables.items()), *program]
        parameters = {
            "bundle": str(bundle.absolute()),
            "backend": backend,
            "num_threads": self._settings.num_threads,
        }
        for key, value in parameters.items():
            program += ["-p", f"{key}:={value}"]
        return self._children.start(
            "detector", [*program, "-r", f"~/input/pointcloud:={POINTS_TOPIC}"]
        )

    def start_player(self, rate_hz: float, num_subscribers: int = 1) -> Child:
        """Starts to play the drive in a loop once somebody listens."""
        from eloss_perception.replay.drives import POINTS_TOPIC

        self._report.unlink(missing_ok=True)
        return self._children.start(
            "player",
            [
                *(sys.executable, "-m", "eloss_perception.replay.player", str(self.bag)),
                *("--loop", "--rate", f"{rate_hz / _DRIVE_RATE_HZ:g}", "--topics", POINTS_TOPIC),
                *("--wait-for-subscribers", str(num_subscribers), "--report", str(self._report)),
            ],
        )

    def wait_for_answer(self) -> None:
        """Returns with the first answer.

        Raises:
            DataError: None came in time.
            ProcessError: A process failed.
        """
        give_up = time.monotonic() + START_TIMEOUT_S
        while not self.listener.answers.latency_ms:
            self._children.check()
            if time.monotonic() > give_up:
                raise DataError(f"no answer after {START_TIMEOUT_S:g} s; logs in {self._folder}")
            self.listener.spin(0.005)

    def play(self, node: Child, rate_hz: float, seconds: float) -> Played:
        """Plays for this long, counted from the first answer, and waits for the last one."""
        self._children.check()
        self.listener.clear()
        player = self.start_player(rate_hz)
        self.wait_for_answer()
        start = time.monotonic()
        before_s = [cpu_seconds(child.pid) for child in (node, player)]
        while (elapsed_s := time.monotonic() - start) < seconds:
            self._children.check()
            self._progress(f"{rate_hz:g} Hz: {elapsed_s:.0f} of {seconds:g} s")
            self.listener.spin(min(_SLICE_S, seconds - elapsed_s))
        after_s = [cpu_seconds(child.pid) for child in (node, player)]
        report = self.stop_player(player)
        return Played(
            int(report["num_clouds"]),
            int(report["num_late"]),
            float(report["worst_delay_ms"]),
            elapsed_s,
            self.listener.answers,
            after_s[0] - before_s[0],
            after_s[1] - before_s[1],
        )

    def stop_player(self, player: Child) -> dict[str, float]:
        """Pauses the player, waits for what is on its way, ends it; returns its report."""
        # A player that cannot keep its rate has no time for services either: then it just ends.
        self.listener.pause_player(_PAUSE_TIMEOUT_S)
        self.listener.spin(_SETTLE_S)
        player.stop(signal.SIGINT)
        try:
            report: dict[str, float] = json.loads(self._report.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"the player left no report: {error}") from error
        return report

    @property
    def _report(self) -> Path:
        return self._folder / "player.json"

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(exc_type, exc, traceback)


def _drive(settings: BenchmarkSettings, progress: Progress) -> Path:
    """The bag that is played: simulated once and kept."""
    from eloss_perception.replay.demo.demo import drive_bag

    folder = (settings.output / "drive").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return drive_bag(
        folder,
        _DRIVE_SEED,
        settings.drive_frames,
        lambda done, total: progress(f"simulating the drive, once: scan {done} of {total}"),
    )
