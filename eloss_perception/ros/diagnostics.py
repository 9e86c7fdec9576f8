# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's five diagnostic tasks (REP-107), from its status, once a second."""

from __future__ import annotations

import math
from dataclasses import replace

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from eloss_perception.core.health import HealthLevel, HealthReport
from eloss_perception.ros.messages import level_byte
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus

# More than this share of points at full intensity is a wrong intensity scale: a road scene seen
# with the right one has well below a tenth.
_MAX_SATURATED_SHARE = 0.5

_NUM_WORST = 3

Values = dict[str, object]
Judgement = tuple[HealthLevel, str, Values]


class Diagnostics:
    """Turns a status into /diagnostics; remembers the one before, to see what is new."""

    def __init__(self, node_name: str, now: float) -> None:
        """Starts observing.

        Args:
            node_name: Name that the tasks are published under, as `<node>: <task>`.
            now: The steady clock [s].
        """
        self._node_name = node_name
        self._before = DetectorStatus()
        self._before_time = now

    def make(
        self, status: DetectorStatus, settings: DetectorNodeSettings, now: float, stamp: Time
    ) -> DiagnosticArray:
        """Judges the time since the call before.

        Args:
            status: The node's status.
            settings: The settings in force.
            now: The steady clock [s].
            stamp: The node's clock, for the header.
        """
        before, elapsed = self._before, max(now - self._before_time, 1e-3)
        self._before, self._before_time = replace(status), now
        if status.num_received < before.num_received:  # activated anew: counts began again
            before = DetectorStatus()
        rate = (status.num_received - before.num_received) / elapsed
        tasks = {
            "input": _input(status, before, settings, now, rate),
            "processing_time": _processing_time(status, settings),
            "pillar_capacity": _pillar_capacity(status),
            "backend": _backend(status, before, settings),
            "entropy_health": _entropy_health(status, settings, now),
        }
        status.max_total_ms = 0.0
        array = DiagnosticArray(header=Header(stamp=stamp))
        for task, (level, message, values) in tasks.items():
            array.status.append(
                DiagnosticStatus(
                    level=level_byte(level),
                    name=f"{self._node_name}: {task}",
                    message=message,
                    hardware_id=settings.hardware_id,
                    values=[KeyValue(key=k, value=_text(v)) for k, v in values.items()],
                )
            )
        return array


def _input(
    status: DetectorStatus,
    before: DetectorStatus,
    settings: DetectorNodeSettings,
    now: float,
    rate: float,
) -> Judgement:
    silence = status.seconds_without_scan(now)
    counts = status.counts
    values: Values = {
        "rate_hz": rate,
        "seconds_since_last_scan": silence,
        "num_received": status.num_received,
        "num_answered": status.num_answered,
        "num_dropped": status.num_dropped,
        "num_dropped_for_newer": status.num_replaced,
        "num_malformed": status.num_malformed,
        "last_error": status.last_error,
        "num_points": counts.num_points if counts else 0,
        "num_non_finite": counts.num_non_finite if counts else 0,
        "num_out_of_range": counts.num_out_of_range if counts else 0,
        "saturated_intensity_share": status.saturated_share,
    }
    if status.lifecycle != "active":
        return HealthLevel.OK, f"node is {status.lifecycle}", values
    if silence >= settings.stale_timeout:
        return HealthLevel.STALE, f"no scan for {silence:.1f} s", values
    if status.num_malformed > before.num_malformed:
        return HealthLevel.ERROR, f"malformed scan: {status.last_error}", values
    if counts and counts.num_input_points == 0:
        return HealthLevel.WARN, "scans are empty", values
    if counts and counts.num_points == 0:
        return HealthLevel.WARN, "no point is in range: check sensor and mounting_height", values
    if status.saturated_share > _MAX_SATURATED_SHARE:
        return HealthLevel.WARN, "intensity is saturated: check parameter sensor", values
    if status.num_replaced > before.num_replaced:
        return HealthLevel.WARN, "scans dropped because newer ones came before their turn", values
    if before.num_received == 0:  # the time since the first scan is no full period
        return HealthLevel.OK, "waiting" if status.num_received == 0 else "first scans", values
    if rate < settings.min_rate_hz:
        return HealthLevel.WARN, f"{rate:.1f} scans a second, below min_rate_hz", values
    return HealthLevel.OK, f"{rate:.1f} scans a second", values


