# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mistakes in mounting a sensor, in its driver and in their settings.

A wrong mounting tilts the published cloud about the sensor's origin, as a wrong extrinsic
calibration does. Dong et al. (CVPR 2023) call it spatial misalignment; careful calibration leaves
half a degree, a bent bracket some degrees. The others have no source but experience: each is one
wrong line of a driver or of its settings.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.corruptions.scan import (
    SWEEP_S,
    PointArray,
    Rng,
    is_in_half,
    is_return,
)

TILT_DEG = (0.5, 1.0, 1.5, 2.0, 3.0)
HEIGHT_M = (0.1, 0.2, 0.3, 0.4, 0.5)

INTENSITY_GAIN = (0.7, 0.5, 0.3, 0.15, 0.0)
# Where a scan has no predecessor: how fast the ego vehicle is taken to drive [m/s].
SHIFT_SPEED_M_S = (2.0, 4.0, 6.0, 8.0, 10.0)


def intensity_scale(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Intensity times 0.7, 0.5, 0.3, 0.15, 0; 0-1 taken for 0-255 looks like the last."""
    scaled: PointArray = points.copy()
    scaled[:, 3] *= np.float32(INTENSITY_GAIN[severity - 1])
    return scaled


def intensity_saturated(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """0-255 taken for 0-1 and clipped: everything but 0 becomes 1."""
    clipped: PointArray = points.copy()
    np.clip(255.0 * points[:, 3], 0.0, 1.0, out=clipped[:, 3])
    return clipped


def swapped_axes(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Axes x and y exchanged: the world as in a mirror."""
    swapped: PointArray = points.copy()
    swapped[:, :2] = points[:, 1::-1]
    return swapped


def wrong_frame(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """A frame whose y axis points forward, as nuScenes' LiDAR frame: turned by 90 degrees."""
    turned: PointArray = points.copy()
    turned[:, 0] = -points[:, 1]
    turned[:, 1] = points[:, 0]
    return turned


def stale_scan(
    points: PointArray, severity: int, rng: Rng, previous: PointArray | None = None
) -> PointArray:
    """The previous scan once more, bit for bit: a driver publishes a buffer that is never refilled.

    Such a driver stamps what it publishes, so a repeated scan carries the stamp that the new one
    would have had.
    """
    repeated: PointArray = (points if previous is None else previous).copy()
    return repeated


def halved_rotation(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Half of the revolution is missing, from an azimuth on that the seed draws.

    As where a driver takes as many packets for a scan as the sensor sends in half a revolution.
    """
    survivors: PointArray = points[is_in_half(points, rng.uniform(-np.pi, np.pi))]
    return survivors


def time_shift(
    points: PointArray, severity: int, rng: Rng, previous: PointArray | None = None
) -> PointArray:
    """Half of the sweep belongs to the revolution before, cut at an azimuth that the seed draws.

    With a previous scan that half is taken from it, at every severity; without one, it is moved by
    what a vehicle at 2, 4, 6, 8, 10 m/s drives in a revolution: what is ahead was farther then.
    """
    start = rng.uniform(-np.pi, np.pi)
    is_late = is_in_half(points, start)
    if previous is not None:
        older = previous[is_return(previous)]
        torn: PointArray = np.concatenate([points[~is_late], older[is_in_half(older, start)]])
        return torn
    shifted: PointArray = points.copy()
    shifted[is_late, 0] += np.float32(SHIFT_SPEED_M_S[severity - 1] * SWEEP_S)
    return shifted


def pitch(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """0.5, 1, 1.5, 2, 3 degrees about y, nose up or down as the seed has it."""
    return _tilted(points, _sign(rng) * TILT_DEG[severity - 1], axis=0)


def roll(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """0.5, 1, 1.5, 2, 3 degrees about x, to the left or right as the seed has it."""
    return _tilted(points, _sign(rng) * TILT_DEG[severity - 1], axis=1)


def height_offset(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """10 to 50 cm too high or too low, as the seed has it."""
    moved: PointArray = points.copy()
    moved[:, 2] += np.float32(_sign(rng) * HEIGHT_M[severity - 1])
    return moved


def _sign(rng: Rng) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _tilted(points: PointArray, degrees: float, axis: int) -> PointArray:
    """Turns in the plane of a horizontal axis and z; a positive angle lifts the axis."""
    cos = np.float32(np.cos(np.radians(degrees)))
    sin = np.float32(np.sin(np.radians(degrees)))
    turned: PointArray = points.copy()
    turned[:, axis] = cos * points[:, axis] - sin * points[:, 2]
    turned[:, 2] = sin * points[:, axis] + cos * points[:, 2]
    return turned
