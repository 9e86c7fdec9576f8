# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The points of a scan on their way to the network: out of a cloud's bytes, checked, sampled.

Drivers say "no return" with NaN (REP-117) or with a point at the origin. Points nearer than any
sensor measures are taken for such, so that an origin that a driver moved by its own lever arm is
found as well; hence this comes before the points leave the sensor's frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.detection.sensors import SensorModel

NEAREST_RETURN = 0.3
"""A point nearer to the sensor than this is no return, or the sensor's own housing [m]."""

_NEAREST_SQUARE = np.float32(NEAREST_RETURN**2)

# Intensity is off the scale if more points than this are at its upper end, or fewer than that are
# brighter than five of 255. Retroreflectors are one in a hundred; a dark road has some paint.
_MAX_SATURATED_SHARE = 0.5
_DARK, _MIN_BRIGHT_SHARE = 0.02, 0.01
_MIN_POINTS_TO_TELL = 100


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


def intensity_fault(points: NDArray[np.float32], sensor: SensorModel) -> str:
    """What is wrong with the intensities of a scan, for whoever configured the sensor.

    Args:
        points: (N, 4) float32 points in the network frame, or a sample of them.
        sensor: The sensor that measured them.

    Returns:
        One line that names the settings to look at; empty where nothing is wrong, where the points
        are too few to tell, or where no intensity is asked for.
    """
    if not sensor.intensity_fields:
        return ""
    values = points[np.isfinite(points[:, 0]), 3]
    if len(values) < _MIN_POINTS_TO_TELL:
        return ""
    if np.isnan(values).mean() > _MAX_SATURATED_SHARE:
        found = "is not a number"
    elif (values >= 1.0).mean() > _MAX_SATURATED_SHARE:
        found = "is saturated"
    elif not (values > 0.0).any():
        found = "is zero everywhere"
    elif (values > _DARK).mean() < _MIN_BRIGHT_SHARE:
        found = "is next to zero everywhere"
    else:
        return ""
    return f"intensity {found}: check sensor, intensity_field and intensity_scale"


class Sampler:
    """Draws a quarter of a scan's points; its memory is kept between scans.

    Each is drawn by a hash of its own x and y: the same ones for any order of the points, and other
    ones in every scan.
    """

    def __init__(self) -> None:
        self._buffer = np.empty((0, 4), np.float32)

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Draws the sample of one scan.

        Args:
            points: (N, 4) float32; non-finite points are drawn like any others.

        Returns:
            (M, 4) float32, contiguous, in the order of the points; valid until the next call.
        """
        if len(points) > len(self._buffer):
            self._buffer = np.empty((len(points), 4), np.float32)
        flat = np.ascontiguousarray(points).reshape(-1)  # (4 N,), which is indexed faster
        return self._buffer[: _sample(flat, flat.view(np.uint32), self._buffer)]


@njit
def _sample(flat, bits, sample):  # type: ignore[no-untyped-def]
    """Fills the first rows of ``sample``; their number."""
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    num_drawn = np.uintp(0)
    # Without an unpredictable branch: all are written, and most are overwritten.
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
