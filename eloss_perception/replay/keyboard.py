# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Single key presses from a terminal, without waiting and without return."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any


class Keyboard:
    """Context manager: the terminal hands over keys at once; it is as before afterwards.

    Where standard input is no terminal, or another process group holds it, no key is ever pressed.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._previous: list[Any] = []

    def __enter__(self) -> Keyboard:
        try:
            descriptor = sys.stdin.fileno()
            # A background job that touched its terminal would be stopped by SIGTTOU.
            if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp():
                self._previous = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor)
                self._descriptor = descriptor
        except (OSError, ValueError, termios.error):
            self._descriptor = None
        return self

    def pressed(self) -> str:
        """Returns the keys pressed since the last call, without waiting."""
        if self._descriptor is None or not select.select([self._descriptor], [], [], 0)[0]:
            return ""
        return os.read(self._descriptor, 64).decode(errors="ignore")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._previous)
