# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A row of the benchmark: what it is called, what it must reach, and how it is measured.

A new row is a file with a `BENCHMARK` and a line in `suite.BENCHMARKS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import SupportsFloat

from benchmarks.speed.settings import BenchmarkSettings
from eloss_perception.errors import ElossError

Progress = Callable[[str], None]
"""Called with what is being measured right now."""


class NotMeasuredError(ElossError):
    """A row has no result on this machine or with these files; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Value:
    """One figure of a row.

    Raises:
        ValueError: If it is not finite: a benchmark that divides by zero has measured nothing.
    """

    name: str
    value: float | int | str
    unit: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured.

    Attributes:
        measured: The result in a few words, for the table.
        values: All figures.
        met: Whether the bar was reached; None where that cannot be said.
        note: What a reader has to know beside the figures.
    """

    measured: str
    values: tuple[Value, ...] = ()
    met: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A row before it is measured.

    Attributes:
        what: What is measured.
        against: What it is compared with.
        bar: What it has to reach.
        measure: Measures; raises `NotMeasuredError` where that is not possible.
    """

    what: str
    against: str
    bar: str
    measure: Callable[[BenchmarkSettings, Progress], Row] = field(repr=False)


def milliseconds(name: str, value: SupportsFloat) -> Value:
    """A duration, to a microsecond."""
    return Value(name, round(float(value), 3), "ms")


def ratio(name: str, value: float) -> Value:
    """A quotient of two figures of one run."""
    return Value(name, round(float(value), 3), "x")
