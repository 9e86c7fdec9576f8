# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers in a JSON file: finite ones rounded, all others null, as the standard wants it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eloss_perception.evaluation.health.statistics import Estimate
from eloss_perception.files import write_file

# Enough that no two different scores of a double become one in practice.
_DIGITS = 7


def number(value: float) -> float | None:
    """Return a number for JSON."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return numbers for JSON."""
    return [number(float(value)) for value in values]


def interval(value: Estimate) -> dict[str, float | None]:
    """Return an estimate for JSON."""
    return {"value": number(value.value), "low": number(value.low), "high": number(value.high)}


def scores_of(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Read back scores; a null was infinite: as far from normal as can be."""
    return np.array([math.inf if value is None else value for value in values], np.float64)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file and its folder.

    Raises:
        DataError: If it cannot be written.
    """
    write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
