# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The progress of a build, which takes minutes on a Jetson."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# Called with the name of a phase and the share of it that is done, in [0, 1]. The share never falls
# while the name stays the same.
Progress: TypeAlias = Callable[[str, float], None]

_LOG = logging.getLogger(__name__)
_LOG_PERIOD_S = 5.0


class LoggedProgress:
    """Logs a line every few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = clock() + _LOG_PERIOD_S

    def __call__(self, phase: str, share: float) -> None:
        """Logs the share done, if it is time."""
        now = self._clock()
        if now >= self._next_s:
            self._next_s = now + _LOG_PERIOD_S
            _LOG.info("TensorRT engine: %s, %d %%", phase, int(100 * share))


@dataclass
class _Phase:
    num_steps: int
    parent: str | None
    done: int = 0
    children: list[str] = field(default_factory=list)


class PhaseTree:
    """The progress of TensorRT's nested phases; called from any of its threads.

    A phase that runs inside a step of another one counts as a part of that step.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._shown: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, num_steps: int) -> None:
        """A phase begins."""
        with self._lock:
            known = parent if parent in self._phases else None
            self._phases[name] = _Phase(max(1, num_steps), known)
            if known is not None:
                self._phases[known].children.append(name)
        self._report(name)

    def step(self, name: str) -> None:
        """A step of a phase is done."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = min(phase.done + 1, phase.num_steps)
        self._report(name)

    def finish(self, name: str) -> None:
        """A phase ends, maybe before all of its steps are done."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is None:
                return
            if phase.parent in self._phases:
                self._phases[phase.parent].children.remove(name)
                return
        self._show(name, 1.0)

    def _report(self, name: str) -> None:
        with self._lock:
            while (phase := self._phases.get(name)) is not None and phase.parent in self._phases:
                name = phase.parent
            share = self._share(name)
        self._show(name, share)

    def _share(self, name: str) -> float:
        phase = self._phases.get(name)
        if phase is None:
            return 0.0
        inside = max((self._share(child) for child in phase.children), default=0.0)
        return min(1.0, (phase.done + inside) / phase.num_steps)

    def _show(self, name: str, share: float) -> None:
        with self._lock:
            shown = self._shown[name] = max(share, self._shown.get(name, 0.0))
        self._progress(name[:1].lower() + name[1:], shown)


class BuildWatch:
    """Passes on a build's progress, and cancels the build if that raises, as Ctrl-C does.

    An exception must not pass through TensorRT, which is C++: it is kept meanwhile.

    Attributes:
        monitor: The object for TensorRT's builder configuration.
        interrupt: The exception that was raised.
    """

    def __init__(self, trt: Any, progress: Progress) -> None:
        self.interrupt: BaseException | None = None
        self._tree = PhaseTree(progress)
        self.monitor = _monitor_type(trt)(self)

    def tell(self, tell: Callable[[PhaseTree], None]) -> bool:
        """Updates the tree; returns False to cancel the build."""
        if self.interrupt is None:
            try:
                tell(self._tree)
            except BaseException as error:  # see the class
                self.interrupt = error
        return self.interrupt is None


def _monitor_type(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self, watch: BuildWatch) -> None:
            trt.IProgressMonitor.__init__(self)
            self._watch = watch

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._watch.tell(lambda tree: tree.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._watch.tell(lambda tree: tree.step(phase_name))

        def phase_finish(self, phase_name: str) -> None:
            self._watch.tell(lambda tree: tree.finish(phase_name))

    return Monitor
