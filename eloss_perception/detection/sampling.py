# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A quarter of a scan's points, drawn by their own content: what is read of a scan is read there.

The draw is the same for any order of the points, and another one for every scan.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit

Points = npt.NDArray[np.float32]


class Sampler:
    """Every fourth point of a scan, by a hash of its x and y; its memory is kept between scans."""

    def __init__(self) -> None:
        self._room = np.empty((0, 4), np.float32)

    def __call__(self, points: Points) -> Points:
        """Draws the sample of one scan.

        Args:
            points: (N, 4) float32; non-finite points are drawn like any others.

        Returns:
            (M, 4) float32, contiguous, in the order of the points; valid until the next call.
        """
        if len(points) > len(self._room):
            self._room = np.empty((len(points), 4), np.float32)
        flat = np.ascontiguousarray(points).reshape(-1)  # (4 N,): no index has to be worked out
        return self._room[: _sample(flat, flat.view(np.uint32), self._room)]


@njit
def _sample(flat, bits, sample):  # type: ignore[no-untyped-def]
    """Fills the first rows of ``sample``; their number."""
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    num_drawn = np.uintp(0)
    # Without a branch, which none could foresee: all are written, and most are written over.
    for i in range(np.uintp(len(flat) // 4)):
        start = four * i
        x, y = bits[start], bits[start + one]
        key = (x * np.uint32(0x9E3779B1)) ^ (y * np.uint32(0x85EBCA77))
        sample[num_drawn, 0] = flat[start]
        sample[num_drawn, 1] = flat[start + one]
        sample[num_drawn, 2] = flat[start + two]
        sample[num_drawn, 3] = flat[start + three]
        num_drawn += np.uintp((key & np.uint32(0x30000)) == 0)
    return num_drawn
