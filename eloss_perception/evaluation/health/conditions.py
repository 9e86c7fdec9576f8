# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs that are compared: clean scans, and each corruption at each severity."""

from __future__ import annotations

import inspect
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.simulation import corruptions
from eloss_perception.simulation.corruptions import CORRUPTIONS, corrupt

PointArray = NDArray[np.float32]

# The one severity of a mistake without degree.
_ONLY_SEVERITY = 5


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """What is done to the scans; severity 0 is nothing.

    Attributes:
        name: Key of `CORRUPTIONS`, or `clean`.
        severity: 1 to 5; 0 for clean.
    """

    name: str
    severity: int

    @property
    def label(self) -> str:
        """Such as `fog:3`, the notation of the player."""
        return f"{self.name}:{self.severity}" if self.severity else self.name


CLEAN = Condition("clean", 0)


def list_conditions(
    names: Sequence[str], severities: Sequence[int], in_sequence: bool = False
) -> list[Condition]:
    """Return clean and the conditions that can be seen.

    A corruption without degree has one condition whatever severities are asked for; one that shows
    only between scans has none where each scan stands for itself.
    """
    conditions = [CLEAN]
    for name in names:
        corruption = CORRUPTIONS[name]
        if corruption.needs_previous and not in_sequence:
            continue
        chosen = severities if corruption.has_degree else (_ONLY_SEVERITY,)
        conditions += [Condition(name, severity) for severity in chosen]
    return conditions


def is_repetition(condition: Condition) -> bool:
    """Return whether a condition is the scan before, over and over."""
    return condition.severity > 0 and CORRUPTIONS[condition.name].needs_previous


def apply_condition(
    condition: Condition,
    points: PointArray,
    seed: int,
    source: str,
    index: int,
    previous: PointArray | None = None,
    in_sequence: bool = False,
) -> PointArray:
    """Return the scan under a condition.

    Args:
        condition: What to do.
        points: (N, 4) float32 clean scan.
        seed: Of the benchmark.
        source: Name of the frame's source; no two are corrupted alike.
        index: Of the frame; each is corrupted differently, but for what persists in a sequence.
        previous: The clean scan before it, in a sequence.
        in_sequence: Whether the frames follow each other.
    """
    if condition.severity == 0:
        return points
    if in_sequence and CORRUPTIONS[condition.name].is_persistent:
        index = 0
    # Python's own hash of a string differs from run to run.
    names = (zlib.crc32(text.encode()) for text in (source, condition.name))
    key = [seed, *names, condition.severity, index]
    drawn = int(np.random.SeedSequence(key).generate_state(1)[0])
    return corrupt(points, condition.name, condition.severity, drawn, previous)


def source_of(condition: Condition) -> str:
    """Return the source text that makes a condition: what is kept of it is void once it changes."""
    if condition.severity == 0:
        return ""
    found: dict[str, str] = {}
    _add_sources(CORRUPTIONS[condition.name].apply.__module__, found)
    return "".join(found[name] for name in sorted(found))


def _add_sources(name: str, found: dict[str, str]) -> None:
    """Add a module of the corruptions and those whose parts it uses."""
    if name in found or not name.startswith(corruptions.__name__):
        return
    module = sys.modules[name]
    found[name] = inspect.getsource(module)
    for value in vars(module).values():
        _add_sources(getattr(value, "__module__", None) or "", found)
