# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How fast a run is: a bar, an estimate soon after the start, the time lost to waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")

# The first steps start workers, compile and fill caches; the ten after them are typical.
_SKIPPED_STEPS = 3
_MEASURED_STEPS = 10

_SHOW_EVERY_S = 0.5
# In a log file each refresh of the bar is a line.
_SHOW_EVERY_S_IN_A_LOG = 60.0


class Progress:
    """Watches the steps of a run."""

    def __init__(self, first_step: int, num_steps: int, batch_size: int, enabled: bool) -> None:
        """Shows a bar.

        Args:
            first_step: Steps already done.
            num_steps: Steps of the whole run.
            batch_size: Samples of a step.
            enabled: False in a process that leaves talking to another.
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
        """Yields the items and notes how long each let us wait."""
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
        """Notes that ``step`` steps are done; after a few says how long the rest will take."""
        now = time.perf_counter()
        self._seconds, self._last_end = now - self._last_end, now
        self._bar.set_postfix_str(self._summary(losses), refresh=False)
        self._bar.update(step - self._bar.n)
        done = step - self._first_step
        if _SKIPPED_STEPS < done <= _SKIPPED_STEPS + _MEASURED_STEPS:
            self._measured_s += self._seconds
            self._measured_waiting_s += self._waiting
            if done == _SKIPPED_STEPS + _MEASURED_STEPS and self._enabled:
                tqdm.write(self.estimate(step), file=sys.stderr)

    def timings(self) -> dict[str, float]:
        """Of the last step: ``seconds``, ``seconds_waiting`` for data of them, ``samples``."""
        return {
            "seconds": self._seconds,
            "seconds_waiting": self._waiting,
            "samples": float(self._batch_size),
        }

    def pause(self) -> None:
        """Leaves what happened since the step's end, such as a validation, out of all times."""
        self._last_end = time.perf_counter()

    def estimate(self, step: int) -> str:
        """How long the rest of the run will take, from the steps measured."""
        per_step = self._measured_s / _MEASURED_STEPS
        left = per_step * (self._num_steps - step)
        return (
            f"{self._num_steps - step} steps will take about {in_words(left)} on this machine: "
            f"{self._batch_size / per_step:.1f} samples/s, "
            f"{self._measured_waiting_s / self._measured_s:.0%} of the time waiting for data"
        )

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def _summary(self, losses: dict[str, float]) -> str:
        terms = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        seconds = max(self._seconds, 1e-9)
        rate, waiting = self._batch_size / seconds, self._waiting / seconds
        return f"{terms}, {rate:.1f} samples/s, {waiting:.0%} waiting"


def in_words(seconds: float) -> str:
    """A duration as people say it: ``40 seconds``, ``52 minutes``, ``3.5 hours``."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
