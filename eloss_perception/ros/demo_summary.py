# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's summary in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from eloss_perception.core.boxes import bev_iou, points_in_boxes
from eloss_perception.core.classes import CLASS_NAMES
from eloss_perception.ros.demo_record import STAGES, DemoRecord, Frame

_STAGE_TITLES = {
    "preprocess": "message to pillars",
    "inference": "network",
    "postprocess": "boxes and health",
    "total": "node, in all",
    "pipeline_latency": "scan stamp to result",
}
_LEVELS = ("OK", "WARN", "ERROR", "STALE")

# A true car counts if it stands ahead within this range [m] and shows at least this many points.
CAR_RANGE_M = 40.0
CAR_MIN_POINTS = 10
CAR_MIN_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive scans under the same condition."""

    title: str
    frames: tuple[Frame, ...]

    @property
    def start_s(self) -> float:
        """When it begins [s]."""
        return self.frames[0].time_s


@dataclass(frozen=True, slots=True)
class CarsFound:
    """How many of the true cars ahead were boxed, by the frame's stamp."""

    num_true: dict[int, int]
    num_found: dict[int, int]

    def share(self, frames: Iterable[Frame]) -> float | None:
        """Share found in these frames; None where there was no car."""
        stamps = [frame.stamp_ns for frame in frames]
        total = sum(self.num_true.get(stamp, 0) for stamp in stamps)
        return sum(self.num_found.get(stamp, 0) for stamp in stamps) / total if total else None


def phases_of(frames: Sequence[Frame]) -> list[Phase]:
    """Groups a drive by what was wrong with its sensor."""
    phases: list[Phase] = []
    for condition, group in groupby(frames, key=lambda frame: frame.condition):
        title = condition or ("recovery" if phases else "clean")
        phases.append(Phase(title, tuple(group)))
    return phases


def count_cars(frame: Frame, points: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Returns the number of true cars ahead that the scan shows, and how many of them are boxed."""
    x, y = frame.truth_boxes[:, 0], frame.truth_boxes[:, 1]
    is_car = (frame.truth_labels == 0) & (x > 2.0) & (np.hypot(x, y) < CAR_RANGE_M)
    is_car &= np.abs(y) < x  # within 45 degrees of straight ahead
    cars = frame.truth_boxes[is_car]
    inside = points_in_boxes(points, cars)
    cars = cars[np.bincount(inside[inside >= 0], minlength=len(cars)) >= CAR_MIN_POINTS]
    if frame.boxes is None or not len(cars):
        return len(cars), 0
    found = frame.boxes.boxes[frame.boxes.labels == 0]
    overlap = bev_iou(cars, found)
    return len(cars), int((overlap.max(axis=1, initial=0.0) >= CAR_MIN_IOU).sum())


def summary_lines(record: DemoRecord, cars: CarsFound) -> list[str]:
    """Returns the summary, ready to be printed."""
    lines = [*_frames(record), "", *_latency(record), "", *_boxes(record), ""]
    return lines + _health(record, cars)


def _frames(record: DemoRecord) -> list[str]:
    text = (
        f"{record.num_sent} scans sent, {record.num_answered} answered,"
        f" {record.num_dropped} dropped"
    )
    if record.num_lost:
        text += f", {record.num_lost} NEITHER ANSWERED NOR COUNTED"
    lines = [f"Frames    {text}"]
    if len(record.frames) != record.num_sent:
        lines.append(f"          the recorder holds {len(record.frames)} of the scans")
    return lines


def _latency(record: DemoRecord) -> list[str]:
    timed = [frame.stage_ms for frame in record.frames if frame.stage_ms]
    if not timed:
        return ["Latency   not measured: no scan was answered"]
    lines = ["Latency                          p50      p95      p99   ms"]
    for stage in STAGES:
        values = np.array([stage_ms[stage] for stage_ms in timed])
        p50, p95, p99 = np.percentile(values[np.isfinite(values)], (50, 95, 99))
        lines.append(f"          {_STAGE_TITLES[stage]:<20}{p50:>7.1f}  {p95:>7.1f}  {p99:>7.1f}")
    return lines


def _boxes(record: DemoRecord) -> list[str]:
    answered = [frame.boxes for frame in record.frames if frame.boxes is not None]
    counts = [
        (name, sum(int((boxes.labels == label).sum()) for boxes in answered))
        for label, name in enumerate(CLASS_NAMES)
    ]
    per_scan = max(len(answered), 1)
    text = ", ".join(f"{name} {count} ({count / per_scan:.1f} a scan)" for name, count in counts)
    return [f"Boxes     {text}"]


def _health(record: DemoRecord, cars: CarsFound) -> list[str]:
    readings = [frame.health for frame in record.frames if frame.health is not None]
    if not readings:
        return ["Health    not measured: no scan was answered"]
    lines = [
        f"Health    a score above {readings[0].threshold:.3g} is abnormal; WARN or ERROR after"
        " several such scans",
        "          from       input             level                score p50   cars ahead boxed",
    ]
    for phase in phases_of(record.frames):
        health = [frame.health for frame in phase.frames if frame.health is not None]
        levels = [int(message.level) for message in health]
        shares = [
            f"{_LEVELS[level]} {levels.count(level) / len(levels):.0%}"
            for level in range(len(_LEVELS))
            if level in levels
        ]
        score = np.median([message.score for message in health]) if health else np.nan
        share = cars.share(phase.frames)
        lines.append(
            f"          {phase.start_s:5.1f} s    {phase.title:<18}{', '.join(shares):<21}"
            f"{score:>9.3g}   {'-' if share is None else format(share, '.0%'):>10}"
        )
    lines.append(
        f"          (cars ahead: true cars within {CAR_RANGE_M:g} m and 45 degrees with at least"
        f" {CAR_MIN_POINTS} points; boxed: IoU >= {CAR_MIN_IOU:g} seen from above)"
    )
    return lines
