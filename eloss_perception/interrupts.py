# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM as a flag that long loops look at: the one way in which a command is stopped.

Python's own way, an exception raised wherever the main thread happens to be, is lost where compiled
code or a finaliser is in between, and may strike in the middle of a write. Here the handler only
notes the signal; :func:`check_interrupt` in every long loop turns it into KeyboardInterrupt at a
place where stopping loses nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# A terminal and a launcher may each send the signal for one Ctrl-C. Only a later one is a person who
# has lost patience.
_IMPATIENCE_S = 1.0

# How long a wait goes on before it looks at the flag.
_STEP_S = 0.05


class StopSignal:
    """Context manager: inside it the two signals only set a flag; the old handlers come back.

    A second signal, at least a second after the first, ends the process at once with the exit
    status that shells report for it. In any thread but the main one nothing is caught, since Python
    delivers signals to the main thread alone. rclpy has to be initialised with
    ``SignalHandlerOptions.NO`` beside it.

    Attributes:
        number: The signal that came; None while there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._first_time = 0.0
        self._previous: dict[int, Any] = {}
        self._outer: StopSignal | None = None

    @property
    def is_set(self) -> bool:
        """Whether a signal has come, here or in a `StopSignal` around this one."""
        return self.number is not None or (self._outer is not None and self._outer.is_set)

    def raise_if_set(self) -> None:
        """Raises KeyboardInterrupt once one of the signals has come."""
        if self.is_set:
            raise KeyboardInterrupt

    def __enter__(self) -> StopSignal:
        global _current
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
            self._outer, _current = _current, self
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._first_time = number, now
        elif now - self._first_time >= _IMPATIENCE_S:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nstopped at once\n")
            os._exit(128 + number)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        if self._previous:
            _current = self._outer
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


_current: StopSignal | None = None


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if a signal has come; to be called in every long loop.

    Costs a comparison. Outside a `StopSignal` (the package used as a library) it does nothing.
    """
    if _current is not None:
        _current.raise_if_set()


def pause(seconds: float) -> None:
    """Sleeps, and looks at the flag meanwhile.

    Raises:
        KeyboardInterrupt: If a signal has come.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0.0:
        check_interrupt()
        time.sleep(min(left, _STEP_S))
    check_interrupt()
