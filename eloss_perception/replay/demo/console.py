# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a long-running command tells its user: lines that stay, and one line that changes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TextIO

from eloss_perception.interrupts import check_interrupt

_REFRESH_S = 0.2
_CLEAR_LINE = "\r\033[K"


class Console:
    """Text for a person on a terminal; in a log the changing line is left out.

    Args:
        stream: Where to write; standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._has_status = False
        self._next_status = 0.0

    def line(self, text: str = "") -> None:
        """Writes a line that stays."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def status(self, text: str) -> None:
        """Replaces the changing line, where there is a terminal.

        Raises:
            KeyboardInterrupt: After a signal; this is where a command looks for one.
        """
        check_interrupt()
        now = time.monotonic()
        if not self._is_terminal or now < self._next_status:
            return
        self._next_status = now + _REFRESH_S
        self._has_status = True
        self._stream.write(f"{_CLEAR_LINE}{text}")
        self._stream.flush()

    def progress(self, what: str, done: int, total: int) -> None:
        """Shows how far something has come."""
        filled = round(24 * done / max(total, 1))
        self.status(f"{what}  [{'#' * filled:<24}] {done}/{total}")

    def clear(self) -> None:
        """Removes the changing line."""
        if self._has_status:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._has_status = False
        self._next_status = 0.0


def shown(path: Path) -> str:
    """Returns the path as its reader would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
