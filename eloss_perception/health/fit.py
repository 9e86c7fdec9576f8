# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From readings of clean and corrupted frames to a health reference; arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import DataError
from eloss_perception.health.entropy import eloss
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.readings import check_of, checks_of
from eloss_perception.health.reference import Condition, HealthReference, Profiles

Array = npt.NDArray[np.float64]

# Nothing is told apart finer than this, however alike the calibration's frames are: what the
# readings resolve, in their own unit, by check.
_RESOLUTION = {"entropy": 0.003, "envelope": 0.003}
_OTHER_RESOLUTION = 0.01
# Of a covariance, the part that is forced towards independence: simulation knows the spread of a
# reading better than how readings go together.
_RIDGE = 0.3
# Streets change from one moment to the next in ways that short drives do not show (a lorry comes
# alongside): on simulated drives of a minute twice their variance leaves a quarter of
# the alarms and loses no dangerous disturbance.
_CHANGE_SPREAD = 2.0
# A disturbance that moves the readings less than this many standard deviations leaves no trace in a
# scan; as a class it would only take probability from clean.
_MIN_TRACE = 1.5
# Score that never raises an alarm by itself [points]: what detection varies by from scene to scene.
MIN_THRESHOLD = 5.0
# Score from which three times as much, an ERROR, could hardly be reached.
MAX_THRESHOLD = 25.0
# A recalibration's frames weigh against this many simulated ones in the covariance.
_PRIOR_FRAMES = 200.0
# Unusual places pass in a few seconds: frames nearer than this are one event, not many.
_EVENT_S = 5.0
_ORIGIN = "; profiles of disturbances from "  # between two sources


@dataclass(frozen=True)
class ProfileReadings:
    """What short simulated drives read, clean and under each corruption (D drives).

    Attributes:
        before: (D, R) mean readings of the clean frames before the last one.
        clean: (D, R) the last frame, clean.
        corrupted: Condition -> (D, R) the last frame, corrupted.
        ap_loss: Condition -> loss of average precision [points].
        texts, like_traffic: See :class:`Profiles`.
    """

    before: Array
    clean: Array
    corrupted: Mapping[Condition, Array]
    ap_loss: Mapping[Condition, float]
    texts: Mapping[str, str] = field(default_factory=dict)
    like_traffic: frozenset[str] = frozenset()


def fit_reference(
    clean: Array,
    varied: Array,
    profiles: ProfileReadings,
    layer_names: tuple[str, ...],
    stages: tuple[int, ...],
    names: tuple[str, ...],
    source: str,
    false_alarms_per_hour: float,
) -> HealthReference:
    """Fits a reference from simulation.

    Args:
        clean: (N, R) readings of clean frames of different places.
        varied: (V, R) the same of other units of the sensor, see ``sensor_variants.py``.
        profiles: Readings of short drives.
        layer_names: Of the L tapped layers.
        stages: Their stages.
        names: Of the R readings.
        source: The data in words.
        false_alarms_per_hour: Rate that the threshold is for.

    Raises:
        DataError: If a reading is not finite, or too many readings never vary.
    """
    check_readings(clean)
    resolution = resolution_of(names)
    mean = clean.mean(axis=0)
    std = np.sqrt(clean.var(axis=0) + resolution**2)

    def squash(readings: Array, normal: Array = mean) -> Array:
        return np.asarray(np.arcsinh((readings - normal) / std))

    corrupted = list(profiles.corrupted.values())
    spread = np.concatenate([_centred(squash(rows)) for rows in corrupted])
    covariance = _pooled(squash(clean), spread)
    change_spread = np.concatenate([_centred(squash(r, profiles.before)) for r in corrupted])
    steps = squash(profiles.clean, profiles.before)
    change_covariance = _CHANGE_SPREAD * _pooled(steps, change_spread)
    unshifted = squash(profiles.clean)
    shifts = np.array([(squash(rows) - unshifted).mean(axis=0) for rows in corrupted])
    reference = HealthReference(
        layer_names=layer_names,
        stages=stages,
        reading_names=names,
        mean=mean,
        std=std,
        covariance=covariance,
        change_covariance=change_covariance,
        gap=_gap(squash(varied)),
        distance_limits=(1.0, 1.0),
        check_limits=np.ones(len(checks_of(names))),
        profiles=_traceable(profiles, shifts, covariance),
        threshold=MIN_THRESHOLD,
        eloss_normal=normal_eloss(clean, stages),
        num_frames=len(clean),
        source=source,
    )
    changes = HealthJudge(reference).judge_change(profiles.clean, profiles.before)
    return _with_limits(reference, varied, changes.distance, false_alarms_per_hour)


