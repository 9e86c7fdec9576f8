# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Probabilities of logits, worked out only where they can reach a threshold."""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit


@njit
def least_logit(threshold):  # type: ignore[no-untyped-def]
    """A logit below all whose float32 probability reaches a float32 threshold.

    Most logits are far below; this spares them the exponential.
    """
    if not threshold > 0.0:
        return np.float32(-np.inf)
    # By more than rounding can reach.
    return np.float32(np.log(threshold / max(1.0 - threshold, 1e-7)) - 1e-2)


@njit
def probability(logit):  # type: ignore[no-untyped-def]
    """The float32 probability of a float32 logit."""
    return np.float32(1.0) / (np.float32(1.0) + np.exp(-logit))


@njit
def count_from(logits, least):  # type: ignore[no-untyped-def]
    """How many (H, W) logits are as high as this; NaN is not."""
    count = 0
    for row in range(logits.shape[0]):
        for column in range(logits.shape[1]):
            count += logits[row, column] >= least
    return count
