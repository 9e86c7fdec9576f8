# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Float64 definitions of the research measures, which the torch ones are tested against."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from benchmarks.research_measures import (
    CODING_RATE_EPSILON2,
    KNN_FLOOR,
    KNN_NEIGHBOR,
    KNN_SAMPLES,
    REFERENCE_FLOOR,
    cell_priority,
    digamma,
    fixed_projection,
    log_ball_volume,
)
from eloss_perception.health.entropy import Array, centered, unit_gram


def reference_entropy(features: Array) -> float:
    """What the published code computes, for comparison; not an estimate of an entropy.

    Samples are the channels, dimensions the pixels: H = log(1 + Σ_i d_i,(K)), with d_i,(K) the
    K-th smallest distance from channel i to all channels, itself included, and K = C // 10. It
    grows with the logarithm of the activations' scale.

    Source: the code to *Entropy Loss*, arXiv 2409.00839. It sums over the batch's samples inside
    the logarithm; here each frame has its own value, so that none depends on the others.

    Args:
        features: (C, D) one frame's map, all D pixels.

    Returns:
        H >= 0 in the published code's unit.
    """
    x = np.asarray(features, np.float64)
    norm = np.sum(x * x, axis=1)
    squared = norm[:, None] + norm[None, :] - 2.0 * (x @ x.T)  # (C, C)
    np.fill_diagonal(squared, 0.0)
    distance = np.sqrt(np.maximum(squared, REFERENCE_FLOOR))
    rank = len(x) // 10
    return float(np.log1p(np.partition(distance, rank, axis=1)[:, rank].sum()))


def coding_rate(features: Array) -> float:
    """Normalised log-det coding rate of a set of feature vectors.

    R = ½ log det(I + C / (M ε²) Z Zᵀ) with Z centred per channel and scaled to a mean squared
    norm of 1 (MCR² puts every vector on the unit sphere; one factor for all keeps their relative
    lengths), so that it is free of scale; divided by its maximum, ½ C log(1 + 1 / ε²). The number
    of bits needed to code the vectors up to a squared error of ε², as a part of the most that C
    channels could need.

    Source: Yu et al., *Learning Diverse and Discriminative Representations via the Principle of
    Maximal Coding Rate Reduction*, arXiv 2006.08558, equation 6.

    Args:
        features: (C, M) the M feature vectors of one frame.

    Returns:
        Rate in [0, 1]: 1 for C orthogonal channels of equal variance,
        log(1 + C / ε²) / (C log(1 + 1 / ε²)) for rank one, 0 for constant features.
    """
    gram = unit_gram(features)
    channels = len(gram)
    _, log_det = np.linalg.slogdet(np.eye(channels) + channels / CODING_RATE_EPSILON2 * gram)
    return float(log_det / (channels * np.log1p(1.0 / CODING_RATE_EPSILON2)))


def kozachenko_leonenko(samples: Array, neighbor: int = KNN_NEIGHBOR, floor: float = 0.0) -> float:
    """Differential entropy of a distribution from N of its samples.

    h = ψ(N) − ψ(k) + log c_d + (d / N) Σ log r_k, with r_k the distance of a sample to its k-th
    nearest other sample and c_d the volume of the unit ball (Kozachenko and Leonenko 1987; in
    this form Kraskov et al., *Estimating mutual information*, 2004, equation 20).

    Args:
        samples: (N, d), N > k.
        neighbor: k.
        floor: Distances below it count as this.

    Returns:
        Entropy in nats; −inf where samples coincide and ``floor`` is 0.
    """
    x = np.asarray(samples, np.float64)
    count, dimensions = x.shape
    squared = np.stack([np.sum((x - row) ** 2, axis=1) for row in x])  # (N, N)
    np.fill_diagonal(squared, np.inf)
    distance = np.sqrt(np.partition(squared, neighbor - 1, axis=1)[:, neighbor - 1])
    with np.errstate(divide="ignore"):
        mean_log = np.mean(np.log(np.maximum(distance, floor)))
    return float(
        digamma(count) - digamma(neighbor) + log_ball_volume(dimensions) + dimensions * mean_log
    )


def knn_entropy(features: Array, cells: npt.NDArray[np.integer] | None = None) -> float:
    """Nearest-neighbour entropy of a set of feature vectors, per dimension, against a Gaussian's.

    The vectors are projected to 8 dimensions by a fixed matrix, centred and scaled to an RMS of
    1 per dimension; their Kozachenko–Leonenko entropy per dimension is given relative to that of
    a white Gaussian, ½ log 2πe. So it is free of scale. The entropy in nats of the projected
    features themselves is 8 · (value + ½ log 2πe + log RMS).

    Args:
        features: (C, M) the M feature vectors of one frame.
        cells: Columns whose distances are taken, e.g. of :func:`choose_cells`; None takes all.

    Returns:
        About 0 for a white Gaussian, the lower the more structure; 0 where the features are
        constant or fewer than five.
    """
    x = centered(features)
    projected = fixed_projection(len(x)).T @ x  # (d, M)
    rms = np.sqrt(np.mean(projected**2)) if projected.size else 0.0
    chosen = projected if cells is None else projected[:, cells]
    if rms == 0.0 or chosen.shape[1] <= KNN_NEIGHBOR:
        return 0.0
    nats = kozachenko_leonenko((chosen / rms).T, KNN_NEIGHBOR, KNN_FLOOR)
    return nats / len(projected) - 0.5 * math.log(2.0 * math.pi * math.e)


def choose_cells(active: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Which active cells of a map the nearest-neighbour entropy looks at; the same ones each time.

    Args:
        active: (M,) of the cells of the (sub)grid in row order.

    Returns:
        Indices into ``active`` of up to 512 active cells, spread evenly.
    """
    priority = np.where(active, cell_priority(active.size), 0.0)
    order = np.argsort(-priority, kind="stable")[: min(KNN_SAMPLES, active.size)]
    return np.asarray(order[priority[order] > 0.0], np.int64)
