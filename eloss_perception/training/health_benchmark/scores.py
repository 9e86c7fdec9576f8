# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scores that are compared: the alarm's, its parts alone, and what costs one line.

Each is a pure function of what was collected and of clean frames; the higher, the less normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.entropy import eloss
from eloss_perception.core.health import HealthReference
from eloss_perception.training.health_benchmark.collected import Collected
from eloss_perception.training.health_benchmark.normal import Features, Normal
from eloss_perception.training.health_benchmark.readout import host_columns, reference_scores

ALARM = "alarm"

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


@dataclass(frozen=True, slots=True)
class Score:
    """One way to tell bad input.

    Attributes:
        what: One line for the table.
        compute: (N,) scores of N frames.
        is_baseline: Whether it is one that the alarm has to beat.
    """

    what: str
    compute: Callable[[Collected, CalibrationSet], NDArray[np.float64]]
    is_baseline: bool = True


def _alarm(frames: Collected, clean: CalibrationSet) -> NDArray[np.float64]:
    return reference_scores(clean.reference, frames.readings)


def _distance(
    features: Callable[[Collected, HealthReference], Features],
) -> Callable[[Collected, CalibrationSet], NDArray[np.float64]]:
    """Return the distance of features from those of clean frames."""

    def compute(frames: Collected, clean: CalibrationSet) -> NDArray[np.float64]:
        parts = (frames, clean.spread, clean.centre)
        tested, spread, centre = (features(part, clean.reference) for part in parts)
        return Normal.fit(spread, centre).distance(tested)

    return compute


def _eloss(frames: Collected, clean: CalibrationSet) -> NDArray[np.float64]:
    """|log ratio| of the published metric to its normal value."""
    stages = clean.reference.stages

    def log_eloss(part: Collected) -> NDArray[np.float64]:
        values = [eloss(row, stages) for row in part.layer_entropy]
        return np.log(np.maximum(values, _ELOSS_FLOOR))

    return np.abs(log_eloss(frames) - np.median(log_eloss(clean.centre)))


def _host(frames: Collected, reference: HealthReference) -> Features:
    return frames.readings[:, host_columns(reference)]


def _network(frames: Collected, _: HealthReference) -> Features:
    return np.hstack([frames.layer_entropy, frames.layer_log_rms])


SCORES: dict[str, Score] = {
    ALARM: Score("alarm score of the bundle", _alarm, is_baseline=False),
    "entropy": Score(
        "layer entropies alone", _distance(lambda f, _: f.layer_entropy), is_baseline=False
    ),
    "log_rms": Score("layers' log-RMS alone", _distance(lambda f, _: f.layer_log_rms)),
    "network": Score("layer entropies and log-RMS", _distance(_network), is_baseline=False),
    "input_statistics": Score("all readings that need no network", _distance(_host)),
    "published_eloss": Score("published eloss, |log ratio| to normal", _eloss),
    "num_points": Score(
        "number of points", _distance(lambda f, _: np.log1p(f.num_points)[:, None])
    ),
    "range_histogram": Score(
        "points by range", _distance(lambda f, _: np.log1p(f.range_histogram))
    ),
    "box_confidence": Score("mean score of the boxes", _distance(lambda f, _: f.confidence[:, :1])),
    "map_confidence": Score(
        "mean greatest class probability",
        _distance(lambda f, _: np.log(f.confidence[:, 1:] + 1e-9)),
    ),
    "morans_i": Score("Moran's I of range and intensity", _distance(lambda f, _: f.morans_i)),
}


def available_scores(frames: Collected) -> tuple[str, ...]:
    """Return the scores that the network gives; one without log-RMS lacks that one."""
    missing = {"log_rms"} if frames.layer_log_rms.shape[1] == 0 else set()
    return tuple(name for name in SCORES if name not in missing)
