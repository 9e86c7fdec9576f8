# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a script of the checkout's folder `benchmarks/` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eloss_perception.benchmark.row import NotMeasuredError
from eloss_perception.errors import DataError

_FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def run_script(name: str, arguments: Sequence[str], folder: Path = _FOLDER) -> dict[str, Any]:
    """Returns what a script writes with `--json`.

    Raises:
        NotMeasuredError: There is no such script, as where the package was installed without its
            sources, or it lacks a package.
        DataError: It failed.
    """
    script = folder / name
    if not script.is_file():
        raise NotMeasuredError(f"benchmarks/{name} is in the source tree only")
    with tempfile.TemporaryDirectory(prefix="eloss_benchmark_") as scratch:
        path = Path(scratch) / "figures.json"
        done = subprocess.run(
            [sys.executable, str(script), *arguments, "--json", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if "ModuleNotFoundError" in last:
            raise NotMeasuredError(f"benchmarks/{name}: {last.partition(': ')[2]}")
        if done.returncode != 0:
            raise DataError(f"benchmarks/{name} ended with status {done.returncode}: {last}")
        try:
            figures: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"benchmarks/{name} wrote no figures: {error}") from error
    return figures
