# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far features lie from those of clean frames: the plain distance that every baseline gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        factor = np.linalg.cholesky(shrunk_correlation(scaled))
        return cls(mean, np.linalg.inv(factor) / std)

    def distance(self, features: Features) -> Features:
        """(N,) Mahalanobis distance of (N, D) features over the root of D; infinite for a NaN."""
        whitened = (features - self.mean) @ self.whitening.T
        distance = np.linalg.norm(whitened, axis=1) / np.sqrt(features.shape[1])
        return np.where(np.isfinite(distance), distance, np.inf)


def shrunk_correlation(scaled: Features) -> Features:
    """Correlation matrix, shrunk towards independence.

    By the Oracle Approximating Shrinkage of Chen, Wiesel, Eldar and Hero, *Shrinkage Algorithms for
    MMSE Covariance Estimation* (2010), which needs no choice of ours.

    Args:
        scaled: (N, D) features less their mean, over their standard deviation.
    """
    n, p = scaled.shape
    correlation = scaled.T @ scaled / max(1, n - 1)
    trace = float(np.trace(correlation))
    squared = float(np.sum(correlation * correlation))
    numerator = (1.0 - 2.0 / p) * squared + trace * trace
    denominator = (n + 1.0 - 2.0 / p) * (squared - trace * trace / p)
    shrinkage = 1.0 if denominator <= 0.0 else min(1.0, numerator / denominator)
    target = np.eye(p) * max(trace / p, _CONSTANT)
    shrunk: Features = (1.0 - shrinkage) * correlation + shrinkage * target
    # A correlation of exactly 1 would leave no room for rounding.
    return shrunk + 1e-9 * np.eye(p)
