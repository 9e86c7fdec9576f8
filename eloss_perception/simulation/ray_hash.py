# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random numbers as a hash of where they are needed: the same ray draws the same number again.

Compiled into its callers, whose cached machine code numba renews only when their own file changes:
after a change here delete `__pycache__`.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit


@njit(inline="always")
def _mix(x):  # type: ignore[no-untyped-def]
    """Finaliser of splitmix64 (Steele et al., OOPSLA 2014) to a float in [0, 1)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.float64(x >> np.uint64(11)) * 1.1102230246251565e-16


@njit
def hash_uniform(a, b, c):  # type: ignore[no-untyped-def]
    """Uniform [0, 1) from three integers."""
    x = (
        np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
        ^ (np.uint64(b) + np.uint64(0x632BE59BD9B4E019)) * np.uint64(0xD1B54A32D192ED03)
        ^ (np.uint64(c) + np.uint64(0x2545F4914F6CDD1D)) * np.uint64(0x8CB92BA72F3D8DD7)
    )
    return _mix(x)
