# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nearest hit of every ray so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Owners that are no object.
NO_HIT = -2
GROUND = -1


@dataclass(frozen=True)
class DepthBuffer:
    """Nearest hits over a grid of B beams and A azimuths; the casts write into its arrays.

    Attributes:
        depth: (B, A) float64 range [m]; far beyond any sensor where nothing was hit.
        signal: (B, A) float64 effective reflectivity.
        owner: (B, A) int32 index of the object hit, `GROUND` or `NO_HIT`.
    """

    depth: NDArray[np.float64]
    signal: NDArray[np.float64]
    owner: NDArray[np.int32]

    @classmethod
    def clear(cls, shape: tuple[int, ...]) -> DepthBuffer:
        """A buffer without hits."""
        return cls(np.full(shape, 1e9), np.zeros(shape), np.full(shape, NO_HIT, np.int32))
