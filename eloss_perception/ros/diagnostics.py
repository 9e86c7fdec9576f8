# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's five diagnostic tasks (REP-107), made of its status once a second."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from eloss_perception.errors import printable
from eloss_perception.health.monitor import HealthLevel, HealthReport
from eloss_perception.ros.messages import MAX_REASON, level_byte
from eloss_perception.ros.node_settings import DetectorNodeSettings
from eloss_perception.ros.status import DetectorStatus

_NUM_WORST = 3

# A rate is measured over this time and this many scans. It is too low from a tenth below the limit
# on, until it is only a twentieth below. One scan more or less is chance.
_RATE_WINDOW_S, _RATE_SCANS = 3.0, 15
_LONGEST_WINDOW_S = 60.0
_LOW_RATE, _RECOVERED_RATE = 0.9, 0.95

# Share of scans lost before the node that is a warning.
_MAX_LOST_SHARE = 0.1

Values = dict[str, object]
Judgement = tuple[HealthLevel, str, Values]


class Diagnostics:
    """Turns a status into /diagnostics; remembers the previous one to see what is new."""

    def __init__(self, node_name: str) -> None:
        """The tasks are named `<node>: <task>`."""
        self._node_name = node_name
        self._before = DetectorStatus()
        self._rate = _Rate()

    def make(
        self, status: DetectorStatus, settings: DetectorNodeSettings, now: float, stamp: Time
    ) -> DiagnosticArray:
        """Returns the diagnostics of the time since the previous call.

        Args:
            status: The node's status.
            settings: The settings in force.
            now: The steady clock [s].
            stamp: The node's clock, for the header.
        """
        before, self._before = self._before, replace(status)
        if status.num_received < before.num_received:  # activated anew: counts began again
            before = DetectorStatus()
        self._rate.add(now, status.num_received, settings.min_rate_hz)
        tasks = {
            "input": _input(status, before, settings, now, self._rate),
            "processing_time": _processing_time(status, settings),
            "pillar_capacity": _pillar_capacity(status),
            "backend": _backend(status, before, settings),
            "entropy_health": _entropy_health(status, settings, now),
        }
        status.max_total_ms = 0.0
        array = DiagnosticArray(header=Header(stamp=stamp))
        for task, (level, message, values) in tasks.items():
            entry = DiagnosticStatus(
                level=level_byte(level),
                name=f"{self._node_name}: {task}",
                message=printable(message, MAX_REASON),
                hardware_id=printable(settings.hardware_id, MAX_REASON),
                values=[KeyValue(key=k, value=_text(v)) for k, v in values.items()],
            )
            array.status.append(entry)
        return array


def _input(
    status: DetectorStatus,
    before: DetectorStatus,
    settings: DetectorNodeSettings,
    now: float,
    rate: _Rate,
) -> Judgement:
    silence = status.seconds_without_scan(now)
    counts = status.counts
    values: Values = {
        "rate_hz": rate.hz,
        "sensor_rate_hz": status.lost.sensor_rate_hz,
        "lost_before_node_share": status.lost.share,
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
    if status.intensity_fault:
        return HealthLevel.WARN, status.intensity_fault, values
    if counts and counts.num_non_finite == counts.num_input_points:
        return HealthLevel.WARN, "no point is a return: all are NaN or at the origin", values
    if counts and counts.num_points == 0:
        return HealthLevel.WARN, "no point is in range: check sensor and mounting_height", values
    if status.num_replaced > before.num_replaced:
        return (
            HealthLevel.WARN,
            "scans dropped because newer ones arrived before they were processed",
            values,
        )
    if rate.is_unknown:
        return HealthLevel.OK, "waiting" if status.num_received == 0 else "first scans", values
    lost, arrive = status.lost, f"{rate.hz:.1f} scans a second"
    if lost.share >= _MAX_LOST_SHARE:
        rate_hz, share = f"{lost.sensor_rate_hz:.1f}", f"{lost.share:.0%}"
        message = f"{arrive} of the sensor's {rate_hz}: {share} were lost before the node"
        return HealthLevel.WARN, message, values
    if rate.is_low:
        return HealthLevel.WARN, f"{arrive}, below min_rate_hz", values
    return HealthLevel.OK, arrive, values


class _Rate:
    """Scans a second over the last seconds, and whether that is too few.

    Attributes:
        hz: The rate [Hz].
        is_unknown: Whether no whole period has passed yet.
        is_low: Whether it has fallen below the limit and not recovered.
    """

    def __init__(self) -> None:
        self.hz = 0.0
        self.is_unknown = True
        self.is_low = False
        self._history: deque[tuple[float, int]] = deque()

    def add(self, now: float, num_received: int, min_hz: float) -> None:
        """Adds a count, which only grows while the node is active."""
        history = self._history
        # Starts with the first scan, since the time before it is not a full period.
        if num_received == 0 or (history and num_received < history[-1][1]):
            history.clear()
            self.is_low = False
        window_s = max(_RATE_WINDOW_S, _RATE_SCANS / min_hz if min_hz > 0.0 else 0.0)
        while len(history) > 1 and now - history[1][0] >= min(window_s, _LONGEST_WINDOW_S):
            history.popleft()
        self.is_unknown = not history
        if history:
            elapsed = max(now - history[0][0], 1e-3)
            num_scans = num_received - history[0][1]
            self.hz = num_scans / elapsed
            expected = min_hz * elapsed
            if self.is_low:
                self.is_low = num_scans < _RECOVERED_RATE * expected
            else:
                self.is_low = num_scans + 1 < _LOW_RATE * expected
        if num_received:
            history.append((now, num_received))


def _processing_time(status: DetectorStatus, settings: DetectorNodeSettings) -> Judgement:
    slowest = status.max_total_ms
    is_expected = slowest <= settings.max_processing_time_ms
    durations = status.durations._asdict()
    values: Values = {
        "processing_time_ms": durations.pop("total_ms"),
        "is_processing_time_ms_in_expected_range": is_expected,
        "max_processing_time_ms": slowest,
        **durations,
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
        "num_hanging": status.num_hanging,
    }
    if status.failure:
        return HealthLevel.ERROR, status.failure, values
    if status.num_hanging:
        level = HealthLevel.WARN if status.hanging_since is None else HealthLevel.ERROR
        return level, f"scans that hang in a backend: {status.num_hanging}", values
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
    """Returns the checks furthest from normal, each with its deviation over that of clean scans."""
    pairs = zip(report.check_ratios.tolist(), report.check_names, strict=True)
    # What is not finite could not be measured at all: nothing is worse.
    worst = sorted(pairs, key=lambda pair: pair[0] if math.isfinite(pair[0]) else math.inf)
    return ", ".join(f"{name} {ratio:.1f}" for ratio, name in worst[: -_NUM_WORST - 1 : -1])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else printable(value, MAX_REASON)