def _processing_time(status: DetectorStatus, settings: DetectorNodeSettings) -> Judgement:
    slowest = status.max_total_ms
    is_expected = slowest <= settings.max_processing_time_ms
    values: Values = {
        "processing_time_ms": status.total_ms,
        "is_processing_time_ms_in_expected_range": is_expected,
        "max_processing_time_ms": slowest,
        "preprocess_ms": status.preprocess_ms,
        "inference_ms": status.inference_ms,
        "postprocess_ms": status.postprocess_ms,
        "health_ms": status.health_ms,
        "pipeline_latency_ms": status.pipeline_latency_ms,
    }
    if not is_expected:
        limit = settings.max_processing_time_ms
        return HealthLevel.WARN, f"{slowest:.1f} ms, above {limit:g} ms", values
    return HealthLevel.OK, "" if slowest == 0.0 else f"at most {slowest:.1f} ms", values


def _pillar_capacity(status: DetectorStatus) -> Judgement:
    counts = status.counts
    values: Values = {
        "num_pillars": counts.num_pillars if counts else 0,
        "max_pillars": status.max_pillars,
        "num_dropped_pillars": counts.num_dropped_pillars if counts else 0,
        "num_dropped_points": counts.num_dropped_points if counts else 0,
    }
    if counts and counts.num_dropped_pillars:
        dropped = f"{counts.num_dropped_pillars} pillars over capacity were dropped"
        return HealthLevel.WARN, dropped, values
    return HealthLevel.OK, "", values


def _backend(
    status: DetectorStatus, before: DetectorStatus, settings: DetectorNodeSettings
) -> Judgement:
    values: Values = {
        "backend": settings.backend,
        "backend_fallback": settings.backend_fallback,
        "running": status.backend_name,
        "description": status.backend,
        "bundle": status.bundle,
        "lifecycle_state": status.lifecycle,
        "num_failed": status.num_failed,
        "num_reloads": status.num_reloads,
    }
    if status.num_failed > before.num_failed:
        return HealthLevel.ERROR, status.last_error, values
    if status.fault:
        level = HealthLevel.WARN if status.backend_name else HealthLevel.ERROR
        return level, status.fault, values
    return HealthLevel.OK, status.backend or "not loaded", values


def _entropy_health(
    status: DetectorStatus, settings: DetectorNodeSettings, now: float
) -> Judgement:
    report = status.report
    values: Values = {
        "score": report.score if report else math.nan,
        "smoothed_score": report.smoothed_score if report else math.nan,
        "threshold": report.threshold if report else math.nan,
        "likely_cause": report.likely_cause if report else "",
        "worst_checks": _worst_checks(report) if report else "",
        "eloss": report.eloss if report else math.nan,
        "eloss_ratio": report.eloss_ratio if report else math.nan,
    }
    if status.lifecycle != "active":
        return HealthLevel.OK, f"node is {status.lifecycle}", values
    silence, missing = status.staleness(now)
    if silence >= settings.stale_timeout:
        return HealthLevel.STALE, f"{missing} for {silence:.1f} s", values
    if report is None:
        return HealthLevel.OK, "no reading yet", values
    return report.level, report.reason, values


def _worst_checks(report: HealthReport) -> str:
    """The checks furthest from normal, with their deviation over what clean scans reach."""
    pairs = zip(report.check_ratios.tolist(), report.check_names, strict=True)
    # What is not finite could not be read at all: nothing is worse.
    worst = sorted(pairs, key=lambda pair: pair[0] if math.isfinite(pair[0]) else math.inf)
    return ", ".join(f"{name} {ratio:.1f}" for ratio, name in worst[: -_NUM_WORST - 1 : -1])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)
