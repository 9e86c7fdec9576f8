# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector node knows of itself: counts, durations, and what the scans' stamps tell."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.monitor import HealthReport

# Steps between stamps that are remembered: 6 s at 10 Hz.
_NUM_STEPS = 64
_MIN_STEPS = 8
# With more than half of the scans lost at random, one step in five is still the sensor's period.
_PERIOD_QUANTILE = 0.2
# A longer step is a pause, a jump of the clock or a bag that starts again.
_LONGEST_STEP_S = 10.0


class LostScans(NamedTuple):
    """Scans that never arrived, estimated from the stamps of those that did.

    Attributes:
        sensor_rate_hz: Rate of the sensor by its stamps; NaN while unknown.
        share: Share of its scans that were lost before the node; NaN while unknown.
    """

    sensor_rate_hz: float = math.nan
    share: float = math.nan


class Durations(NamedTuple):
    """Where the time of one answered scan went, as in `ProcessingTime.msg` [ms]."""

    preprocess_ms: float = math.nan
    inference_ms: float = math.nan
    postprocess_ms: float = math.nan
    health_ms: float = math.nan
    total_ms: float = math.nan
    pipeline_latency_ms: float = math.nan


@dataclass
class DetectorStatus:
    """Counts since the node became active, and the figures of the newest frame.

    `num_received` is the sum of the answered, replaced, malformed and failed scans, of the one that
    may be waiting and of the one that may be in work. What the middleware lost before is in no
    count; `lost` estimates it.

    Attributes:
        lifecycle: The node's lifecycle state.
        backend: Runtime and device that run the network; empty while there is none.
        backend_name: Name of that backend.
        fault: Why it is not the one that was asked for; empty if it is.
        failure: Why the last transition failed; empty if it succeeded.
        num_reloads: Times that a backend was loaded again after it failed.
        num_hanging: Threads left behind in a backend that has not returned.
        bundle: Folder of the bundle.
        num_received: Scans that arrived.
        num_answered: Scans whose detections were published.
        num_replaced: Scans dropped because a newer one arrived before they were processed.
        num_malformed: Scans dropped because they could not be read.
        num_failed: Scans dropped because the backend failed on them, hung or ran out of memory.
        last_error: Why the newest malformed or failed scan was dropped.
        lost: Scans that never arrived.
        last_scan_time: When the newest scan arrived, on the steady clock [s]; before the first,
            when the node became active; None while it is not active.
        waiting_since: When the first scan since the last answer arrived; None if none waits.
        hanging_since: When the first scan arrived on which the backend hung, since the last answer;
            None while it does not hang.
        counts: What became of the newest answered scan's points.
        max_pillars: Pillars that the network takes.
        report: The newest health report.
        saturated_share: Share of the newest answered scan's points with full intensity.
        intensity_fault: What is wrong with its intensities; see `intensity_fault` of
            `detection/points.py`.
        durations: Where its time went.
        max_total_ms: Longest processing time since diagnostics were last published.
    """

    lifecycle: str = "unconfigured"
    backend: str = ""
    backend_name: str = ""
    fault: str = ""
    failure: str = ""
    num_reloads: int = 0
    num_hanging: int = 0
    bundle: str = ""
    num_received: int = 0
    num_answered: int = 0
    num_replaced: int = 0
    num_malformed: int = 0
    num_failed: int = 0
    last_error: str = ""
    lost: LostScans = field(default_factory=LostScans)
    last_scan_time: float | None = None
    waiting_since: float | None = None
    hanging_since: float | None = None
    counts: PointCounts | None = None
    max_pillars: int = 0
    report: HealthReport | None = None
    saturated_share: float = 0.0
    intensity_fault: str = ""
    durations: Durations = field(default_factory=Durations)
    max_total_ms: float = 0.0

    @property
    def num_dropped(self) -> int:
        """Scans received but not answered, for whatever reason."""
        return self.num_replaced + self.num_malformed + self.num_failed

    def add_answer(self, counts: PointCounts, report: HealthReport, durations: Durations) -> None:
        """Counts an answered scan; the backend does not hang."""
        self.num_answered += 1
        self.counts, self.report, self.durations = counts, report, durations
        self.max_total_ms = max(self.max_total_ms, durations.total_ms)
        self.hanging_since = None

    def seconds_without_scan(self, now: float) -> float:
        """Returns the time since the newest scan [s]; 0 while the node is not active."""
        return 0.0 if self.last_scan_time is None else now - self.last_scan_time

    def seconds_waiting(self, now: float) -> float:
        """Returns for how long a scan has been waiting for an answer [s]."""
        return 0.0 if self.waiting_since is None else now - self.waiting_since

    def staleness(self, now: float) -> tuple[float, str]:
        """Returns the age of the health reading [s], and what is missing.

        A backend that hangs while scans keep coming is as silent as a sensor that stopped: in
        neither case may the last health be taken for the present one.
        """
        return max(
            (self.seconds_without_scan(now), "no scan"),
            (self.seconds_waiting(now), "no answer to a scan"),
        )


class Arrivals:
    """Estimates the sensor's rate and the scans lost on the way from the newest stamps."""

    def __init__(self) -> None:
        self._steps_s: deque[float] = deque(maxlen=_NUM_STEPS)
        self._last_ns: int | None = None

    def add(self, stamp_ns: int) -> None:
        """Adds a scan's stamp [ns]; one that does not follow the last one starts anew."""
        if self._last_ns is not None:
            step = 1e-9 * (stamp_ns - self._last_ns)
            if 0.0 < step <= _LONGEST_STEP_S:
                self._steps_s.append(step)
            else:
                self._steps_s.clear()
        self._last_ns = stamp_ns

    def lost(self) -> LostScans:
        """Returns the estimate, once there are eight steps.

        A step of about twice the sensor's period is a missing scan. Where scans are lost so
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
    """How long the next answer will take, from the last few answers.

    By the steady clock and by the stamps: a viewer may use either time.
    """

    def __init__(self) -> None:
        self._steps_s: deque[float] = deque(maxlen=5)
        self._last: tuple[float, int] | None = None

    def add(self, now: float, stamp_ns: int) -> float:
        """Adds an answer; returns the longest recent period [s], 0 before the third answer.

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
        # A single step may be a pause as well as a period.
        return max(self._steps_s) if len(self._steps_s) > 1 else 0.0
