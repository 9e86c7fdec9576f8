# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Progress and tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")


def track(items: Iterable[_Item], total: int, unit: str) -> Iterator[_Item]:
    """Yield the items while stderr shows how far along they are."""
    with progress_bar(total, unit) as advance:
        for done, item in enumerate(items, start=1):
            yield item
            advance(done)


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, none in a log; yields what is to be told how many are done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # Nice to have, not worth an installation.
        yield lambda done: _show(f"\r{done}/{total} {unit}")
        _show("\r\033[K")
        return
    with tqdm(total=total, unit=f" {unit}", leave=False) as bar:

        def advance(done: int) -> None:
            bar.update(done - bar.n)

        yield advance


def say(text: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(text + "\n")


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
