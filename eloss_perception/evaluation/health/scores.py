# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scores that are compared: the alarm's, its parts alone, and what costs one line.

Each is a pure function of clean frames, then of what was collected; the higher, the less normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.evaluation.health.collect import Collected
from eloss_perception.evaluation.health.readout import (
    columns_of,
    host_checks,
    restricted,
)
from eloss_perception.evaluation.health.statistics import Features, Normal
from eloss_perception.health.entropy import eloss
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.reference import HealthReference

ALARM, UNSEEN = "alarm", "alarm_unseen"

# Variances below this are those of a network that says nothing.
_ELOSS_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """What a score may know of clean input.

    Attributes:
        reference: The health reference.
        spread: Clean frames whose covariance the baselines take.
        centre: Clean frames whose mean they take: of the place and sensor that is tested, where
            there are such.
    """

    reference: HealthReference
    spread: Collected
    centre: Collected


# (N,) scores of N frames.
Scorer = Callable[[Collected], NDArray[np.float64]]
Fit = Callable[[CalibrationSet], Scorer]


@dataclass(frozen=True, slots=True)
class Score:
    """One way to tell bad input.

    Attributes:
        what: One line for the table.
        fit: Takes in what may be known of clean input.
        is_baseline: Whether it is one that the alarm has to beat.
    """

    what: str
    fit: Fit
    is_baseline: bool = True


def _alarm(clean: CalibrationSet) -> Scorer:
    judge = HealthJudge(clean.reference)
    return lambda frames: np.asarray(judge.score(frames.readings), np.float64)


def _judged_on(choose: Callable[[HealthReference], tuple[str, ...]]) -> Fit:
    """Return the alarm's own judgement on some of its checks."""

    def fit(clean: CalibrationSet) -> Scorer:
        checks = choose(clean.reference)
        columns = columns_of(clean.reference, checks)
        judge = HealthJudge(restricted(clean.reference, checks, clean.spread.readings))
        return lambda frames: np.asarray(judge.score(frames.readings[:, columns]), np.float64)

    return fit


def _distance(features: Callable[[Collected, HealthReference], Features]) -> Fit:
    """Return the distance of features from those of clean frames."""

    def fit(clean: CalibrationSet) -> Scorer:
        reference = clean.reference
        spread, centre = (features(part, reference) for part in (clean.spread, clean.centre))
        normal = Normal.fit(spread, centre)
        return lambda frames: normal.distance(features(frames, reference))

    return fit


def _eloss(clean: CalibrationSet) -> Scorer:
    """|log ratio| of the published metric to its normal value."""
    stages = clean.reference.stages

    def log_eloss(part: Collected) -> NDArray[np.float64]:
        values = [eloss(row, stages) for row in part.layer_entropy]
        return np.log(np.maximum(values, _ELOSS_FLOOR))

    normal = np.median(log_eloss(clean.centre))
    return lambda frames: np.asarray(np.abs(log_eloss(frames) - normal))


def _all_but_entropy(reference: HealthReference) -> tuple[str, ...]:
    return tuple(check for check in reference.checks if check != "entropy")


def _host(frames: Collected, reference: HealthReference) -> Features:
    return frames.readings[:, columns_of(reference, host_checks(reference))]


SCORES: dict[str, Score] = {
    ALARM: Score("alarm score of the bundle", _alarm, is_baseline=False),
    "without_entropy": Score(
        "the alarm's judgement without layer entropies", _judged_on(_all_but_entropy)
    ),
    "input_statistics": Score(
        "the alarm's judgement of what needs no network", _judged_on(host_checks)
    ),
    "entropy": Score(
        "the alarm's judgement of layer entropies alone",
        _judged_on(lambda _: ("entropy",)),
        is_baseline=False,
    ),
    "log_rms": Score(
        "the alarm's judgement of the layers' log-RMS alone", _judged_on(lambda _: ("scale",))
    ),
    "network": Score(
        "the alarm's judgement of both",
        _judged_on(lambda _: ("entropy", "scale")),
        is_baseline=False,
    ),
    "entropy_distance": Score(
        "layer entropies, distance from clean",
        _distance(lambda frames, _: frames.layer_entropy),
        is_baseline=False,
    ),
    "input_distance": Score("what needs no network, distance from clean", _distance(_host)),
    "published_eloss": Score("published eloss, |log ratio| to normal", _eloss),
    "num_points": Score(
        "number of points", _distance(lambda frames, _: np.log1p(frames.num_points)[:, None])
    ),
    "range_histogram": Score(
        "points by range", _distance(lambda frames, _: np.log1p(frames.range_histogram))
    ),
    "box_confidence": Score(
        "mean score of the boxes", _distance(lambda frames, _: frames.confidence[:, :1])
    ),
    "map_confidence": Score(
        "mean greatest class probability",
        _distance(lambda frames, _: np.log(frames.confidence[:, 1:] + 1e-9)),
    ),
    "morans_i": Score(
        "Moran's I of range and intensity", _distance(lambda frames, _: frames.morans_i)
    ),
}

#: Of a score that is no entry of `SCORES`: each condition has its own reference.
UNSEEN_WHAT = "the alarm, had the corruption never been thought of"
