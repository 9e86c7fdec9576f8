# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's run through DDS: recorder, detector and player as processes, as on a vehicle."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState

from eloss_perception.errors import DataError
from eloss_perception.health.monitor import HealthLevel
from eloss_perception.interrupts import StopSignal
from eloss_perception.msg import EntropyHealth
from eloss_perception.replay import drives
from eloss_perception.replay.demo.processes import ChildProcesses, ProcessError, reserve_domain
from eloss_perception.replay.demo.record import DETECTOR
from eloss_perception.replay.ros_graph import GraphListener
from eloss_perception.simulation.schedule import CorruptionWindow

# On its first start on a machine the node compiles its kernels, beside the player and the recorder.
_START_TIMEOUT_S = 300.0
# Diagnostics come once a second, and the last scans still have to be answered.
_SETTLE_S = 1.3
_SLICE_S = 0.05
_ASK_AGAIN_S = 1.0
_PYTHON = (sys.executable, "-m")


def play_and_record(
    bag: Path,
    bundle: Path,
    backend: str | None,
    corruptions: Sequence[CorruptionWindow],
    output: Path,
    say: Callable[[str], None],
    show: Callable[[str], None],
    stop: StopSignal,
) -> int:
    """Plays the drive to the detector while everything is recorded; returns the scans played.

    Args:
        bag: What to play.
        bundle: The detector's model.
        backend: What runs it; None for the node's default.
        corruptions: What the player does to the scans.
        output: Gets the folders `recording` and `logs`.
        say: Writes a line.
        show: Writes a line that changes.
        stop: Ends it with KeyboardInterrupt.

    Raises:
        DataError: The detector did not start in time, or the player left no report.
        ProcessError: A process failed.
    """
    # Two demos on one machine must not hear each other.
    domain = os.environ.get("ROS_DOMAIN_ID") or str(reserve_domain())
    report = output / "logs" / "player.json"
    with ExitStack() as stack:
        children = stack.enter_context(
            ChildProcesses(output / "logs", {"ROS_DOMAIN_ID": domain, "PYTHONUNBUFFERED": "1"})
        )
        recorder = children.start("recorder", _recorder_command(output / "recording"))
        detector = children.start("detector", _detector_command(bundle, backend))
        say(
            "processes recorder, detector and player on"
            f" ROS_DOMAIN_ID={domain}, logs in {shown(output / 'logs')}/"
        )
        show("processes starting")
        watch = stack.enter_context(Watch(DETECTOR, int(domain)))
        watch.wait_until_active(stop, _START_TIMEOUT_S, children.check)
        stop.raise_if_set()
        player = children.start("player", _player_command(bag, report, corruptions))
        while player.return_code is None:
            watch.look(stop, children.check)
            show(watch.state())
        player.check()
        settled = time.monotonic() + _SETTLE_S
        while time.monotonic() < settled:
            watch.look(stop, children.check)
        # The detector first, so that its last words are recorded too.
        for child in (detector, recorder):
            if child.stop() != 0:
                raise ProcessError(child.describe_failure())
    try:
        return int(json.loads(report.read_text())["num_clouds"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{report} is not the player's report: {error}") from error


def _recorder_command(folder: Path) -> list[str]:
    outputs = ("detections", "markers", "entropy_health", "entropy_gauge")
    topics = [
        drives.POINTS_TOPIC,
        drives.GROUND_TRUTH_TOPIC,
        drives.IMAGE_TOPIC,
        drives.CAMERA_INFO_TOPIC,
        drives.TF_STATIC_TOPIC,
        *(f"{DETECTOR}/output/{name}" for name in outputs),
        f"{DETECTOR}/debug/processing_time",
        "/diagnostics",
    ]
    return [*_PYTHON, "eloss_perception.replay.recorder", str(folder), "--overwrite", *topics]


def _detector_command(bundle: Path, backend: str | None) -> list[str]:
    command = [*_PYTHON, "eloss_perception.ros.process", "--ros-args", "-p", f"bundle:={bundle}"]
    if backend is not None:
        command += ["-p", f"backend:={backend}"]
    return [*command, "-r", f"~/input/pointcloud:={drives.POINTS_TOPIC}"]


def _player_command(bag: Path, report: Path, corruptions: Sequence[CorruptionWindow]) -> list[str]:
    command = [*_PYTHON, "eloss_perception.replay.player", str(bag), "--report", str(report)]
    command += ["--wait-for-subscribers", "2"]
    return [*command, *(f"--corrupt={window}" for window in corruptions)]


def shown(path: Path) -> str:
    """Returns the path as its reader would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class Watch(GraphListener):
    """Follows the detector.

    Attributes:
        newest: The newest health message; None before the first.
        num_answers: Health messages so far.
    """

    node_name = "demo_watch"

    def __init__(self, detector: str, domain_id: int) -> None:
        super().__init__(domain_id)
        self._detector = detector
        self.newest: EntropyHealth | None = None
        self.num_answers = 0

    def subscribe(self) -> None:
        """Listens to health, and asks for the state."""
        self._state_client = self.node.create_client(GetState, f"{self._detector}/get_state")
        self.node.create_subscription(
            EntropyHealth, f"{self._detector}/output/entropy_health", self._on_health, 10
        )

    def look(self, stop: StopSignal, check: Callable[[], None]) -> None:
        """Listens for a moment; KeyboardInterrupt after a signal, and whatever `check` raises."""
        stop.raise_if_set()
        check()
        self.spin_once(_SLICE_S)

    def state(self) -> str:
        """The newest health as one line."""
        health = self.newest
        if health is None:
            return "playing"
        level = HealthLevel(int.from_bytes(health.level, "little")).name
        cause = f", like {health.likely_cause}" if health.likely_cause else ""
        return (
            f"playing   scan {self.num_answers}: health {level}, score"
            f" {health.smoothed_score:.1f} (threshold {health.threshold:g}){cause}"
        )

    def wait_until_active(
        self, stop: StopSignal, timeout_s: float, check: Callable[[], None]
    ) -> None:
        """Returns once the detector is active, or on a signal; `check` may raise meanwhile.

        Raises:
            DataError: It was not active in time.
        """
        give_up = time.monotonic() + timeout_s
        while not stop.is_set:
            check()
            if time.monotonic() > give_up:
                raise DataError(f"{self._detector} was not active after {timeout_s:g} s")
            if not self._state_client.service_is_ready():
                self.spin_once(_SLICE_S)
                continue
            answer = self._state_client.call_async(GetState.Request())
            ask_again = time.monotonic() + _ASK_AGAIN_S
            while not answer.done() and time.monotonic() < ask_again and not stop.is_set:
                self.spin_once(_SLICE_S)
            if answer.done() and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                return
            self.spin_once(_SLICE_S)

    def _on_health(self, message: EntropyHealth) -> None:
        self.newest = message
        self.num_answers += 1
