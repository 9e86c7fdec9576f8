# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy of a feature map and what Entropy Loss makes of a profile of them: float64 reference.

The network computes the same quantities in its own graph (``network/entropy_readout.py``); these
functions are the definition that both are tested against, and what the onboard monitor uses on the
few numbers that leave the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# Maps of up to this many cells are measured in whole, larger ones on a regular subgrid.
WHOLE_MAP_CELLS = 512

# Step of the subgrid. Fetching the cells costs a layer of few channels more, relative to its
# convolution, than one of many.
GRID_STRIDE = 3
NARROW_GRID_STRIDE = 4
_NARROW_CHANNELS = 64

# Features whose RMS is below this count as this, so that absent ones have a logarithm, too.
LOG_RMS_FLOOR = 1e-6

# Smallest squared distance of the published code's first version.
REFERENCE_FLOOR = 1e-12

# Squared distortion of the coding rate, as in MCR² (Yu et al., arXiv 2006.08558, experiments).
CODING_RATE_EPSILON2 = 0.5

# Nearest-neighbour estimate: samples a frame, dimensions they are projected to, neighbour's rank.
KNN_SAMPLES = 512
KNN_DIMENSIONS = 8
KNN_NEIGHBOR = 4

# Nearest-neighbour distances below this part of the features' RMS count as this: ReLU leaves
# identical vectors, whose distance has no logarithm.
KNN_FLOOR = 1e-2

# Summed squares of the centred features below this part of the mean's are rounding, not variation:
# a standard deviation of a hundred-thousandth of the mean, some float32 steps.
CONSTANT = 1e-10

_EULER_GAMMA = 0.5772156649015329

Array = npt.NDArray[np.floating]


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


def renyi2_entropy(features: Array) -> float:
    """Normalised Rényi-2 matrix entropy of a set of feature vectors.

    With Z the features centred per channel and G = Z Zᵀ their (C, C) Gram matrix,
    H₂ = −log(‖G‖²_F / tr(G)²) / log C: the Rényi entropy of order 2 of G's normalised spectrum
    (Sánchez Giraldo, Rao and Príncipe, *Measures of entropy from data using infinitely divisible
    kernels*, 2015). It says over how many directions of the feature space the layer spreads its
    variance, and does not change when the features are scaled.

    Args:
        features: (C, M) the M feature vectors of one frame, C >= 2 channels.

    Returns:
        Entropy in [0, 1]: 1 for C orthogonal channels of equal variance, 0 for rank one and for
        constant features.
    """
    gram = _unit_gram(features)
    if not gram.any():
        return 0.0
    return float(max(0.0, -np.log(np.sum(gram * gram)) / np.log(len(gram))))


def log_rms(features: Array) -> float:
    """Logarithm of the RMS of a set of feature vectors, about 0 and not about their mean.

    The scale that the entropies leave out.

    Args:
        features: (C, M) the M feature vectors of one frame.

    Returns:
        log(max(RMS, ``LOG_RMS_FLOOR``)); that of the floor where there are none.
    """
    x = np.asarray(features, np.float64)
    rms = float(np.sqrt(np.mean(x * x))) if x.size else 0.0
    return math.log(max(rms, LOG_RMS_FLOOR))


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
    gram = _unit_gram(features)
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
    x = _centered(features)
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


def grid_stride(num_y: int, num_x: int, channels: int) -> int:
    """Step between the measured cells of a map, the same along x and y.

    A part of the cells, whatever the range: the readout takes the same part of any network's time.
    """
    if num_y * num_x <= WHOLE_MAP_CELLS:
        return 1
    return GRID_STRIDE if channels >= _NARROW_CHANNELS else NARROW_GRID_STRIDE


def cell_priority(num_cells: int) -> npt.NDArray[np.float32]:
    """(num_cells,) distinct values in (0, 1] in an order that looks random and never changes."""
    shuffled = np.argsort(_hash(np.arange(num_cells, dtype=np.uint64)), kind="stable")
    priority = np.empty(num_cells, np.float32)
    priority[shuffled] = np.arange(1, num_cells + 1, dtype=np.float32) / num_cells
    return priority


def fixed_projection(channels: int) -> npt.NDArray[np.float64]:
    """(C, min(C, 8)) orthonormal columns, a random subspace that is the same everywhere.

    Up to 8 channels it is the identity.
    """
    if channels <= KNN_DIMENSIONS:
        return np.eye(channels)
    bits = _hash(np.arange(channels * KNN_DIMENSIONS, dtype=np.uint64) + np.uint64(1 << 32)) >> 63
    signs = 2.0 * bits.astype(np.float64).reshape(channels, KNN_DIMENSIONS) - 1.0
    q, r = np.linalg.qr(signs)
    return np.asarray(q * np.sign(np.diag(r)))  # LAPACK's choice of signs removed


def log_ball_volume(dimensions: int) -> float:
    """Logarithm of the volume of the unit ball."""
    return 0.5 * dimensions * math.log(math.pi) - math.lgamma(0.5 * dimensions + 1.0)


def digamma(n: int) -> float:
    """ψ(n) = Σ_{i<n} 1 / i − γ for an integer n >= 1."""
    return float(np.sum(1.0 / np.arange(1, n))) - _EULER_GAMMA


def entropy_changes(
    layer_entropy: npt.NDArray[np.floating], stages: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Entropy change from layer to layer inside each stage.

    No difference is taken across a stage boundary: there stride and width change, and with them
    what the entropy is measured over.

    Args:
        layer_entropy: (L,) entropies in layer order.
        stages: Stage index of each of the L layers.

    Returns:
        (L − number of stages,) differences H_l − H_{l−1}.
    """
    entropy = np.asarray(layer_entropy, np.float64)
    return np.asarray(np.diff(entropy)[_is_inside_stage(tuple(stages))])


@lru_cache(maxsize=16)
def _is_inside_stage(stages: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(L − 1,) whether each step to the next layer stays in its stage."""
    return np.asarray(np.diff(np.array(stages)) == 0)


def eloss(layer_entropy: npt.NDArray[np.floating], stages: Sequence[int]) -> float:
    """The published quality metric: unbiased variance of the entropy changes.

    Source: *Eloss in the way*, arXiv 2302.00986, with the differences taken inside stages.

    Args:
        layer_entropy: (L,) entropies in layer order.
        stages: Stage index of each layer.

    Returns:
        The variance; 0 where fewer than two differences exist.
    """
    changes = entropy_changes(layer_entropy, stages)
    return float(np.var(changes, ddof=1)) if len(changes) > 1 else 0.0


def _unit_gram(features: Array) -> npt.NDArray[np.float64]:
    """Gram matrix (C, C) of the centred channels, scaled to trace 1; zero where constant."""
    centered = _centered(features)
    gram = centered @ centered.T
    power = np.trace(gram)
    return np.asarray(gram / power) if power > 0.0 else gram


def _centered(features: Array) -> npt.NDArray[np.float64]:
    """Features (C, M) less each channel's mean, scaled to a peak of 1; zero where constant."""
    x = np.asarray(features, np.float64)
    if not x.size:
        return x
    mean = x.mean(axis=1, keepdims=True)
    centered = np.asarray(x - mean)
    peak = np.abs(centered).max()
    if peak == 0.0 or np.sum((centered / peak) ** 2) <= CONSTANT * x.shape[1] * np.sum(
        (mean / peak) ** 2
    ):
        return np.zeros_like(centered)
    return np.asarray(centered / peak)


def _hash(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): well mixed, equal on every machine."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
