# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's summary in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from eloss_perception.detection.boxes import CLASS_NAMES
from eloss_perception.health.monitor import HealthLevel
from eloss_perception.replay.demo.record import (
    CAR_MIN_IOU,
    CAR_MIN_POINTS,
    CAR_RANGE_M,
    STAGES,
    CarsFound,
    DemoRecord,
    phases_of,
)

_STAGE_TITLES = {
    "preprocess": "message to pillars",
    "inference": "network",
    "postprocess": "boxes and messages",
    "health": "health",
    "total": "node, in all",
    "pipeline_latency": "scan stamp to result",
}


def summary_lines(record: DemoRecord, cars: CarsFound) -> list[str]:
    """Returns the summary, ready to be printed."""
    lines = [*_frames(record), "", *_latency(record), "", *_boxes(record), ""]
    return lines + _health(record, cars)


def _frames(record: DemoRecord) -> list[str]:
    text = (
        f"{record.num_sent} scans sent, {record.num_answered} answered,"
        f" {record.num_dropped} dropped"
    )
    if record.num_undelivered:
        text += f", {record.num_undelivered} lost before the detector (best effort)"
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
        "Health    score: points of average precision expected to be lost;"
        f" {readings[0].threshold:g} and more are anomalous",
        "          from       input             level                score p50   like"
        "              cars ahead boxed",
    ]
    for phase in phases_of(record.frames):
        health = [frame.health for frame in phase.frames if frame.health is not None]
        levels = [int(message.level) for message in health]
        shares = [
            f"{level.name} {levels.count(level) / len(levels):.0%}"
            for level in HealthLevel
            if level in levels
        ]
        score = np.median([message.score for message in health]) if health else np.nan
        share = cars.share(phase.frames)
        lines.append(
            f"          {phase.start_s:5.1f} s    {phase.title:<18}{', '.join(shares):<21}"
            f"{score:>9.1f}   {_usual_cause(health):<18}"
            f"{'-' if share is None else format(share, '.0%'):>6}"
        )
    lines.append(
        f"          (cars ahead: true cars within {CAR_RANGE_M:g} m and 45 degrees with at least"
        f" {CAR_MIN_POINTS} points; boxed: IoU >= {CAR_MIN_IOU:g} seen from above)"
    )
    return lines


def _usual_cause(health: Sequence[Any]) -> str:
    """Returns the usual cause of a phase's anomalous scans; empty where most are normal."""
    causes = Counter(message.likely_cause for message in health if message.likely_cause)
    if 2 * causes.total() < len(health) or not causes:
        return ""
    return str(causes.most_common(1)[0][0]).replace("_", " ")
