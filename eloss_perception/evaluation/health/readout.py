# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark asks of the detector, the health reference and the monitor."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.health.classifier import Profiles
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.readings import NETWORK_CHECKS, check_of
from eloss_perception.health.reference import HealthReference
from eloss_perception.runtime.backends.base import Backend, CountedPillars, NetworkOutputs

Readings = NDArray[np.float64]

# Share of clean frames within the distance that a reference calls normal.
_NORMAL_SHARE = 0.99


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

    def pillarize(self, points: NDArray[np.float32]) -> CountedPillars:
        """The backend's own."""
        return self._backend.pillarize(points)

    def run(self, pillars: Any) -> NetworkOutputs:
        """Runs one frame and keeps the outputs."""
        self.outputs = self._backend.run(pillars)
        return self.outputs

    def close(self) -> None:
        """Frees the backend's network."""
        self._backend.close()


class Replay(NamedTuple):
    """What a monitor said of a stream of frames.

    Attributes:
        level: (T,) int64 level after each frame.
        score: (T,) float64 what the level follows.
    """

    level: NDArray[np.int64]
    score: NDArray[np.float64]


def host_checks(reference: HealthReference) -> tuple[str, ...]:
    """The checks that need no network."""
    return tuple(check for check in reference.checks if check not in NETWORK_CHECKS)


def columns_of(reference: HealthReference, checks: Collection[str]) -> NDArray[np.int64]:
    """The readings of some checks."""
    chosen = [i for i, name in enumerate(reference.reading_names) if check_of(name) in checks]
    return np.array(chosen, np.int64)


def restricted(
    reference: HealthReference, checks: Collection[str], clean: Readings
) -> HealthReference:
    """The same judgement on some of the checks alone: what they are worth without the others.

    Args:
        reference: With all checks.
        checks: Those to keep, at least one of them the reference's.
        clean: (N, R) all readings of clean frames, for what distance is normal among fewer.
    """
    columns = columns_of(reference, checks)
    square = np.ix_(columns, columns)
    kept = [i for i, check in enumerate(reference.checks) if check in checks]
    part = replace(
        reference,
        reading_names=tuple(reference.reading_names[i] for i in columns),
        mean=clean[:, columns].mean(axis=0),
        std=reference.std[columns],
        covariance=reference.covariance[square],
        change_covariance=reference.change_covariance[square],
        gap=reference.gap[square],
        check_limits=reference.check_limits[kept],
        profiles=replace(reference.profiles, shifts=reference.profiles.shifts[:, columns]),
        distance_limits=(1.0, 1.0),
    )
    limit = float(np.quantile(part.judge(clean[:, columns]).distance, _NORMAL_SHARE))
    # How far a frame lies from those before it has the same scale for any number of readings.
    limits = (limit, reference.distance_limits[1])
    return replace(part, mean=reference.mean[columns], distance_limits=limits)


def without_profiles(reference: HealthReference, corruption: str) -> HealthReference:
    """The reference as if a corruption had never been thought of."""
    profiles = reference.profiles
    kept = np.array([name != corruption for name in profiles.names], np.bool_)
    return replace(
        reference,
        profiles=Profiles(
            names=tuple(name for name, keep in zip(profiles.names, kept, strict=True) if keep),
            severities=tuple(
                severity for severity, keep in zip(profiles.severities, kept, strict=True) if keep
            ),
            shifts=profiles.shifts[kept],
            harm=profiles.harm[kept],
        ),
    )


def play(monitor: HealthMonitor, readings: Readings) -> Replay:
    """Plays (T, R) readings to a monitor, which is changed by it."""
    reports = [monitor.update(row) for row in readings]
    return Replay(
        np.array([int(report.level) for report in reports], np.int64),
        np.array([report.smoothed_score for report in reports], np.float64),
    )


def fork(monitor: HealthMonitor) -> HealthMonitor:
    """A monitor with the same past, to play another future to."""
    # The reference never changes and is large.
    return copy.deepcopy(monitor, {id(monitor.reference): monitor.reference})
