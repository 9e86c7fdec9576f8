# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark asks of the detector, a scan, the health reference and the monitor."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.health.judge import HealthJudge
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
    limit = float(np.quantile(HealthJudge(part).judge(clean[:, columns]).distance, _NORMAL_SHARE))
    # How far a frame lies from those before it has the same scale for any number of readings.
    limits = (limit, reference.distance_limits[1])
    return replace(part, mean=reference.mean[columns], distance_limits=limits)


def without_profiles(reference: HealthReference, corruption: str) -> HealthReference:
    """The reference as if a corruption had never been thought of."""
    profiles = reference.profiles
    kept = np.array([name != corruption for name in profiles.names], np.bool_)
    return replace(
        reference,
        profiles=replace(
            profiles,
            names=tuple(name for name, keep in zip(profiles.names, kept, strict=True) if keep),
            severities=tuple(
                severity for severity, keep in zip(profiles.severities, kept, strict=True) if keep
            ),
            shifts=profiles.shifts[kept],
            ap_loss=profiles.ap_loss[kept],
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


# Horizontal range [m]: the last bin is open.
RANGE_EDGES = (*range(0, 85, 5), np.inf)

# Directions in which neighbouring returns are looked for [deg]: about those between which a sensor
# of 64 beams still has a return in most cells.
_AZIMUTH_STEP_DEG = 0.4
_ELEVATION_STEP_DEG = 0.45
_ELEVATIONS_DEG = (-30.0, 15.0)


def range_histogram(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how many points lie in each bin of `RANGE_EDGES`, as float64."""
    distance = np.hypot(points[:, 0], points[:, 1])
    counts, _ = np.histogram(distance[np.isfinite(distance)], RANGE_EDGES)
    return counts.astype(np.float64)


def morans_i(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spatial autocorrelation of a scan: how alike neighbouring returns are.

    Moran's I (Moran, *Notes on continuous stochastic phenomena*, 1950) over a grid of directions,
    with equal weights between cells that share an edge: training-free point-cloud quality after
    Zhang et al., *Detecting the Anomalies in LiDAR Pointcloud* (arXiv 2308.00187).

    Args:
        points: (N, 4) float32 x, y, z [m], intensity.

    Returns:
        (2,) float64 of log range and of intensity; near 1 for a smooth field, 0 for noise or where
        nothing varies.
    """
    values = np.asarray(points[np.isfinite(points).all(axis=1)], np.float64)
    ground = np.hypot(values[:, 0], values[:, 1])
    distance = np.hypot(ground, values[:, 2])
    elevation = np.degrees(np.arctan2(values[:, 2], ground))
    azimuth = np.degrees(np.arctan2(values[:, 1], values[:, 0])) + 180.0
    low, high = _ELEVATIONS_DEG
    seen = (distance > 0.1) & (elevation >= low) & (elevation < high)
    num_rows = round((high - low) / _ELEVATION_STEP_DEG)
    num_columns = round(360.0 / _AZIMUTH_STEP_DEG)
    row = ((elevation[seen] - low) / _ELEVATION_STEP_DEG).astype(np.int64)
    row = np.minimum(row, num_rows - 1)  # the quotient may round up
    column = (azimuth[seen] / _AZIMUTH_STEP_DEG).astype(np.int64) % num_columns
    cell = row * num_columns + column
    num_cells = num_rows * num_columns
    shape = (num_rows, num_columns)
    count = np.bincount(cell, minlength=num_cells).astype(np.float64).reshape(shape)
    attributes = (np.log(distance[seen]), values[seen, 3])
    totals = [np.bincount(cell, weights=a, minlength=num_cells) for a in attributes]
    return np.array(
        [_autocorrelation(np.asarray(t, np.float64).reshape(shape), count) for t in totals]
    )


def _autocorrelation(total: NDArray[np.float64], count: NDArray[np.float64]) -> float:
    """Return Moran's I of the cells' means; columns wrap around."""
    occupied = count > 0
    if not occupied.any():
        return 0.0
    mean = np.divide(total, count, out=np.zeros_like(total), where=occupied)
    deviation = np.where(occupied, mean - mean[occupied].mean(), 0.0)
    variance = np.sum(deviation**2) / occupied.sum()
    right = np.roll(deviation, -1, axis=1)
    beside = (occupied & np.roll(occupied, -1, axis=1)).sum()
    above = (occupied[1:] & occupied[:-1]).sum()
    num_pairs = beside + above
    if variance <= 1e-12 or num_pairs == 0:
        return 0.0
    products = np.sum(deviation * right) + np.sum(deviation[1:] * deviation[:-1])
    return float(products / num_pairs / variance)
