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
    flat = np.ascontiguousarray(points).reshape(-1)  # (4 N,): no index has to be worked out
    return np.asarray(_sample(flat, flat.view(np.uint32)))


@numba.njit(cache=True, nogil=True)
def _sample(flat, bits):  # type: ignore[no-untyped-def]
    num_points = np.uintp(len(flat) // 4)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    # Without a branch, which none could foresee: all are written, and most are written over.
    drawn = np.empty(num_points, np.uint32)
    num_drawn = np.uintp(0)
    for i in range(num_points):
        x, y = bits[four * i], bits[four * i + one]
        key = (x * np.uint32(0x9E3779B1)) ^ (y * np.uint32(0x85EBCA77))
        drawn[num_drawn] = i
        num_drawn += np.uintp((key & np.uint32(0x30000)) == 0)
    sample = np.empty((num_drawn, 4), np.float32)
    for k in range(num_drawn):
        start = four * np.uintp(drawn[k])
        sample[k, 0] = flat[start]
        sample[k, 1] = flat[start + one]
        sample[k, 2] = flat[start + two]
        sample[k, 3] = flat[start + three]
    return sample
