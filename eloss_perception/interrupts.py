# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM as a flag that long loops check: how every command is stopped.

Python's own way, an exception raised wherever the main thread is, gets lost if compiled code or a
finaliser is in between, and may interrupt a write. Here the handler only notes the signal;
:func:`check_interrupt` in every long loop raises KeyboardInterrupt where stopping loses nothing.

Python runs handlers only between two steps of the main thread, so not while a network is loaded. A
thread that the signal itself wakes ends the process at once on a second signal, or if nothing has
checked the flag for a while.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# A terminal and a launcher may each send the signal for one Ctrl-C. Only a later one means that
# somebody has lost patience.
_IMPATIENCE_S = 1.0

# Longer than it takes to import torch or load a network; supervisors kill after 10 to 90 s.
_LIMIT_S = 10.0

# How often a wait checks the flag.
_STEP_S = 0.05

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class StopSignal:
    """Context manager: inside it the two signals only set a flag; the old handlers come back.

    A second signal, at least a second after the first, ends the process at once with the exit
    status that shells report for it; so does a flag that nothing looks at for `limit_s`. In any
    thread but the main one nothing is caught, since Python delivers signals to the main thread
    alone. rclpy has to be initialised with ``SignalHandlerOptions.NO`` beside it.

    Args:
        limit_s: How long the flag may go unchecked; None for ever, where ending loses work.

    Attributes:
        number: The signal that came; None while there was none.
    """

    def __init__(self, limit_s: float | None = _LIMIT_S) -> None:
        self.number: int | None = None
        self.limit_s = limit_s
        self._was_seen = False
        self._outer: StopSignal | None = None
        self._previous: dict[int, Any] = {}
        self._watch: _Watch | None = None

    @property
    def is_set(self) -> bool:
        """Whether a signal has come."""
        self._was_seen = self.number is not None
        return self._was_seen

    @property
    def exit_status(self) -> int:
        """What a program that was stopped ends with, as shells report it: 130 for Ctrl-C."""
        return 128 + (self.number or signal.SIGINT)

    def raise_if_set(self) -> None:
        """Raises KeyboardInterrupt once one of the signals has come."""
        if self.is_set:
            raise KeyboardInterrupt

    def __enter__(self) -> StopSignal:
        global _current
        if threading.current_thread() is threading.main_thread():
            self._outer, _current = _current, self
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
            if self._outer is None:
                self._watch = _Watch()
            elif self._outer.number is not None:
                self.number = self._outer.number
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
        if self._outer is not None:
            self._outer._note(number, frame)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        if not self._previous:
            return
        if self._watch is not None:
            self._watch.close()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        _current = self._outer
        if _current is not None:
            _current._was_seen |= self._was_seen


class _Watch:
    """The thread that ends the process where the main thread does not."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # Python's handler in C writes the signal's number there, whatever the main thread does.
        self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="stop_signal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        first_s: float | None = None
        number = 0
        while True:
            stop = _current
            limit_s = None if first_s is None or stop is None else stop.limit_s
            left_s = None
            if limit_s is not None and first_s is not None and stop is not None:
                left_s = first_s + limit_s - time.monotonic()
                if left_s <= 0.0 and not stop._was_seen:
                    _end_at_once(number)
            # Once the time is over the flag has been seen; now only another signal counts.
            left_s = None if left_s is not None and left_s <= 0.0 else left_s
            if not select.select([self._read], [], [], left_s)[0]:
                continue
            for came in os.read(self._read, 64):
                if came == 0:
                    return
                if came not in _SIGNALS:
                    continue
                if first_s is None:
                    first_s, number = time.monotonic(), came
                elif time.monotonic() - first_s >= _IMPATIENCE_S:
                    _end_at_once(came)

    def close(self) -> None:
        """Ends the thread."""
        signal.set_wakeup_fd(self._previous)
        os.write(self._write, b"\0")
        self._thread.join()
        os.close(self._read)
        os.close(self._write)


def _end_at_once(number: int) -> None:
    os.write(2, b"\nstopped at once\n")
    os._exit(128 + number)


_current: StopSignal | None = None


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if a signal has come; to be called in every long loop.

    Costs a comparison. Outside a `StopSignal` (the package used as a library) it does nothing.
    """
    if _current is not None:
        _current.raise_if_set()


def run_script(main: Callable[[], None]) -> int:
    """Runs a script's `main`; returns its exit status, after a signal 128 + n with one line."""
    with StopSignal() as stop:
        try:
            main()
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
        return 0 if stop.number is None else stop.exit_status


def pause(seconds: float) -> None:
    """Sleeps, checking the flag.

    Raises:
        KeyboardInterrupt: If a signal has come.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0.0:
        check_interrupt()
        time.sleep(min(left, _STEP_S))
    check_interrupt()


def leave_to_parent(worker: int = 0) -> None:
    """For a worker process: its parent handles signals, and it does not outlive its parent.

    Ctrl-C in a terminal reaches every process of the command; the parent may still need its workers
    for the step that it is in.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """For a program started by another: it gets SIGTERM when that one has ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _hold() -> None:
    """Before a fork: blocks signals until the two processes are told apart."""
    global _mask
    _mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask)


def _forget() -> None:
    """In a forked process: flag, handlers and thread belong to its parent."""
    global _current
    if _current is not None:
        _current = None
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
    _release()


_mask: set[int] = set()
os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
