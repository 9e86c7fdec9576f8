# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark asks of the detector, the health reference and the monitor."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.health import HealthMonitor, HealthReference, make_readings
from eloss_perception.core.pillars import Pillars
from eloss_perception.runtime.backends.base import Backend, NetworkOutputs

Readings = NDArray[np.float64]


class NetworkTap:
    """A backend that keeps what the network said of the last frame.

    The detector passes on boxes and readings; a baseline on confidence needs the whole class map.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.outputs: NetworkOutputs | None = None

    @property
    def description(self) -> str:
        """The backend's own."""
        return self._backend.description

    def run(self, pillars: Pillars) -> NetworkOutputs:
        """Runs one frame and keeps the outputs."""
        self.outputs = self._backend.run(pillars)
        return self.outputs


class Replay(NamedTuple):
    """What a monitor said of a stream of frames.

    Attributes:
        level: (T,) int64 level after each frame.
        score: (T,) float64 what the level follows.
    """

    level: NDArray[np.int64]
    score: NDArray[np.float64]


def frame_readings(detections: Any) -> Readings:
    """(R,) float64 readings of a frame."""
    readings = getattr(detections, "readings", None)
    if readings is None:
        counts = detections.counts
        readings = make_readings(detections.layer_entropy, counts.num_in_range, counts.num_occupied)
    return np.asarray(readings, np.float64)


def log_rms(outputs: NetworkOutputs) -> Readings:
    """(L,) float64 log-RMS of the tapped layers; (0,) of a network that does not say."""
    return np.asarray(getattr(outputs, "layer_log_rms", np.zeros(0)), np.float64)


def reference_scores(reference: HealthReference, readings: Readings) -> Readings:
    """(N,) score of (N, R) readings; an infinite one is as far from normal as can be."""
    return np.array([float(reference.score(row)) for row in readings])


def host_columns(reference: HealthReference) -> NDArray[np.int64]:
    """The readings that need no network."""
    names = reference.reading_names
    networks = {"entropy", "scale", *reference.layer_names}
    return np.array(
        [i for i, name in enumerate(names) if name.partition(".")[0] not in networks], np.int64
    )


def recentred(reference: HealthReference, clean: Readings) -> HealthReference:
    """The reference with the mean of a few clean (N, R) readings and its own spread."""
    return dataclasses.replace(reference, mean=np.median(clean, axis=0))


def stated_false_alarm_share(reference: HealthReference) -> float:
    """Share of clean frames that the threshold is said to let pass; NaN where nothing is said."""
    return float(getattr(reference, "false_alarm_rate", math.nan))


def replay(reference: HealthReference, readings: Readings) -> Replay:
    """Plays (T, R) readings to a new monitor."""
    monitor = HealthMonitor(reference)
    num_layers = len(reference.layer_names)
    levels, scores = [], []
    for row in readings:
        num_points, num_pillars = np.expm1(row[num_layers:])
        report = monitor.update(row[:num_layers], num_points, num_pillars)
        levels.append(int(report.level))
        scores.append(float(getattr(report, "smoothed_score", report.score)))
    return Replay(np.array(levels, np.int64), np.array(scores))
