# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points out of the bytes of a cloud, and their intensities into [0, 1], in one pass each."""

from __future__ import annotations

import numpy as np

from eloss_perception.core.compiled import njit


@njit
def copy_words(data, row_step, point_step, offsets, words):  # type: ignore[no-untyped-def]
    """Copies four little-endian fields of four bytes from every point, aligned or not.

    Args:
        data: (B,) uint8, at least height * row_step of them.
        row_step: Bytes from one row of points to the next.
        point_step: Bytes from one point to the next.
        offsets: (4,) int64, of the fields within a point.
        words: (height, width, 4) uint32, written.
    """
    one, two, three = np.uintp(1), np.uintp(2), np.uintp(3)
    first, second, third, fourth = offsets
    for row in range(words.shape[0]):
        for column in range(words.shape[1]):
            point = row * row_step + column * point_step
            places = (point + first, point + second, point + third, point + fourth)
            for k in range(4):
                at = np.uintp(places[k])
                # Compiled to a single load.
                words[row, column, k] = (
                    np.uint32(data[at])
                    | np.uint32(data[at + one]) << np.uint32(8)
                    | np.uint32(data[at + two]) << np.uint32(16)
                    | np.uint32(data[at + three]) << np.uint32(24)
                )


@njit(error_model="numpy")
def scale_intensity(points, scale):  # type: ignore[no-untyped-def]
    """Divides the intensities of (N, 4) float32 points by a scale and clips them; NaN stays."""
    for i in range(len(points)):
        intensity = points[i, 3] / scale
        if intensity < 0.0:
            intensity = np.float32(0.0)
        if intensity > 1.0:
            intensity = np.float32(1.0)
        points[i, 3] = intensity


@njit
def has_unit_intensity(points):  # type: ignore[no-untyped-def]
    """Whether the intensities of all (N, 4) float32 points are in [0, 1]; NaN is not."""
    num_inside = 0
    for i in range(len(points)):
        num_inside += (points[i, 3] >= 0.0) & (points[i, 3] <= 1.0)
    return num_inside == len(points)
