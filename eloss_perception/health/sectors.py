# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sectors of a turn, without trigonometry."""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit

NUM_SECTORS = 16
_BELOW_TURN = float(np.nextafter(4.0, 0.0))


@njit(inline="always", error_model="numpy")
def sector_of(x, y):  # type: ignore[no-untyped-def]
    """Sector of a point, counter-clockwise from +x, as an unsigned index; the last one for NaN."""
    # Diamond angle in [0, 4): monotone in the azimuth.
    ratio = y / (abs(x) + abs(y) + np.float32(1e-6))
    angle = ratio if x >= 0.0 else 2.0 - ratio
    if angle < 0.0:
        angle += 4.0
    # A point just below +x rounds to 4. Of a number and NaN, which is second, min is the number.
    return np.uintp(int(min(_BELOW_TURN, angle) * (NUM_SECTORS / 4.0)))
