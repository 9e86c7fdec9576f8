# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy of a feature map, and statistics of a profile of entropies, in float64.

The network computes the same entropy in its own graph (``network/entropy_readout.py``); these
functions are the definition that it is tested against, and what the onboard monitor uses on the
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

# Summed squares of the centred features below this part of the mean's are rounding, not variation:
# a standard deviation of a hundred-thousandth of the mean, some float32 steps.
CONSTANT = 1e-10

Array = npt.NDArray[np.floating]


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
    gram = unit_gram(features)
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


def grid_stride(num_y: int, num_x: int, channels: int) -> int:
    """Step between the measured cells of a map, the same along x and y.

    A part of the cells, whatever the range: the readout takes the same part of any network's time.
    """
    if num_y * num_x <= WHOLE_MAP_CELLS:
        return 1
    return GRID_STRIDE if channels >= _NARROW_CHANNELS else NARROW_GRID_STRIDE


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


def unit_gram(features: Array) -> npt.NDArray[np.float64]:
    """Gram matrix (C, C) of the centred channels, scaled to trace 1; zero where constant."""
    x = centered(features)
    gram = x @ x.T
    power = np.trace(gram)
    return np.asarray(gram / power) if power > 0.0 else gram


def centered(features: Array) -> npt.NDArray[np.float64]:
    """Features (C, M) less each channel's mean, scaled to a peak of 1; zero where constant."""
    x = np.asarray(features, np.float64)
    if not x.size:
        return x
    mean = x.mean(axis=1, keepdims=True)
    offset = np.asarray(x - mean)
    peak = np.abs(offset).max()
    if peak == 0.0 or np.sum((offset / peak) ** 2) <= CONSTANT * x.shape[1] * np.sum(
        (mean / peak) ** 2
    ):
        return np.zeros_like(offset)
    return np.asarray(offset / peak)
