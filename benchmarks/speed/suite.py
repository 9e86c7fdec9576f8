# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rows by name, and the loop that measures them. Nothing slow is imported here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from benchmarks.speed.machine import describe_machine
from benchmarks.speed.report import make_document
from benchmarks.speed.row import Benchmark, NotMeasuredError, Progress, Row
from benchmarks.speed.settings import BenchmarkSettings
from eloss_perception.errors import ConfigError, ElossError

BENCHMARKS = (
    *("host_time", "host_growth", "full_network", "end_to_end", "sustained_rate"),
    *("entropy_readout", "start", "memory", "gpu"),
)
"""Each is a module of this package with a `BENCHMARK`, in the order in which they are measured."""


def find_benchmark(name: str) -> Benchmark:
    """Returns a row by its name.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    found: Benchmark = import_module(f"benchmarks.speed.{name}").BENCHMARK
    return found


def run_benchmarks(
    names: Sequence[str],
    settings: BenchmarkSettings,
    progress: Progress,
    on_row: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Measures rows one after the other; one that fails does not end the others.

    Args:
        names: Of the rows.
        settings: For all of them.
        progress: Told what is going on, in few words.
        on_row: Given the whole document after each row, so that an interruption loses one row.

    Returns:
        The document, see `report.make_document`.

    Raises:
        ConfigError: A name is unknown.
    """
    chosen = {name: find_benchmark(name) for name in names}
    document = make_document(describe_machine(), settings)
    for name, benchmark in chosen.items():
        start = time.monotonic()
        try:
            row = benchmark.measure(settings, _prefixed(progress, name))
        except NotMeasuredError as error:
            row = Row(measured="not measured", note=str(error))
        except ElossError as error:
            row = Row(measured="FAILED", note=str(error), met=False)
        document["rows"].append(_entry(name, benchmark, row, time.monotonic() - start))
        on_row(document)
    return document


def _prefixed(progress: Progress, name: str) -> Progress:
    return lambda text: progress(f"{name}: {text}")


def _entry(name: str, benchmark: Benchmark, row: Row, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "what": benchmark.what,
        "against": benchmark.against,
        "bar": benchmark.bar,
        "measured": row.measured,
        "met": row.met,
        "note": row.note,
        "took_s": round(seconds, 1),
        "values": [
            {"name": value.name, "value": value.value, "unit": value.unit} for value in row.values
        ],
    }
