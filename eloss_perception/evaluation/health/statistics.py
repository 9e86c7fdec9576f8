# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rank statistics of scores, and how much they depend on which frames were drawn.

All intervals are percentile bootstraps over frames (Efron & Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13). A frame is drawn together with all its corrupted versions and all its
scores, so that differences of scores and of conditions are paired.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.evaluation.average_precision import draw_indices
from eloss_perception.files import write_file
from eloss_perception.health.fit import shrink_correlation

Scores = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value with its interval; NaN where it has none."""

    value: float
    low: float
    high: float


def auroc(clean: Scores, corrupted: Scores) -> float:
    """Probability that a corrupted frame scores above a clean one; a tie counts half.

    Computed from ranks, in O(n log n) (Hanley & McNeil, *The meaning and use of the area under a
    receiver operating characteristic curve*, 1982). NaN where a set is empty.
    """
    if not len(clean) or not len(corrupted):
        return math.nan
    ranks = average_ranks(np.concatenate([clean, corrupted]))
    above = ranks[len(clean) :].sum() - 0.5 * len(corrupted) * (len(corrupted) + 1)
    return float(above / (len(clean) * len(corrupted)))


def fpr_at_tpr(clean: Scores, corrupted: Scores, tpr: float = 0.95) -> float:
    """Share of clean frames that alarm at the highest threshold that catches `tpr` of the others.

    A frame alarms when its score is at least the threshold. NaN where a set is empty.
    """
    if not len(clean) or not len(corrupted):
        return math.nan
    needed = _num_needed(len(corrupted), tpr)
    threshold = np.sort(corrupted)[len(corrupted) - needed]
    return float(np.mean(clean >= threshold))


def average_ranks(values: Scores) -> Scores:
    """Return the ranks from 1; equal values share the mean of theirs."""
    values = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - 0.5 * (counts - 1))[inverse], np.float64)


def spearman(first: Scores, second: Scores) -> float:
    """Correlation of the ranks; NaN where one of them is constant or there are fewer than three."""
    if len(first) < 3:
        return math.nan
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread > 0.0 else math.nan


def draw_blocks(num_frames: int, num_resamples: int, length: int, seed: int) -> NDArray[np.int64]:
    """Return `draw_indices` with a stream for each number of frames and length of a block."""
    return draw_indices(num_frames, num_resamples, length, [seed, num_frames, length])


def auroc_resamples(clean: Scores, corrupted: Scores, counts: NDArray[np.int64]) -> Scores:
    """Return the AUROC of each resample of frames.

    Args:
        clean: (F,) scores.
        corrupted: (F,) scores of the same frames, corrupted.
        counts: (R, F) how often each frame counts.
    """
    above = (corrupted[:, None] > clean) + 0.5 * (corrupted[:, None] == clean)  # (F, F)
    weights = counts.sum(axis=1) ** 2
    return np.asarray(np.einsum("rf,rf->r", counts @ above, counts) / weights)


def fpr_resamples(
    clean: Scores, corrupted: Scores, draws: NDArray[np.int64], tpr: float = 0.95
) -> Scores:
    """Return `fpr_at_tpr` of each of (R, F) draws."""
    num_frames = draws.shape[1]
    place = num_frames - _num_needed(num_frames, tpr)
    threshold = np.partition(corrupted[draws], place, axis=1)[:, place]
    return np.asarray(np.mean(clean[draws] >= threshold[:, None], axis=1))


def estimate(value: float, resamples: Scores, confidence: float) -> Estimate:
    """Return a value with the middle share of its resamples."""
    finite = resamples[np.isfinite(resamples)]
    if not len(finite):
        return Estimate(value, math.nan, math.nan)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(finite, [tail, 100.0 - tail])
    return Estimate(value, float(low), float(high))


def share_interval(count: int, total: int, z: float = 1.959964) -> Estimate:
    """Return a share with its 95 % score interval (Wilson 1927); NaN without frames."""
    if not total:
        return Estimate(math.nan, math.nan, math.nan)
    share = count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total)
    half *= math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def _num_needed(num_frames: int, tpr: float) -> int:
    # 0.95 * 20 is 19, not the 20 that rounding up its binary neighbour would give.
    return max(1, math.ceil(tpr * num_frames - 1e-9))


# Enough that no two different scores of a double become one in practice.
_DIGITS = 7


def number(value: float) -> float | None:
    """Return a number for JSON."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return numbers for JSON."""
    return [number(float(value)) for value in values]


def interval(value: Estimate) -> dict[str, float | None]:
    """Return an estimate for JSON."""
    return {"value": number(value.value), "low": number(value.low), "high": number(value.high)}


def scores_of(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Read back scores; a null was infinite: as far from normal as can be."""
    return np.array([math.inf if value is None else value for value in values], np.float64)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file and its folder.

    Raises:
        DataError: If it cannot be written.
    """
    write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


Features = NDArray[np.float64]

# Features that vary less than this part of their size do not vary.
_CONSTANT = 1e-9


@dataclass(frozen=True, slots=True)
class Normal:
    """Centre and spread of clean features.

    Attributes:
        mean: (D,).
        whitening: (D, D) turns a deviation into independent parts of unit variance.
    """

    mean: Features
    whitening: Features

    @classmethod
    def fit(cls, spread: Features, centre: Features | None = None) -> Normal:
        """Estimate from clean frames.

        Args:
            spread: (N, D) frames whose covariance counts, N >= 2.
            centre: (M, D) frames whose mean counts; without them those of `spread`.
        """
        mean = np.mean(spread if centre is None else centre, axis=0)
        std = spread.std(axis=0, ddof=1)
        # A feature that never varied still has to be divided by something: then any change is far.
        std = np.maximum(std, _CONSTANT * np.maximum(1.0, np.abs(spread.mean(axis=0))))
        scaled = (spread - spread.mean(axis=0)) / std
        num_frames, num_features = scaled.shape
        correlation = scaled.T @ scaled / max(1, num_frames - 1)
        shrunk = shrink_correlation(correlation, num_frames)
        # A correlation of exactly 1 would leave nothing for rounding.
        factor = np.linalg.cholesky(shrunk + _CONSTANT * np.eye(num_features))
        return cls(mean, np.linalg.inv(factor) / std)

    def distance(self, features: Features) -> Features:
        """(N,) Mahalanobis distance of (N, D) features over the root of D; infinite for a NaN."""
        whitened = (features - self.mean) @ self.whitening.T
        distance = np.linalg.norm(whitened, axis=1) / np.sqrt(features.shape[1])
        return np.where(np.isfinite(distance), distance, np.inf)
