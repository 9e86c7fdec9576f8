# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run reports: ``metrics.jsonl``, TensorBoard where it is installed, a progress bar.

Lines of ``metrics.jsonl``, each with its ``step`` (steps done):

- means over the last ``log_every`` steps: the loss terms, their sum ``loss``, ``gradient_norm``,
  ``learning_rate``, ``seconds`` of training so far, ``samples_per_second``, ``waiting`` (share of
  the time spent waiting for data);
- ``layer_entropy``: layer name -> entropy, the mean over a batch;
- ``validation``: name -> average precision [%].
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from eloss_perception.errors import DataError
from eloss_perception.files import write_file

METRICS_NAME = "metrics.jsonl"

_LOG = logging.getLogger(__name__)
_Item = TypeVar("_Item")

# The first steps start workers, compile and fill caches; the ten after them are typical.
_SKIPPED_STEPS = 3
_MEASURED_STEPS = 10

_SHOW_EVERY_S = 0.5
# In a log file each refresh of the bar is a line.
_SHOW_EVERY_S_IN_A_LOG = 60.0


class Metrics:
    """Writes a run's metrics; a resumed run's file continues where the checkpoint was."""

    def __init__(self, run_dir: Path, log_every: int, use_tensorboard: bool, enabled: bool) -> None:
        """Prepares writing.

        Args:
            run_dir: Folder of the run.
            log_every: Steps that a line of losses is the mean of.
            use_tensorboard: Write event files as well, if the package is there.
            enabled: False in the processes of a run that leave writing to the first.
        """
        self._path = run_dir / METRICS_NAME
        self._log_every = log_every
        self._enabled = enabled
        self._use_tensorboard = use_tensorboard and enabled
        self._board: Any = None
        self._sums: dict[str, float] = {}
        self._count = 0
        self._seconds = 0.0

    def start(self, step: int) -> None:
        """Begins after ``step`` steps; drops the lines of later ones, which will come again.

        Raises:
            DataError: If the run's folder cannot be written.
        """
        if not self._enabled:
            return
        # A profile is named by the steps before it: that of `step` is measured in the next one.
        rows = read_metrics(self._path)
        kept = [row for row in rows if row["step"] + ("layer_entropy" in row) <= step]
        write_file(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        if self._use_tensorboard:
            self._board = _open_board(self._path.parent, step)

    def state_dict(self) -> dict[str, Any]:
        """Sums since the last line, and the training time so far [s]."""
        return {"sums": dict(self._sums), "count": self._count, "seconds": self._seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues with the state of an interrupted run."""
        self._sums, self._count = dict(state["sums"]), int(state["count"])
        self._seconds = float(state["seconds"])

    def add(self, step: int, values: dict[str, float], timings: dict[str, float]) -> None:
        """Adds a step's values; after ``log_every`` steps writes their means.

        Args:
            step: Steps done.
            values: Losses and the like, by name.
            timings: See :meth:`StepClock.timings`.
        """
        for name, value in (values | timings).items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._seconds += timings["seconds"]
        if step % self._log_every == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Writes the means of what was added since the last line, if anything."""
        if not self._count:
            return
        seconds = max(self._sums.pop("seconds"), 1e-9)
        waiting = self._sums.pop("seconds_waiting")
        samples = self._sums.pop("samples")
        row = {name: value / self._count for name, value in self._sums.items()}
        row |= {
            "seconds": round(self._seconds, 1),
            "samples_per_second": round(samples / seconds, 2),
            "waiting": round(waiting / seconds, 4),
        }
        self._sums, self._count = {}, 0
        self._write(step, row)
        self._plot("", step, row)

    def add_profile(self, step: int, layer_entropy: dict[str, float]) -> None:
        """Writes the mean entropy of each layer."""
        self._write(step, {"layer_entropy": layer_entropy})
        self._plot("layer_entropy/", step, layer_entropy)

    def add_validation(self, step: int, scores: dict[str, float | None]) -> None:
        """Writes average precisions [%]; None where there was no object to find."""
        self._write(step, {"validation": scores})
        found = {name: score for name, score in scores.items() if score is not None}
        self._plot("validation/", step, found)

    def has_validation(self, step: int) -> bool:
        """Whether the file has the average precisions of a step."""
        return any(row["step"] == step and "validation" in row for row in read_metrics(self._path))

    def close(self) -> None:
        """Finishes the event file."""
        if self._board is not None:
            self._to_board(self._board.close)

    def _write(self, step: int, row: dict[str, Any]) -> None:
        if not self._enabled:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **row}) + "\n")
        except OSError as error:
            raise DataError(
                f"{self._path}: cannot write: {error.strerror}; the same command continues from "
                "the last checkpoint"
            ) from None

    def _plot(self, prefix: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if self._board is not None:
                self._to_board(self._board.add_scalar, prefix + name, value, step)

    def _to_board(self, write: Callable[..., None], *arguments: Any) -> None:
        """Event files are a convenience: where they cannot be written, the run continues."""
        try:
            write(*arguments)
        except OSError as error:
            _LOG.warning("TensorBoard files end here: %s", error)
            self._board = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; a last line that a kill cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def final_losses(path: Path) -> dict[str, float]:
    """The last line of losses in a ``metrics.jsonl``; empty where there is none."""
    losses = [row for row in read_metrics(path) if "loss" in row]
    return losses[-1] if losses else {}


def _open_board(run_dir: Path, step: int) -> Any:
    """A TensorBoard writer into the run's folder; None, logged once, where there can be none."""
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(run_dir / "tensorboard"), purge_step=step)
    except ImportError:
        _LOG.info("tensorboard is not installed: the run is logged to %s alone", METRICS_NAME)
    except OSError as error:
        _LOG.warning("no TensorBoard files: %s", error)
    return None