def move_reference(
    old: HealthReference,
    clean: Array,
    source: str,
    false_alarms_per_hour: float,
    frames_apart_s: float,
) -> HealthReference:
    """Recalibrates a reference to the sensor, mounting and places of clean frames.

    The mean becomes theirs. The covariance is theirs and the old one's in the proportion of their
    number to two hundred (the mode of the posterior under an inverse Wishart prior): few frames
    know where normal is long before they know how it varies. What was added for an unknown
    sensor is removed. Profiles stay.

    Args:
        old: The reference to recalibrate, of the same network.
        clean: (N, R) readings of clean frames.
        source: The data in words.
        false_alarms_per_hour: Rate that the threshold is for.
        frames_apart_s: Time between these frames [s]; large for frames of different places.

    Raises:
        DataError: If a reading is not finite, or too many readings never vary.
    """
    check_readings(clean)
    mean = np.median(clean, axis=0)
    weight = len(clean) * min(1.0, frames_apart_s / _EVENT_S)  # independent frames
    deviations = old.deviations(clean, mean)
    own = deviations.T @ deviations / len(clean)
    share = weight / (weight + _PRIOR_FRAMES)
    moved = replace(
        old,
        mean=mean,
        covariance=(1.0 - share) * old.covariance + share * own,
        gap=np.zeros_like(old.gap),
        distance_limits=(1.0, old.distance_limits[1]),
        check_limits=np.ones_like(old.check_limits),
        eloss_normal=normal_eloss(clean, old.stages),
        num_frames=len(clean),
        # It may be recalibrated again: where its profiles come from stays the last thing said.
        source=f"{source}{_ORIGIN}{old.source.rpartition(_ORIGIN)[2]}",
    )
    return _with_limits(moved, clean, None, false_alarms_per_hour)


def alarm_threshold(scores: Array, false_alarms_per_hour: float) -> float:
    """Score that clean input, of which (N,) frames scored so, exceeds in so many events an hour.

    Frames of one place exceed it together, so what counts is the share of places, one every five
    seconds. Shares below what the frames can show are extrapolated: the excess over the 95th
    percentile is taken to fall exponentially. The result is bounded by ``MIN_THRESHOLD`` and
    ``MAX_THRESHOLD``: where clean input scores high, more false alarms than stated are better than
    an alarm that never comes.
    """
    share = min(0.5, false_alarms_per_hour * _EVENT_S / 3600.0)
    high = float(np.quantile(scores, 0.95))
    if share >= 0.05:
        threshold = float(np.quantile(scores, 1.0 - share))
    else:
        excess = scores[scores > high] - high
        mean_excess = float(excess.mean()) if len(excess) else 0.0
        threshold = high + mean_excess * math.log(0.05 / share)
    return min(max(MIN_THRESHOLD, threshold), MAX_THRESHOLD)


def check_readings(readings: Array) -> None:
    """Refuses frames that cannot serve as clean.

    Raises:
        DataError: If a reading is not finite, or most readings are the same in every frame.
    """
    if len(readings) == 0 or not np.isfinite(readings).all():
        raise DataError("no scans, or a reading is not finite: the data cannot serve as clean")
    if (readings.std(axis=0) < 1e-9).mean() > 0.5:
        raise DataError("the scans are all the same: the data is degenerate")


def resolution_of(names: Sequence[str]) -> Array:
    """(R,) what each reading resolves, in its own unit."""
    return np.array([_RESOLUTION.get(check_of(name), _OTHER_RESOLUTION) for name in names])


