# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Signals at random moments of the node and of the long commands: heeded, how soon, what is left?

Each trial starts a program, waits until it has handlers and then for a random time, and sends the
signal: to the process alone or, as a terminal does, to all of its group. A trial of a command is
good when it ends with 128 + n and one line, leaves no process, and every file that it leaves is
whole. The node gets the signal twice, as from a terminal and `ros2 launch`, at any moment until two
seconds after its activation, and must end with 0 within two seconds. Before the first line of a
program there is nothing to heed a signal, and nothing begun that it could damage: no trial.

    ./run python benchmarks/interrupts.py --trials 20 --only simulate train
    ./run python benchmarks/interrupts.py --trials 200 --only node --signal SIGTERM
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from eloss_perception.cli.terminal import say, say_table, track
from eloss_perception.errors import ElossError
from eloss_perception.interrupts import check_interrupt, pause, run_script
from eloss_perception.runtime.bundle import default_bundle_path

# How long after the handlers are there the signal may come [s]: imports, loading and work.
_WINDOW_S = 6.0
_AFTER_ACTIVATION_S, _SECOND_SIGNAL_S = 2.0, 0.5
NODE = "node"
_ORPHANS_END_S = 5.0
_MARK = "ELOSS_INTERRUPT_TRIAL"


@dataclass
class Outcome:
    """The results of all trials of a program."""

    num_trials: int = 0
    num_lost: int = 0
    num_finished: int = 0
    faults: list[str] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """A program, and how it must take a signal.

    Attributes:
        command: Its arguments, given the folder of a trial.
        limit_s: Latest end after the signal; later is lost.
        window_s: The signal comes at a random moment of this time.
        is_node: Whether it is the node, which ends with 0 and gets the signal twice.
    """

    command: Callable[[Path], list[str]]
    limit_s: float
    window_s: float = _WINDOW_S
    is_node: bool = False


def make_commands(folder: Path, bundle: Path) -> dict[str, Callable[[Path], list[str]]]:
    """Simulates data; returns the arguments of each command, given the folder of a trial."""
    data, bag = folder / "data", folder / "bag"
    for arguments in (
        ["simulate", "--out", str(data), "--frames", "40", "--split", "train"],
        ["simulate", "--out", str(data), "--frames", "40", "--split", "val"],
        ["bag", "--simulate", "--frames", "20", "--out", str(bag)],
    ):
        check_interrupt()
        subprocess.run(_program(arguments), check=True, stdout=subprocess.DEVNULL)
    small = ["grid.point_cloud_range=[0,-10.24,-3,20.48,10.24,1]", "batch_size=2", "num_scans=20"]
    small += ["steps=100000", "num_workers=1", "checkpoint_every=20", "log_every=5"]
    return {
        "simulate": lambda out: ["simulate", "--out", f"{out}/root", "--frames", "9999"],
        "train": lambda out: [
            *("train", "--set", f"output={out}", "--set", f"data={data}", "--set", "name=run"),
            *(part for setting in small for part in ("--set", setting)),
        ],
        "calibrate": lambda out: [
            *("calibrate", "--bundle", str(bundle), "--data", str(data), "--split", "train"),
            *("--out", f"{out}/calibrated"),
        ],
        "health": lambda out: [
            *("health", "--bundle", str(bundle), "--data", str(data), "--cache", f"{out}/cache"),
            *("--json", f"{out}/health.json"),
        ],
        "evaluate": lambda out: [
            *("evaluate", "--bundle", str(bundle), "--data", str(data), "--resamples", "20000"),
            *("--json", f"{out}/evaluation.json"),
        ],
        "detect": lambda out: [
            *("detect", str(data), "--bundle", str(bundle), "--out", f"{out}/found"),
        ],
        "replay": lambda out: ["replay", str(bag), "--loop", "--report", f"{out}/report.json"],
    }


def make_node(folder: Path, bundle: Path, limit_s: float) -> Target:
    """The node, started twice to learn how long it takes to activate."""
    node = [sys.executable, "-u", "-m", "eloss_perception.ros.process", "--ros-args"]
    node += ["-p", f"bundle:={bundle}"]
    log = folder / "node.log"
    for _ in range(2):  # the first start fills the caches
        start = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(node, stdout=output, stderr=subprocess.STDOUT)
        try:
            while " on ONNX Runtime" not in log.read_text(errors="replace"):
                if process.poll() is not None:
                    raise ElossError(f"the node did not start: {_last_line(log)}")
                pause(0.01)
            active_s = time.monotonic() - start
        finally:
            process.kill()
            process.wait()
    say(f"the node is active {active_s:.1f} s after its start")
    return Target(lambda _: node, limit_s, active_s + _AFTER_ACTIVATION_S, is_node=True)


