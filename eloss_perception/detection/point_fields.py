# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points out of the bytes of a cloud; intensities into [0, 1] and no returns to NaN.

Drivers say "no return" with NaN (REP-117) or with a point at the origin. Points nearer than any
sensor measures are taken for such, so that an origin that a driver moved by its own lever arm is
found as well; hence this comes before the points leave the sensor's frame.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit

NEAREST_RETURN = 0.3
"""A point nearer to the sensor than this is no return, or the sensor's own housing [m]."""

_NEAREST_SQUARE = np.float32(NEAREST_RETURN**2)


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
def finish_points(points, scale):  # type: ignore[no-untyped-def]
    """Intensities into [0, 1] and no returns to NaN, in place.

    Args:
        points: (N, 4) float32 x, y, z [m] in the sensor's own frame, raw intensity; NaN stays.
        scale: float32 intensity that counts as 1.
    """
    for i in range(len(points)):
        intensity = points[i, 3] / scale
        if intensity < 0.0:
            intensity = np.float32(0.0)
        if intensity > 1.0:
            intensity = np.float32(1.0)
        points[i, 3] = intensity
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if x * x + y * y + z * z < _NEAREST_SQUARE:
            points[i, 0] = points[i, 1] = points[i, 2] = np.float32(np.nan)


@njit(error_model="numpy")
def are_finished(points):  # type: ignore[no-untyped-def]
    """Whether :func:`finish_points` of a scale of 1 would change nothing.

    Args:
        points: (N, 4) float32, contiguous.
    """
    # Flat and without a branch, which the compiler makes vector instructions of.
    values = points.reshape(-1)  # (N, 4) -> (4N,)
    num_changed = np.int32(0)
    for i in range(len(points)):
        at = np.uintp(4 * i)
        x, y, z = values[at], values[at + np.uintp(1)], values[at + np.uintp(2)]
        intensity = values[at + np.uintp(3)]
        # A comparison with NaN is false, and NaN stays.
        is_changed = (intensity < np.float32(0.0)) | (intensity > np.float32(1.0))
        num_changed += np.int32(is_changed | (x * x + y * y + z * z < _NEAREST_SQUARE))
    return num_changed == 0
