# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy of a feature map and what Entropy Loss makes of a profile of them: float64 reference.

The network computes the same quantities in its own graph (``model/entropy.py``); these functions
are the definition that both are tested against, and what the onboard monitor uses on the few
numbers that leave the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def renyi2_entropy(features: npt.NDArray[np.floating]) -> float:
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
    centered = np.asarray(features, np.float64)
    centered = centered - centered.mean(axis=1, keepdims=True)
    peak = np.abs(centered).max(initial=0.0)
    if peak == 0.0:
        return 0.0
    centered = centered / peak
    gram = centered @ centered.T  # (C, C)
    concentration = np.sum(gram * gram) / np.trace(gram) ** 2
    return float(max(0.0, -np.log(concentration) / np.log(len(centered))))


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
    same_stage = np.diff(np.asarray(stages)) == 0
    return np.asarray(np.diff(entropy)[same_stage])


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
