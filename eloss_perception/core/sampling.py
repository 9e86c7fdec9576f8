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


# Points that are looked at between one check for room and the next.
_BLOCK = 1024


@numba.njit(cache=True, nogil=True)
def _sample(flat, bits):  # type: ignore[no-untyped-def]
    num_points = np.uintp(len(flat) // 4)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    block = np.uintp(_BLOCK)
    room = num_points // three + block
    sample = np.empty((room, 4), np.float32)
    num_drawn = np.uintp(0)
    for first in range(np.uintp(0), num_points, block):
        if num_drawn + block > room:  # points that are alike are drawn alike
            room = num_points + block
            larger = np.empty((room, 4), np.float32)
            larger[:num_drawn] = sample[:num_drawn]
            sample = larger
        # Without a branch, which none could foresee: all are written, and most are written over.
        for i in range(first, min(first + block, num_points)):
            start = four * i
            x, y = bits[start], bits[start + one]
            key = (x * np.uint32(0x9E3779B1)) ^ (y * np.uint32(0x85EBCA77))
            sample[num_drawn, 0] = flat[start]
            sample[num_drawn, 1] = flat[start + one]
            sample[num_drawn, 2] = flat[start + two]
            sample[num_drawn, 3] = flat[start + three]
            num_drawn += np.uintp((key & np.uint32(0x30000)) == 0)
    return sample[:num_drawn]
