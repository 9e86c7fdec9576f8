# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run writes about itself: ``metrics.jsonl``, and TensorBoard where it is installed.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eloss_perception.errors import DataError
from eloss_perception.files import write_file

METRICS_NAME = "metrics.jsonl"

_LOG = logging.getLogger(__name__)


class Metrics:
    """Writes a run's metrics; a resumed run's file continues as if nothing had happened."""

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
        _cut(self._path, step)
        if self._use_tensorboard:
            self._board = _open_board(self._path.parent, step)

    def state_dict(self) -> dict[str, Any]:
        """What has been gathered since the last line, and the training time so far [s]."""
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
            timings: See :meth:`Progress.timings`.
        """
        for name, value in (values | timings).items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._seconds += timings["seconds"]
        if step % self._log_every == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Writes the means of what has been gathered, if anything."""
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
        """Whether average precisions of a step are written down."""
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
                f"{self._path}: cannot write: {error.strerror}; the same command goes on from the "
                "last checkpoint"
            ) from None

    def _plot(self, prefix: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if self._board is not None:
                self._to_board(self._board.add_scalar, prefix + name, value, step)

    def _to_board(self, write: Callable[..., None], *arguments: Any) -> None:
        """Its files are a convenience: where they cannot be written, the run goes on without."""
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


def _cut(path: Path, step: int) -> None:
    """Keeps the lines of the first ``step`` steps, in one piece."""
    # A profile is named by the steps before it: that of `step` is measured in the next one.
    kept = [r for r in read_metrics(path) if r["step"] + ("layer_entropy" in r) <= step]
    write_file(path, "".join(json.dumps(row) + "\n" for row in kept))


def _open_board(run_dir: Path, step: int) -> Any:
    """A TensorBoard writer into the run's folder, or None, said once, without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOG.info("tensorboard is not installed: the run is logged to %s alone", METRICS_NAME)
        return None
    try:
        return SummaryWriter(str(run_dir / "tensorboard"), purge_step=step)
    except OSError as error:
        _LOG.warning("no TensorBoard files: %s", error)
        return None
