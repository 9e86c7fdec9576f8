# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a scan, or a part of its turn, is the one before once more.

Ranges come with noise: no two turns give the same numbers, not even of a standing scene. A sector
whose points are those of the last scan bit for bit is old data, from a driver that hands out a
buffer twice. Nothing else shows that half of a turn is a tenth of a second late.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit
from eloss_perception.detection.points import NEAREST_RETURN
from eloss_perception.health.sectors import NUM_SECTORS, sector_of

_NEAREST_SQUARE, _FARTHEST_SQUARE = np.float32(NEAREST_RETURN**2), np.float32(1e12)

Fingerprints = npt.NDArray[np.uint64]


def sector_fingerprints(points: npt.NDArray[np.float32]) -> Fingerprints:
    """A number for the points of each sector of the turn; the same for any order of the points.

    Args:
        points: (N, 4) float32 x, y, z [m], intensity: a scan, or a sample of its points that their
            content draws (``detection/points.py``).

    Returns:
        (16,) uint64 sums of hashes of the points; 0 where there are none.
    """
    points = np.ascontiguousarray(points)
    return np.asarray(_sum_hashes(points, points.view(np.uint32)))


def repeated_share(fingerprints: Fingerprints, last: Fingerprints) -> float:
    """Share of the sectors with points that are the same as in the last scan."""
    is_seen = fingerprints != 0
    if not is_seen.any():
        return 0.0
    return float((fingerprints == last)[is_seen].mean())


@njit(error_model="numpy")
def _sum_hashes(points, bits):  # type: ignore[no-untyped-def]
    sums = np.zeros(NUM_SECTORS, np.uint64)
    for i in range(len(points)):
        x, y, z, intensity = points[i, 0], points[i, 1], points[i, 2], points[i, 3]
        # What is no return is the same in every scan, whichever way a driver says it: NaN, for
        # which comparisons are false, infinity or the origin.
        if not (_NEAREST_SQUARE <= x * x + y * y + z * z < _FARTHEST_SQUARE):
            continue
        if not np.isfinite(intensity):
            continue
        sector = sector_of(x, y)
        # Mixing steps of SplitMix64 (Steele et al. 2014), as in detection/pillars.py.
        mixed = np.uint64(bits[i, 0]) << np.uint64(32) | np.uint64(bits[i, 1])
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= np.uint64(bits[i, 2]) << np.uint64(32) | np.uint64(bits[i, 3])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        sums[sector] += mixed ^ (mixed >> np.uint64(31))
    return sums