def normal_eloss(clean: Array, stages: tuple[int, ...]) -> float:
    """Median published ``eloss`` of (N, R) readings."""
    return float(np.median([eloss(row[: len(stages)], stages) for row in clean]))


def _with_limits(
    reference: HealthReference, clean: Array, changes: Array | None, false_alarms_per_hour: float
) -> HealthReference:
    """Sets the limits that 1 % of clean frames exceed, and the threshold.

    Args:
        reference: With a distance limit of 1 for frames by themselves, and check limits of 1.
        clean: (N, R) readings of clean frames.
        changes: (D,) distances of clean frames from those before; without it that limit stays.
    """
    judge = HealthJudge(reference)
    change_limit = reference.distance_limits[1] if changes is None else np.quantile(changes, 0.99)
    check_limits = np.quantile(judge.check_ratios(clean), 0.99, axis=0) * reference.check_limits
    reference = replace(
        reference,
        distance_limits=(
            float(np.quantile(judge.judge(clean).distance, 0.99)),
            float(change_limit),
        ),
        # A check of which nothing ever moves departs by what it resolves.
        check_limits=np.maximum(check_limits, 0.1),
    )
    scores = HealthJudge(reference).score(clean)
    return replace(reference, threshold=alarm_threshold(scores, false_alarms_per_hour))


def _traceable(profiles: ProfileReadings, shifts: Array, covariance: Array) -> Profiles:
    """The profiles, with (K, R) shifts, of disturbances that leave a trace in the readings."""
    traces = np.linalg.norm(np.linalg.solve(np.linalg.cholesky(covariance), shifts.T), axis=0)
    kept = np.flatnonzero(traces >= _MIN_TRACE)
    conditions = list(profiles.corrupted)
    return Profiles(
        names=tuple(conditions[k][0] for k in kept),
        severities=tuple(conditions[k][1] for k in kept),
        shifts=shifts[kept],
        ap_loss=np.array([max(0.0, profiles.ap_loss[conditions[k]]) for k in kept]),
        texts=profiles.texts,
        like_traffic=profiles.like_traffic,
    )


def _centred(rows: Array) -> Array:
    return np.asarray(rows - rows.mean(axis=0))


def _gap(varied: Array) -> Array:
    """Mean square deviation of other units of the sensor, its correlations shrunk."""
    square = varied.T @ varied / len(varied)
    return np.asarray((1.0 - _RIDGE) * square + _RIDGE * np.diag(np.diag(square)))


def _pooled(clean: Array, corrupted: Array) -> Array:
    """Covariance within classes, clean and corrupted weighing the same, with a small ridge."""
    covariance = 0.5 * (_covariance(clean) + _covariance(corrupted))
    ridge = np.diag(np.maximum(np.diag(covariance), 1e-3))
    return np.asarray((1.0 - _RIDGE) * covariance + _RIDGE * ridge)


def _covariance(rows: Array) -> Array:
    """Covariance whose correlations are shrunk, which keeps readings of different spread apart."""
    std = np.maximum(rows.std(axis=0, ddof=1), 1e-6)
    scaled = (rows - rows.mean(axis=0)) / std
    correlation = scaled.T @ scaled / (len(rows) - 1)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(shrink_correlation(correlation, len(rows)) * np.outer(std, std))


def shrink_correlation(correlation: Array, num_rows: int) -> Array:
    """A correlation matrix, shrunk towards independence.

    By the Oracle Approximating Shrinkage of Chen, Wiesel, Eldar and Hero, *Shrinkage Algorithms for
    MMSE Covariance Estimation* (2010).

    Args:
        correlation: (P, P) of a sample.
        num_rows: Size of the sample.
    """
    n, p = num_rows, len(correlation)
    trace = float(np.trace(correlation))
    squared = float(np.sum(correlation * correlation))
    numerator = (1.0 - 2.0 / p) * squared + trace * trace
    denominator = (n + 1.0 - 2.0 / p) * (squared - trace * trace / p)
    shrinkage = 1.0 if denominator <= 0.0 else min(1.0, numerator / denominator)
    target = np.eye(p) * max(trace / p, 1e-9)
    return np.asarray((1.0 - shrinkage) * correlation + shrinkage * target)
