# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A backend that recovers: loaded again after it failed, with a fallback meanwhile.

A frame on which a backend fails is lost, and reported. After several such frames in a row the
backend is closed and loaded again in a thread of its own. Until that is done, which takes effect
between frames, scans are answered by the fallback or, without one, with the reason.

A backend that does not return from a frame cannot be stopped, only left behind with the thread
that waits for it, and loaded a second time. Should it return after all, it is closed then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends import Auto
from eloss_perception.runtime.backends.base import Backend, CountedPillars, NetworkOutputs

_LOG = logging.getLogger(__name__)

# Lack of memory passes in a second, the replacement of a driver in minutes.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
# Frames in a row after which a backend counts as healthy again.
_NUM_HEALTHY_FRAMES = 100


@dataclass(frozen=True, slots=True)
class BackendState:
    """What runs the network.

    Attributes:
        name: The backend that takes the next frame; empty while there is none.
        description: Its runtime, version and device.
        fault: Why it is not the one that was asked for; empty if it is.
        num_failures: Frames lost because a backend failed on them or there was none.
        num_reloads: Times that a backend was loaded again.
    """

    name: str
    description: str
    fault: str = ""
    num_failures: int = 0
    num_reloads: int = 0


class RecoveringBackend:
    """Backends in order of preference; see :class:`eloss_perception.runtime.backends.base.Backend`.

    All methods but `state` and `leave_behind` are called by the thread that runs the frames.
    """

    def __init__(
        self,
        load: Callable[[str], Backend],
        names: Sequence[str],
        max_failures: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Loads all of them: a fallback is known to work before it is needed.

        Args:
            load: Loads a backend by name and runs it once.
            names: The backend asked for and, optionally, others that may stand in for it.
            max_failures: Failed frames in a row after which a backend is loaded again.
            clock: Steady clock [s].

        Raises:
            BackendError: If one cannot be loaded.
        """
        self._load = load
        self._max_failures = max_failures
        self._clock = clock
        self._num_failures = 0
        self._num_reloads = 0
        self._slots: list[_Slot] = []
        self._lock = threading.Lock()  # guards `_calling` and the backend of its slot
        self._calling: Backend | None = None
        try:
            for name in names:
                backend = load(name)
                if isinstance(backend, Auto):
                    name = backend.name  # the same one is to be loaded again
                if any(slot.name == name for slot in self._slots):
                    _LOG.warning("there is no fallback: %s was chosen by auto", name)
                    backend.close()
                    continue
                self._slots.append(_Slot(name, backend))
        except BaseException:
            self.close()
            raise
        self._slot = self._slots[0]
        self._state = self._look()

    @property
    def state(self) -> BackendState:
        """What runs now, for any thread."""
        return self._state

    @property
    def description(self) -> str:
        """Runtime, version and device actually used."""
        return self._state.description

    def pillarize(self, points: npt.NDArray[np.float32]) -> CountedPillars:
        """Starts a frame on the best backend that is loaded."""
        self._recover()
        ready = [slot for slot in self._slots if slot.backend is not None]
        if not ready:
            self._num_failures += 1
            self._state = self._look()
            raise BackendError(self._state.fault)
        self._slot = ready[0]
        with self._counting_failures() as backend:
            return backend.pillarize(points)

    def run(self, pillars: Any) -> NetworkOutputs:
        """Runs the frame where it was started."""
        with self._counting_failures() as backend:
            outputs = backend.run(pillars)
        self._slot.succeed()
        return outputs

    def leave_behind(self, reason: str) -> None:
        """Gives up the backend that has not returned from the frame in work, if there is one.

        The next frame may then be started in another thread; the thread that waits for this backend
        gets a BackendError if it ever returns.

        Args:
            reason: What is wrong with it.
        """
        with self._lock:
            slot = next((slot for slot in self._slots if slot.backend is self._calling), None)
            if self._calling is None or slot is None:
                return
            self._calling = slot.backend = None
            slot.reason = reason
            slot.wait(self._clock())
            self._num_failures += 1
        self._change(f"{slot.name} hangs")

    def close(self) -> None:
        """Frees the networks; one that is being loaded is freed when that is done."""
        for slot in self._slots:
            if slot.loading is not None:
                slot.loading.add_done_callback(partial(_close_loaded, slot.name))
            slot.unload()

    @contextmanager
    def _counting_failures(self) -> Iterator[Backend]:
        slot, backend = self._slot, self._slot.backend
        if backend is None:
            raise BackendError(f"{slot.name} was unloaded within a frame")
        self._calling = backend
        try:
            yield backend
        except BaseException as error:
            self._end_call(slot, backend, error)
            raise
        self._end_call(slot, backend)

    def _end_call(self, slot: _Slot, backend: Backend, error: BaseException | None = None) -> None:
        with self._lock:
            is_left_behind = slot.backend is not backend
            if not is_left_behind:
                self._calling = None
        if is_left_behind:  # nobody else refers to it any more
            _close(slot.name, backend)
            raise BackendError(f"{slot.name} came back after it had been left behind")
        if not isinstance(error, BackendError):
            return
        self._num_failures += 1
        slot.reason = str(error)
        slot.num_failures += 1
        if slot.num_failures >= self._max_failures:
            slot.unload()
            self._change(f"{slot.name} failed on {slot.num_failures} frames in a row")
            slot.wait(self._clock())
        self._state = self._look()

    def _recover(self) -> None:
        """Takes over what has been loaded, and starts loading what is due."""
        for slot in self._slots:
            if slot.loading is None or not slot.loading.done():
                continue
            self._num_reloads += 1
            try:
                slot.backend = slot.loading.result()
            except BackendError as error:  # any other error is a bug, and is raised
                slot.reason = str(error)
                slot.wait(self._clock())
                self._change(f"{slot.name} cannot be loaded again")
            else:
                self._change(f"{slot.name} is loaded again")
            slot.loading = None
        if any(slot.loading is not None for slot in self._slots):
            return
        for slot in self._slots:
            if slot.backend is None and self._clock() >= slot.due:
                slot.loading = _load_in_thread(self._load, slot.name)
                return

    def _change(self, event: str) -> None:
        self._state = self._look()
        fault = self._state.fault
        _LOG.warning("%s: %s", event, fault or f"running on {self._state.name}")

    def _look(self) -> BackendState:
        down = [f"{slot.name} failed: {slot.reason}" for slot in self._slots if not slot.backend]
        running = next((slot for slot in self._slots if slot.backend), None)
        if running is None:
            fault, name, description = f"no backend runs: {'; '.join(down)}", "", ""
        else:
            name, description = running.name, running.backend.description if running.backend else ""
            is_preferred = running is self._slots[0]
            fault = "" if is_preferred else f"running on {name}: {'; '.join(down)}"
        return BackendState(name, description, fault, self._num_failures, self._num_reloads)


def state_of(backend: Backend) -> BackendState:
    """Returns what runs the network, whether or not the backend is one that recovers."""
    if isinstance(backend, RecoveringBackend):
        return backend.state
    return BackendState(type(backend).__name__, backend.description)


def leave_behind(backend: Backend, reason: str) -> None:
    """`RecoveringBackend.leave_behind`; does nothing to a backend that does not recover."""
    if isinstance(backend, RecoveringBackend):
        backend.leave_behind(reason)


class _Slot:
    """One backend: loaded, waiting to be loaded again, or being loaded."""

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self.backend: Backend | None = backend
        self.loading: Future[Backend] | None = None
        self.reason = ""
        self.due = 0.0
        self.num_failures = 0
        self._num_successes = 0
        self._pause = _FIRST_PAUSE_S

    def succeed(self) -> None:
        self.num_failures = 0
        self._num_successes += 1
        if self._num_successes == _NUM_HEALTHY_FRAMES:
            self._pause = _FIRST_PAUSE_S

    def wait(self, now: float) -> None:
        """Sets when to load again: each time later, until it has been healthy for a while."""
        self.due = now + self._pause
        self._pause = min(2.0 * self._pause, _LONGEST_PAUSE_S)
        self.num_failures = self._num_successes = 0

    def unload(self) -> None:
        backend, self.backend = self.backend, None
        if backend is not None:
            _close(self.name, backend)


def _close(name: str, backend: Backend) -> None:
    try:
        backend.close()
    except BackendError as error:
        # What failed on a frame may also fail to free its memory.
        _LOG.warning("%s could not be closed: %s", name, error)


def _load_in_thread(load: Callable[[str], Backend], name: str) -> Future[Backend]:
    future: Future[Backend] = Future()

    def work() -> None:
        try:
            backend = load(name)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(backend)

    threading.Thread(target=work, name="backend loader", daemon=True).start()
    return future


def _close_loaded(name: str, loading: Future[Backend]) -> None:
    if loading.exception() is None:
        _close(name, loading.result())
