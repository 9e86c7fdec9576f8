# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mistakes of drivers and their configuration: scales, axes, frames, stale and torn scans.

None of these needs a source but experience: each is one wrong line of a driver or of its settings.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.corruptions.receiver import SWEEP_S
from eloss_perception.simulation.corruptions.scan import PointArray, is_in_half, is_return

INTENSITY_GAIN = (0.7, 0.5, 0.3, 0.15, 0.0)
# Where a scan has no predecessor: how fast the ego vehicle is taken to drive [m/s].
SHIFT_SPEED_M_S = (2.0, 4.0, 6.0, 8.0, 10.0)


def intensity_scale(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Intensity times 0.7, 0.5, 0.3, 0.15, 0; 0-1 taken for 0-255 looks like the last."""
    scaled: PointArray = points.copy()
    scaled[:, 3] *= np.float32(INTENSITY_GAIN[severity - 1])
    return scaled


def intensity_saturated(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """0-255 taken for 0-1 and clipped: everything but 0 becomes 1."""
    clipped: PointArray = points.copy()
    np.clip(255.0 * points[:, 3], 0.0, 1.0, out=clipped[:, 3])
    return clipped


def swapped_axes(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Axes x and y exchanged: the world as in a mirror."""
    swapped: PointArray = points.copy()
    swapped[:, :2] = points[:, 1::-1]
    return swapped


def wrong_frame(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """A frame whose y axis points forward, as nuScenes' LiDAR frame: turned by 90 degrees."""
    turned: PointArray = points.copy()
    turned[:, 0] = -points[:, 1]
    turned[:, 1] = points[:, 0]
    return turned


def stale_scan(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """The previous scan once more, bit for bit: a driver that publishes a buffer nobody fills.

    Such a driver stamps what it publishes, so a repeated scan carries the stamp that the new one
    would have had.
    """
    repeated: PointArray = (points if previous is None else previous).copy()
    return repeated


def halved_rotation(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Half of the turn is missing, from an azimuth on that the seed draws.

    So it is where a driver takes as many packets for a scan as the sensor sends in half a turn.
    """
    survivors: PointArray = points[is_in_half(points, rng.uniform(-np.pi, np.pi))]
    return survivors


def time_shift(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Half of the sweep belongs to the turn before, cut at an azimuth that the seed draws.

    With a previous scan that half is taken from it, at every severity; without one, it is moved by
    what a vehicle at 2, 4, 6, 8, 10 m/s drives in a turn: what is ahead was farther then.
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
