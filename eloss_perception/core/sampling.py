# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A quarter of a scan's points, drawn by their own content: what is read of a scan is read there.

The draw is the same for any order of the points, and another one for every scan.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]


def sample_points(points: Points) -> Points:
    """Every fourth point, by a hash of its x and y.

    Args:
        points: (N, 4) float32; non-finite points are drawn like any others.

    Returns:
        (M, 4) float32, contiguous, in the order of the points.
    """
    points = np.ascontiguousarray(points)
    return np.asarray(_sample(points, points.view(np.uint32)))


@numba.njit(cache=True, nogil=True)
def _sample(points, bits):  # type: ignore[no-untyped-def]
    sample = np.empty((len(points), 4), np.float32)
    # Without a branch, which none could foresee: all are written, and most are written over.
    num_sampled = np.uintp(0)
    for i in range(len(points)):
        key = (bits[i, 0] * np.uint32(0x9E3779B1)) ^ (bits[i, 1] * np.uint32(0x85EBCA77))
        for column in range(4):
            sample[num_sampled, column] = points[i, column]
        num_sampled += np.uintp((key & np.uint32(0x30000)) == 0)
    return sample[:num_sampled]
