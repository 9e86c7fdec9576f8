# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lines, tables and progress in the terminal.

rich draws them. A vehicle may not have it: tables are plain there, and progress is not shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from eloss_perception.interrupts import check_interrupt

_Item = TypeVar("_Item")

_REFRESH_S = 0.1
_LOG_COLUMNS = 1000


def say(text: str = "") -> None:
    """Writes a line to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Writes a warning to stderr: the result stands, but with this caveat."""
    sys.stderr.write(f"eloss: warning: {text}\n")
    sys.stderr.flush()


def say_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table to stdout: the first column to the left, all others to the right."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
    except ModuleNotFoundError:
        say("\n".join("\t".join(row) for row in [header, *rows]))
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Without a terminal rich would wrap at 80 columns.
    width = None if sys.stdout.isatty() else _LOG_COLUMNS
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)


def track(items: Iterable[_Item], total: int, unit: str) -> Iterator[_Item]:
    """Yields the items while stderr shows how many are done; ends with a signal."""
    with progress_bar(total, unit) as advance:
        for done, item in enumerate(items, start=1):
            yield item
            advance(done)


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Shows a bar on stderr, none in a log; yields what is to be told how many are done.

    That is where a command looks for signals: it raises KeyboardInterrupt after one.
    """
    with _live_line(unit, total) as update:
        yield lambda done: update(completed=done)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Yields what replaces a line of text on stderr, none in a log; looks for signals as well."""
    with _live_line("", None) as update:
        yield lambda text: update(description=text)


@contextmanager
def _live_line(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Yields what updates a line on stderr: text, with a bar before it where there is a total."""
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
    except ModuleNotFoundError:
        is_shown = False
    else:
        is_shown = sys.stderr.isatty()
    if not is_shown:
        yield lambda **fields: check_interrupt()
        return

    class CursorConsole(Console):
        def show_cursor(self, show: bool = True) -> bool:
            """Leaves the cursor alone: a process that is killed could not bring it back."""
            return False

    text = TextColumn("{task.description}", markup=False)
    columns: list[ProgressColumn] = [text]
    if total is not None:
        columns = [BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn(compact=True)]
    next_s = 0.0
    with Progress(
        *columns,
        console=CursorConsole(stderr=True),
        transient=True,
        auto_refresh=False,  # no thread beside forks and signals
        redirect_stdout=sys.stdout.isatty(),  # or what goes into a file would come to the terminal
    ) as progress:
        task = progress.add_task(description, total=total)

        def update(**fields: Any) -> None:
            nonlocal next_s
            check_interrupt()
            progress.update(task, **fields)
            if time.monotonic() >= next_s or fields.get("completed") == total:
                next_s = time.monotonic() + _REFRESH_S
                progress.refresh()

        yield update
