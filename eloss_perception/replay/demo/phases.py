# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A drive of the demo in phases: what was wrong with the sensor, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from eloss_perception.replay.demo.record import Frame


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive scans under the same condition."""

    title: str
    frames: tuple[Frame, ...]

    @property
    def start_s(self) -> float:
        """When it begins [s]."""
        return self.frames[0].time_s


def phases_of(frames: Sequence[Frame]) -> list[Phase]:
    """Groups a drive by what was wrong with its sensor."""
    phases: list[Phase] = []
    for condition, group in groupby(frames, key=lambda frame: frame.condition):
        title = condition or ("recovery" if phases else "clean")
        phases.append(Phase(title, tuple(group)))
    return phases
