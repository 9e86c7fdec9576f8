# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM as a flag that a loop looks at, so that every program here ends in order."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Context manager: inside it the two signals only set `is_set`; the old handlers come back.

    rclpy has to be initialised with ``SignalHandlerOptions.NO`` beside it. Main thread only.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True
        self.number = number

    def raise_if_set(self) -> None:
        """Raises KeyboardInterrupt once one of the signals has come."""
        if self.is_set:
            raise KeyboardInterrupt

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
