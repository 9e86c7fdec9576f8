# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Progress and tables for the terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from eloss_perception.interrupts import check_interrupt

_Item = TypeVar("_Item")

_BAR_WIDTH = 24
_REFRESH_S = 0.1
_CLEAR_LINE = "\r\033[K"


def track(items: Iterable[_Item], total: int, unit: str) -> Iterator[_Item]:
    """Yield the items while stderr shows how far along they are; ends with a signal."""
    with progress_bar(total, unit) as advance:
        for done, item in enumerate(items, start=1):
            yield item
            advance(done)


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, none in a log; yields what is to be told how many are done.

    That is where a command looks for signals: it raises KeyboardInterrupt after one.
    """
    if not sys.stderr.isatty():
        yield lambda done: check_interrupt()
        return
    start = time.monotonic()
    shown = -math.inf

    def advance(done: int) -> None:
        nonlocal shown
        check_interrupt()
        now = time.monotonic()
        if now - shown < _REFRESH_S and done < total:
            return
        shown = now
        _show(_bar(done, total, unit, now - start))

    _show(_bar(0, total, unit, 0.0))
    try:
        yield advance
    finally:
        _show(_CLEAR_LINE)


def _bar(done: int, total: int, unit: str, elapsed_s: float) -> str:
    """Return a bar with the share done and, once it can be told, the time that is left."""
    share = min(1.0, done / total) if total else 1.0
    filled = round(share * _BAR_WIDTH)
    left = f", {math.ceil(elapsed_s * (1.0 - share) / share)} s left" if share else ""
    return f"{_CLEAR_LINE}[{'#' * filled:<{_BAR_WIDTH}}] {done}/{total} {unit}{left}"


def say(text: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Write a line to stderr: the result stands, but this has to be known of it."""
    _show(f"eloss: warning: {text}\n")


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
