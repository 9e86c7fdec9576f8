# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the stamps of a stream tell: the sensor's rate, and how many scans got lost on the way."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

# Steps from stamp to stamp that are looked at: 6 s at 10 Hz.
_NUM_STEPS = 64
_MIN_STEPS = 8
# With more than half of the scans lost at random, one step in five is still the sensor's period.
_PERIOD_QUANTILE = 0.2
# A longer step is a pause, a jump of the clock or a bag that begins anew.
_LONGEST_STEP_S = 10.0


@dataclass(frozen=True, slots=True)
class LostScans:
    """What stamps tell of scans that never arrived.

    Attributes:
        sensor_rate_hz: Rate of the sensor by its stamps; NaN while they do not tell.
        share: Share of its scans that were lost before the node; NaN likewise.
    """

    sensor_rate_hz: float = math.nan
    share: float = math.nan


class Arrivals:
    """Remembers the newest steps from stamp to stamp."""

    def __init__(self) -> None:
        self._steps_s: deque[float] = deque(maxlen=_NUM_STEPS)
        self._last_ns: int | None = None

    def add(self, stamp_ns: int) -> None:
        """Takes in a scan's stamp [ns]; one that does not follow the last one begins anew."""
        if self._last_ns is not None:
            step = 1e-9 * (stamp_ns - self._last_ns)
            if 0.0 < step <= _LONGEST_STEP_S:
                self._steps_s.append(step)
            else:
                self._steps_s.clear()
        self._last_ns = stamp_ns

    def lost(self) -> LostScans:
        """What they tell, once there are eight steps.

        A step of about twice the sensor's period is a scan that is missing. Where scans are lost so
        regularly that no two neighbours arrive, stamps cannot tell.
        """
        steps = np.array(self._steps_s)
        if len(steps) < _MIN_STEPS:
            return LostScans()
        shortest = np.quantile(steps, _PERIOD_QUANTILE)
        period = float(np.median(steps[steps < 1.5 * shortest]))
        num_scans = np.rint(steps / period).sum()
        return LostScans(1.0 / period, max(0.0, 1.0 - len(steps) / float(num_scans)))


class AnswerPeriod:
    """How long the next answer takes, by the last few: on the steady clock and by the stamps.

    A viewer may live in either time.
    """

    def __init__(self) -> None:
        self._steps_s: deque[float] = deque(maxlen=5)
        self._last: tuple[float, int] | None = None

    def add(self, now: float, stamp_ns: int) -> float:
        """Takes in an answer; returns the longest period of late [s], 0 before the third answer.

        Args:
            now: The steady clock [s].
            stamp_ns: The scan's stamp [ns].
        """
        if self._last is not None:
            step = now - self._last[0]
            stamp_step = 1e-9 * (stamp_ns - self._last[1])
            steps = [s for s in (step, stamp_step) if 0.0 < s <= _LONGEST_STEP_S]
            self._steps_s.append(max(steps, default=0.0))
        self._last = now, stamp_ns
        # One step alone may be a pause as well as a period.
        return max(self._steps_s) if len(self._steps_s) > 1 else 0.0
