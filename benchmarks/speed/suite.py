# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rows by name, the loop that measures them, and the result as JSON and as text.

Nothing slow is imported here. The text is for a terminal of 100 columns.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.speed.machine import describe_machine
from benchmarks.speed.rows import Benchmark, BenchmarkSettings, NotMeasuredError, Progress, Row
from eloss_perception.errors import ConfigError, ElossError
from eloss_perception.files import write_file

BENCHMARKS = {
    "host_time": "host_rows",
    "host_growth": "host_rows",
    "full_network": "full_network",
    "end_to_end": "ros_rows",
    "sustained_rate": "ros_rows",
    "entropy_readout": "entropy_readout",
    "start": "ros_rows",
    "memory": "ros_rows",
    "gpu": "gpu",
}
"""Row -> the module of this package that has it in its `BENCHMARKS`, in the order measured."""

FORMAT_VERSION = 1
_WIDTH = 100
_MET = {True: "yes", False: "NO", None: "-"}


def find_benchmark(name: str) -> Benchmark:
    """Returns a row by its name.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    found: Benchmark = import_module(f"benchmarks.speed.{BENCHMARKS[name]}").BENCHMARKS[name]
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
        The document, see `make_document`.

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
        except ModuleNotFoundError as error:
            row = Row(measured="not measured", note=f"needs {error.name}, which is not installed")
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


def make_document(
    machine: Mapping[str, str | int | float], settings: BenchmarkSettings
) -> dict[str, Any]:
    """Returns a document without rows.

    It holds `format_version`; `machine`, as `machine.describe_machine` tells; `settings`; and
    `rows`, each with name, what, against, bar, measured (text), met (true, false or null where that
    cannot be said), note, took_s and values (name, value, unit).
    """
    # A folder's own name says which bundle; where it lies is nobody's business.
    named = settings.model_dump()
    named |= {key: value.name for key, value in named.items() if isinstance(value, Path)}
    return {
        "format_version": FORMAT_VERSION,
        "machine": dict(machine),
        "settings": named,
        "rows": [],
    }


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the document as JSON.

    Raises:
        DataError: The file cannot be written.
    """
    write_file(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def machine_lines(machine: Mapping[str, str | int | float]) -> list[str]:
    """The machine in a few lines."""
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items())
    return textwrap.wrap(text, _WIDTH)


def row_lines(row: Mapping[str, Any]) -> list[str]:
    """One row with all of its figures."""
    title = f"{row['name']}: {row['what']}, against {row['against']} ({row['took_s']:g} s)"
    lines = textwrap.wrap(title, _WIDTH, subsequent_indent="  ")
    for text in (f"{row['measured']}; bar {row['bar']}: {_MET[row['met']]}", row["note"]):
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    figures = [
        f"{value['name']} {value['value']:g} {value['unit']}".rstrip()
        if isinstance(value["value"], float | int)
        else f"{value['name']} {value['value']}"
        for value in row["values"]
    ]
    text = "; ".join(figure.replace(" ", "\N{NO-BREAK SPACE}") for figure in figures)
    wrapped = textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return lines + [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All rows, one or two lines each."""
    name_width = max([len(row["name"]) for row in rows] + [4])
    bar_width, met_width = 34, 4
    measured_width = _WIDTH - name_width - bar_width - met_width - 6
    widths = (name_width, measured_width, bar_width, met_width)

    def line(cells: Sequence[str]) -> str:
        pairs = zip(cells, widths, strict=True)
        return "  ".join(cell.ljust(width) for cell, width in pairs).rstrip()

    lines = [line(("row", "measured", "bar", "met")), line(["-" * width for width in widths])]
    for row in rows:
        measured = row["measured"]
        if row["met"] is None and row["note"]:
            measured += f": {row['note']}"
        columns = [
            [row["name"]],
            textwrap.wrap(measured, measured_width),
            textwrap.wrap(row["bar"], bar_width),
            [_MET[row["met"]]],
        ]
        for i in range(max(map(len, columns))):
            lines.append(line([column[i] if i < len(column) else "" for column in columns]))
    return lines
