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

from benchmarks.speed.row import NotMeasuredError
from eloss_perception.errors import DataError
from eloss_perception.interrupts import check_interrupt, end_with_parent

# How long a wait goes on before it looks for a signal.
_STEP_S = 0.1
_FOLDER = Path(__file__).resolve().parents[1]


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
        status, errors = _run([sys.executable, str(script), *arguments, "--json", str(path)])
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        if "ModuleNotFoundError" in last:
            raise NotMeasuredError(f"benchmarks/{name}: {last.partition(': ')[2]}")
        if status != 0:
            raise DataError(f"benchmarks/{name} ended with status {status}: {last}")
        try:
            figures: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"benchmarks/{name} wrote no figures: {error}") from error
    return figures


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Exit status and stderr of a program, which ends when this one is asked to."""
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    ) as process:
        while True:
            try:
                check_interrupt()
                _, errors = process.communicate(timeout=_STEP_S)
                return process.returncode, errors
            except subprocess.TimeoutExpired:
                continue
            except KeyboardInterrupt:
                process.terminate()
                raise