class StepClock:
    """Times the steps of a run: a progress bar, an early estimate, the share spent waiting."""

    def __init__(self, first_step: int, num_steps: int, batch_size: int, enabled: bool) -> None:
        """Shows a bar.

        Args:
            first_step: Steps already done.
            num_steps: Steps of the whole run.
            batch_size: Samples of a step.
            enabled: False in a process that leaves messages to another.
        """
        in_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            initial=first_step,
            total=num_steps,
            unit="step",
            smoothing=0.02,
            disable=not enabled,
            mininterval=_SHOW_EVERY_S if in_terminal else _SHOW_EVERY_S_IN_A_LOG,
        )
        self._num_steps = num_steps
        self._first_step = first_step
        self._batch_size = batch_size
        self._enabled = enabled
        self._last_end = time.perf_counter()
        self._measured_s = self._measured_waiting_s = 0.0
        self._waiting = 0.0
        self._seconds = 0.0

    def waits_for(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields the items and times the wait for each."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._waiting = time.perf_counter() - start
            yield item

    def end_step(self, step: int, losses: dict[str, float]) -> None:
        """Updates the bar after ``step`` steps; once, early on, prints an estimate of the rest."""
        now = time.perf_counter()
        self._seconds, self._last_end = now - self._last_end, now
        terms = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        seconds = max(self._seconds, 1e-9)
        rate, waiting = self._batch_size / seconds, self._waiting / seconds
        summary = f"{terms}, {rate:.1f} samples/s, {waiting:.0%} waiting"
        self._bar.set_postfix_str(summary, refresh=False)
        self._bar.update(step - self._bar.n)
        done = step - self._first_step
        if _SKIPPED_STEPS < done <= _SKIPPED_STEPS + _MEASURED_STEPS:
            self._measured_s += self._seconds
            self._measured_waiting_s += self._waiting
            if done == _SKIPPED_STEPS + _MEASURED_STEPS and self._enabled:
                tqdm.write(self._estimate(step), file=sys.stderr)

    def timings(self) -> dict[str, float]:
        """Of the last step: ``seconds``, ``seconds_waiting`` for data of them, ``samples``."""
        return {
            "seconds": self._seconds,
            "seconds_waiting": self._waiting,
            "samples": float(self._batch_size),
        }

    def pause(self) -> None:
        """Excludes the time since the step's end, such as a validation, from all timings."""
        self._last_end = time.perf_counter()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def _estimate(self, step: int) -> str:
        """How long the rest of the run will take, from the measured steps."""
        per_step = self._measured_s / _MEASURED_STEPS
        left = self._num_steps - step
        return (
            f"{left} steps will take about {in_words(per_step * left)} on this machine: "
            f"{self._batch_size / per_step:.1f} samples/s, "
            f"{self._measured_waiting_s / self._measured_s:.0%} of the time waiting for data"
        )


def in_words(seconds: float) -> str:
    """A duration in words: ``40 seconds``, ``52 minutes``, ``3.5 hours``."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
