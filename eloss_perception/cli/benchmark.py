# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss benchmark`: how fast everything is here, each row against its acceptance criterion."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eloss_perception.cli.parsing import (
    Subparsers,
    add_command,
    positive_float,
    positive_int,
    seed,
    settings_from,
)
from eloss_perception.cli.terminal import say, status_line
from eloss_perception.errors import ConfigError

if TYPE_CHECKING:
    from benchmarks.speed.rows import BenchmarkSettings

EXIT_FAILED = 1


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "benchmark",
        run,
        "measure how fast everything is on this machine",
        details=(
            "Each row is compared with something measured side by side in the same run, and with\n"
            "an acceptance criterion. Rows: host_time, host_growth, full_network, end_to_end,\n"
            "sustained_rate, entropy_readout, start, memory (ten minutes) and gpu. Those through\n"
            "ROS 2 start player and detector node as processes, as on a vehicle. What a row\n"
            "lacks here, a bundle, a runtime or a GPU, it says. All take about 16 minutes,\n"
            "--quick some."
        ),
        example=(
            "eloss benchmark --json benchmark.json\n"
            "eloss benchmark --only host_time sustained_rate\n"
            "eloss benchmark --quick --only end_to_end --full-int8-bundle models/mine_int8"
        ),
    )
    add = parser.add_argument
    add("--json", type=Path, metavar="FILE", help="write machine, settings and figures there")
    add("--only", nargs="+", metavar="NAME", help="these rows")
    add("--quick", action="store_true", help="short runs to see that all works; rough figures")
    bundles = parser.add_argument_group("bundles and backends")
    bundles.add_argument("--bundle", type=Path, metavar="DIR", help="light; default: the shipped")
    bundles.add_argument("--full-bundle", type=Path, metavar="DIR", help="full, float32")
    bundles.add_argument("--full-int8-bundle", type=Path, metavar="DIR", help="quantised for CPUs")
    bundles.add_argument("--full-float16-bundle", type=Path, metavar="DIR", help="for GPUs")
    bundles.add_argument("--full-int8-gpu-bundle", type=Path, metavar="DIR", help="for TensorRT")
    bundles.add_argument("--backend", metavar="NAME", help="of the light bundle, as in the node")
    bundles.add_argument("--int8-backend", metavar="NAME", help="of the quantised bundle")
    how = parser.add_argument_group("how (defaults in BenchmarkSettings)")
    how.add_argument("--cores", type=seed, metavar="N", help="that all share (default: 2; 0: all)")
    how.add_argument(
        "--threads", dest="num_threads", type=positive_int, metavar="N", help="of a network"
    )
    how.add_argument(
        "--frames", dest="num_frames", type=positive_int, metavar="N", help="timed, of each network"
    )
    how.add_argument("--seconds", type=positive_float, metavar="S", help="end to end")
    how.add_argument("--minutes", type=positive_float, metavar="MIN", help="of memory")
    how.add_argument("--output", type=Path, metavar="DIR", help="drive and logs: runs/benchmark")


def run(args: argparse.Namespace) -> int:
    """Measure, print each row as it is done, then the table; 1 if a row failed.

    Raises:
        ConfigError: This is no checkout: what measures is not installed.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "benchmarks" / "speed").is_dir():
        raise ConfigError(
            "what measures is in the source tree only: run ./run eloss benchmark there"
        )
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    from benchmarks.speed.machine import use_cores
    from benchmarks.speed.suite import (
        BENCHMARKS,
        machine_lines,
        row_lines,
        run_benchmarks,
        table_lines,
        write_document,
    )

    settings = _settings(args)
    use_cores(settings.cores)

    def on_row(document: dict[str, Any]) -> None:
        if len(document["rows"]) == 1:
            say("\n".join(machine_lines(document["machine"])))
        say("\n" + "\n".join(row_lines(document["rows"][-1])))
        if args.json is not None:
            write_document(args.json, document)

    with status_line() as show:
        document = run_benchmarks(args.only or list(BENCHMARKS), settings, show, on_row)
    say("\n" + "\n".join(table_lines(document["rows"])))
    return EXIT_FAILED if any(row["measured"] == "FAILED" for row in document["rows"]) else 0


def _settings(args: argparse.Namespace) -> BenchmarkSettings:
    """Returns the settings that the command line changes, checked."""
    from benchmarks.speed.rows import QUICK, BenchmarkSettings

    names = (
        "bundle",
        "full_bundle",
        "full_int8_bundle",
        "full_float16_bundle",
        "full_int8_gpu_bundle",
        "backend",
        "int8_backend",
        "cores",
        "num_threads",
        "num_frames",
        "seconds",
        "minutes",
        "output",
    )
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return settings_from(BenchmarkSettings, (QUICK if args.quick else {}) | given)