def run_trial(target: Target, folder: Path, number: int, out: Outcome) -> None:
    """Starts a program, signals it and notes the result."""
    folder.mkdir(parents=True)
    moment_s, to_group = random.uniform(0.0, target.window_s), random.random() < 0.5
    log = folder.with_suffix(".log")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            target.command(folder),
            stdin=subprocess.DEVNULL,
            stdout=errors if target.is_node else subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, _MARK: str(folder)},
            start_new_session=True,
        )
    try:
        while process.poll() is None and not _has_handler(process.pid):
            pause(0.002)
        pause(moment_s)
        if process.poll() is not None:
            out.num_finished += 1
            if process.returncode != 0:
                out.faults.append(f"status {process.returncode}: {_last_line(log)}")
            return
        out.num_trials += 1
        sent = time.monotonic()
        os.killpg(process.pid, number) if to_group else process.send_signal(number)
        try:
            if target.is_node:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(random.uniform(0.0, _SECOND_SIGNAL_S))
                process.send_signal(number)  # nothing where it has ended
            process.wait(target.limit_s - (time.monotonic() - sent))
        except subprocess.TimeoutExpired:
            out.num_lost += 1
            return
        out.delays_s.append(time.monotonic() - sent)
        at = f"{'group' if to_group else 'process'}, {moment_s:.2f} s"
        text = log.read_text(errors="replace")
        if process.returncode != (0 if target.is_node else 128 + number):
            out.faults.append(f"status {process.returncode} ({at}): {_last_line(log)}")
        if "Traceback" in text:
            out.faults.append(f"traceback ({at}): {_last_line(log)}")
        damaged = [path for path in sorted(folder.rglob("*")) if _is_damaged(path)]
        out.faults += [f"half-written ({at}): {path.relative_to(folder)}" for path in damaged]
        give_up = time.monotonic() + _ORPHANS_END_S
        while (orphans := _processes_of(folder)) and time.monotonic() < give_up:
            pause(0.05)
        out.faults += [f"still running ({at}): {pid}" for pid in orphans]
    finally:
        for pid in {process.pid, *_processes_of(folder)}:
            if pid != process.pid or process.poll() is None:
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _program(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "eloss_perception.cli", *arguments]


def _has_handler(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), ": 0")
    return all(int(caught.split()[1], 16) >> (n - 1) & 1 for n in (signal.SIGINT, signal.SIGTERM))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _is_damaged(path: Path) -> bool:
    """Whether a file or folder is not what its name promises."""
    if path.name.startswith(".") or path.suffix in (".partial", ".part"):
        return True
    if path.is_dir():
        return path.name == "calibrated" and not (path / "model.yaml").is_file()
    content = path.read_bytes()
    if path.suffix == ".bin":
        others = [path.parents[1] / "calib", path.parents[1] / "label_2"]
        whole = all((other / f"{path.stem}.txt").is_file() for other in others)
        return not content or len(content) % 16 != 0 or not whole
    if path.suffix == ".png":
        return not content.endswith(b"IEND\xaeB`\x82")
    if path.suffix in (".json", ".jsonl"):
        lines = [content] if path.suffix == ".json" else content.splitlines()
        return not all(_is_json(line) for line in lines)
    if path.suffix in (".npz", ".pt"):
        return not zipfile.is_zipfile(path) or zipfile.ZipFile(path).testzip() is not None
    return False


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _processes_of(folder: Path) -> list[int]:
    mark = f"{_MARK}={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def main() -> None:
    """Run the trials and print the table; status 1 if a trial was not good."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="each (default: 20)")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help="default: all eight")
    parser.add_argument("--signal", default="SIGINT", choices=("SIGINT", "SIGTERM"))
    parser.add_argument("--limit", type=float, default=20.0, metavar="S", help="of a command")
    parser.add_argument("--node-limit", type=float, default=2.0, metavar="S", help="of the node")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path(), metavar="DIR")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    number = int(signal.Signals[arguments.signal])
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="eloss_interrupts_") as scratch:
        bundle = arguments.bundle.absolute()
        targets = {}
        if arguments.only in (None, [NODE]) or NODE in arguments.only:
            targets[NODE] = make_node(Path(scratch), bundle, arguments.node_limit)
        if arguments.only != [NODE]:
            targets |= {
                name: Target(lambda out, command=command: _program(command(out)), arguments.limit)
                for name, command in make_commands(Path(scratch), bundle).items()
            }
        for name in arguments.only or targets:
            outcome = outcomes[name] = Outcome()
            for trial in track(range(arguments.trials), arguments.trials, f"trials of {name}"):
                folder = Path(scratch) / "trials" / f"{name}_{trial}"
                run_trial(targets[name], folder, number, outcome)
                shutil.rmtree(folder, ignore_errors=True)
            for fault in outcome.faults:
                say(f"{name}: {fault}")
    rows = {
        name: {
            "trials": outcome.num_trials,
            "lost": outcome.num_lost,
            "faults": len(outcome.faults),
            "ended_before": outcome.num_finished,
            "worst_delay_s": round(max(outcome.delays_s, default=0.0), 2),
        }
        for name, outcome in outcomes.items()
    }
    header = ["command", "trials", "lost", "faults", "ended before", "worst delay [s]"]
    say_table(header, [[name, *map(str, row.values())] for name, row in rows.items()])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if any(row["lost"] or row["faults"] for row in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run_script(main))
