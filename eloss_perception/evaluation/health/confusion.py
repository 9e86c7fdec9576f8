# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the monitor's guess at the cause is right: predicted against true kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: What stands for no guess, and for a clean frame.
NONE = "none"


class Confusion(NamedTuple):
    """Counts of frames.

    Attributes:
        true_kinds: Names of the rows.
        predicted_kinds: Names of the columns.
        counts: (T, P) int64 frames.
    """

    true_kinds: tuple[str, ...]
    predicted_kinds: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Mean over the true kinds of the share guessed right: each kind counts the same."""
        shares = [
            row[self.predicted_kinds.index(kind)] / row.sum()
            if kind in self.predicted_kinds
            else 0.0
            for kind, row in zip(self.true_kinds, self.counts, strict=True)
            if row.sum()
        ]
        return float(np.mean(shares)) if shares else float("nan")


def confusion(predicted: Sequence[str], true: Sequence[str]) -> Confusion:
    """Count guesses against truth; the empty text counts as `none`.

    Kinds are in alphabetical order with `none` last, a column for each kind that was guessed or is
    true.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} guesses for {len(true)} frames")
    guesses = [kind or NONE for kind in predicted]
    truths = [kind or NONE for kind in true]

    def ordered(kinds: set[str]) -> tuple[str, ...]:
        return tuple(sorted(kinds, key=lambda kind: (kind == NONE, kind)))

    rows, columns = ordered(set(truths)), ordered({*guesses, *truths})
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for guess, truth in zip(guesses, truths, strict=True):
        counts[rows.index(truth), columns.index(guess)] += 1
    return Confusion(rows, columns, counts)


def confusion_lines(matrix: Confusion) -> list[str]:
    """Return the table: a row for each true kind, shares in percent, the number of frames last."""
    width = max(len(kind) for kind in (*matrix.true_kinds, "true")) + 2
    columns = [f"{kind[:10]:>11}" for kind in matrix.predicted_kinds]
    lines = [f"{'true':<{width}}" + "".join(columns) + f"{'frames':>9}"]
    for kind, row in zip(matrix.true_kinds, matrix.counts, strict=True):
        total = int(row.sum())
        cells = "".join(f"{100.0 * count / total:>10.0f}%" for count in row)
        lines.append(f"{kind:<{width}}{cells}{total:>9}")
    lines.append(f"mean share guessed right: {100.0 * matrix.accuracy:.0f} %")
    return lines


def kinds_of(names: Sequence[str], kind_of: Mapping[str, str]) -> list[str]:
    """Return the kind of each cause; one without a kind, such as `unknown`, is its own."""
    return [kind_of.get(name, name) for name in names]
