# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector node knows of itself: counts that add up, and the newest frame's figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.monitor import HealthReport
from eloss_perception.ros.arrivals import LostScans


@dataclass
class DetectorStatus:
    """Counts since the node became active, and what the newest frame was like.

    `num_received` is the sum of answered, replaced, malformed and failed frames, of the one that
    may be waiting and of the one that may be in work. What the middleware lost before is in no
    count; `lost` is what the stamps tell of it.

    Attributes:
        lifecycle: The node's lifecycle state in words.
        backend: Runtime and device that run the network; empty while there is none.
        backend_name: Which backend that is.
        fault: Why it is not the one that was asked for; empty while it is.
        failure: Why the last transition failed; empty while all is well.
        num_reloads: Times that a backend was loaded again after it failed.
        bundle: Folder of the bundle.
        num_received: Scans that arrived.
        num_answered: Scans whose detections were published.
        num_replaced: Scans dropped because a newer one came before their turn.
        num_malformed: Scans dropped because they could not be read.
        num_failed: Scans dropped because the backend failed on them, hung or lacked memory.
        num_hanging: Threads that have been left behind with a backend that has not come back.
        lost: What the stamps of the scans tell of those that never arrived.
        last_error: Why the newest malformed or failed scan was dropped.
        last_scan_time: When the newest scan arrived, on the steady clock [s]; while none has, when
            the node became active; None while it is not active.
        waiting_since: When the first scan since the last answer arrived; None while none waits.
        hanging_since: When the first scan arrived that the backend hung on, since the last answer;
            None while it does not hang.
        counts: What became of the newest answered scan's points.
        max_pillars: Pillars that the network takes.
        report: The newest health report.
        saturated_share: Share of the newest answered scan's points with the highest intensity.
        intensity_fault: What is wrong with its intensities, see `core.sensors.intensity_fault`.
        total_ms, preprocess_ms, inference_ms, postprocess_ms, health_ms, pipeline_latency_ms:
            Durations of the newest answered scan.
        max_total_ms: Longest `total_ms` since diagnostics last asked.
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
    preprocess_ms: float = math.nan
    inference_ms: float = math.nan
    postprocess_ms: float = math.nan
    health_ms: float = math.nan
    total_ms: float = math.nan
    pipeline_latency_ms: float = math.nan
    max_total_ms: float = 0.0

    @property
    def num_dropped(self) -> int:
        """Scans received but not answered, for whatever reason."""
        return self.num_replaced + self.num_malformed + self.num_failed

    def seconds_without_scan(self, now: float) -> float:
        """Time since the newest scan [s]; 0 while the node is not active."""
        return 0.0 if self.last_scan_time is None else now - self.last_scan_time

    def seconds_waiting(self, now: float) -> float:
        """For how long there has been a scan without an answer [s]."""
        return 0.0 if self.waiting_since is None else now - self.waiting_since

    def staleness(self, now: float) -> tuple[float, str]:
        """For how long health has had nothing new to say [s], and what it is that did not come.

        A backend that hangs while scans keep coming is as silent as a sensor that stopped: in
        neither case may anyone take the last health for today's.
        """
        return max(
            (self.seconds_without_scan(now), "no scan"),
            (self.seconds_waiting(now), "no answer to a scan"),
        )
