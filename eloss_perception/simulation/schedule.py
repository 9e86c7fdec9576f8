# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When the sensor of a recording is degraded: `fog:3@5s-10s` is fog from second 5 to 10."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import ConfigError
from eloss_perception.simulation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

_WINDOW = re.compile(
    r"(?P<name>[^:@]+)(?::(?P<severity>[^@]+))?(?:@(?P<start>[\d.]+)s?-(?P<end>[\d.]+)?s?)?"
)
_SYNTAX = "expected NAME[:SEVERITY][@STARTs-ENDs], such as fog:3@5s-10s"
DEFAULT_SEVERITY = 3


@dataclass(frozen=True, slots=True)
class CorruptionWindow:
    """One corruption and when it applies.

    Attributes:
        name: One of ``CORRUPTIONS``.
        severity: 1 to 5.
        start_s: First moment, in seconds since the start of the recording.
        end_s: First moment without it again; infinity for "to the end".
    """

    name: str
    severity: int
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        if self.name not in CORRUPTIONS:
            raise ConfigError(
                f"unknown corruption {self.name!r}; valid are {', '.join(sorted(CORRUPTIONS))}"
            )
        if self.severity not in SEVERITIES:
            raise ConfigError(
                f"severity of {self.name} is {self.severity}; valid are 1, 2, 3, 4, 5"
            )
        if not 0.0 <= self.start_s < self.end_s:
            raise ConfigError(
                f"{self.name} lasts from {self.start_s:g} s to {self.end_s:g} s;"
                " it has to end after it starts"
            )

    def __str__(self) -> str:
        if self.start_s == 0.0 and math.isinf(self.end_s):
            return f"{self.name}:{self.severity}"
        end = "" if math.isinf(self.end_s) else f"{self.end_s:g}s"
        return f"{self.name}:{self.severity}@{self.start_s:g}s-{end}"

    def holds(self, time_s: float) -> bool:
        """Whether the sensor is degraded at this time [s since the start of the recording]."""
        return self.start_s <= time_s < self.end_s


def parse_corruption_window(text: str) -> CorruptionWindow:
    """Reads ``NAME[:SEVERITY][@STARTs-ENDs]``: severity 3 and the whole recording by default.

    Raises:
        ConfigError: Anything else; the message names what was expected.
    """
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"corruption {text!r} is not understood; {_SYNTAX}")
    try:
        severity = int(match["severity"] or DEFAULT_SEVERITY)
        start_s = float(match["start"] or 0.0)
        end_s = float(match["end"] or math.inf)
    except ValueError:
        raise ConfigError(f"corruption {text!r} is not understood; {_SYNTAX}") from None
    return CorruptionWindow(match["name"], severity, start_s, end_s)


def corrupt_on_schedule(
    points: npt.NDArray[np.float32],
    windows: Sequence[CorruptionWindow],
    time_s: float,
    frame: int,
    seed: int = 0,
    previous: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Applies every window that holds at this time, in the order given.

    Args:
        points: (N, 4) float32 x, y, z [m, LiDAR frame] and intensity in [0, 1].
        windows: The schedule.
        time_s: Seconds since the start of the recording.
        frame: Number of the scan: what changes from scan to scan is drawn from it.
        seed: The same seed, frame and schedule give the same scan.
        previous: The clean scan before this one; None for the first.
    """
    for index, window in enumerate(windows):
        if window.holds(time_s):
            draw = 0 if CORRUPTIONS[window.name].is_persistent else frame + 1
            window_seed = int(np.random.SeedSequence([seed, index, draw]).generate_state(1)[0])
            points = corrupt(points, window.name, window.severity, window_seed, previous)
    return points


def is_stuck(windows: Sequence[CorruptionWindow], time_s: float) -> bool:
    """Whether an old scan is repeated at this time, so that no newer one becomes `previous`."""
    return any(w.holds(time_s) and CORRUPTIONS[w.name].needs_previous for w in windows)
