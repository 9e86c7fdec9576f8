# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of the LiDAR itself: lasers, receiver, another sensor's echo, its own motion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.simulation.corruptions.scan import (
    SWEEP_S,
    PointArray,
    Rng,
    azimuths,
    heights_over_road,
)

# Nominal elevation of the HDL-64E's lasers [rad], highest first: 32 of 1/3 degree, 32 of 1/2 degree
# (user's manual).
HDL64E_ELEVATION = np.radians(
    np.concatenate([2.0 - np.arange(32) / 3.0, -8.83 - 0.5 * np.arange(32)])
)
# A scan line of fewer points is jitter at the seam between two revolutions.
MIN_POINTS_PER_ROW = 32
# A line that does not go all around jumps back by at least this much where it ends [rad].
MIN_RETURN_STEP = 0.5
# Neighbouring beams are a third of a degree apart; neighbours in one line a hundredth.
MIN_SEAM_JUMP = np.radians(0.1)
# Within one scan line the elevation of neighbours is nearly constant; unordered points spread over
# degrees.
MAX_ROW_ELEVATION_SPREAD = np.radians(0.6)

BEAM_FRACTION_LOST = (0.125, 0.25, 0.5, 0.625, 0.75)
CROSSTALK_FRACTION = (0.004, 0.008, 0.012, 0.016, 0.02)
CROSSTALK_SIGMA_M = 3.0

ECHO_FRACTION_LOST = (0.3, 0.5, 0.7, 0.85, 0.95)
# What the HDL-64E reports of dark paint: half of KITTI's returns from cars are 0 in 0 to 1.
DARK_INTENSITY = 0.1
# Heights over the road between which vehicles are [m].
VEHICLE_HEIGHTS_M = (0.25, 3.5)

# Beams left of 64: 48 and 32 as HDL-32E and the like, 16 as a VLP-16 within the same field of view.
BEAM_FRACTION_KEPT = (48 / 64, 32 / 64, 21 / 64, 16 / 64, 11 / 64)

EGO_SPEED_M_S = (5.0, 10.0, 15.0, 20.0, 25.0)
# Of a bend driven at those speeds [rad/s]: sideways 0.5 to 6 m/s^2.
EGO_YAW_RATE = (0.10, 0.15, 0.20, 0.22, 0.25)


def beam_missing(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """12.5, 25, 50, 62.5, 75 % of the lasers are dead."""
    beams = beam_indices(points)
    num_beams = int(beams.max(initial=-1)) + 1
    num_lost = round(BEAM_FRACTION_LOST[severity - 1] * num_beams)
    is_lost = np.zeros(num_beams, dtype=bool)
    is_lost[rng.permutation(num_beams)[:num_lost]] = True
    survivors: PointArray = points[~is_lost[beams]] if num_beams else points.copy()
    return survivors


def cross_sensor(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """A sensor of fewer beams: 48, 32, 21, 16, 11 of every 64, evenly spaced."""
    beams = beam_indices(points)
    num_beams = int(beams.max(initial=-1)) + 1
    num_kept = min(num_beams, max(1, round(BEAM_FRACTION_KEPT[severity - 1] * num_beams)))
    is_kept = np.zeros(num_beams, dtype=bool)
    is_kept[np.linspace(0, num_beams - 1, num_kept).round().astype(np.intp)] = True
    survivors: PointArray = points[is_kept[beams]]
    return survivors


def crosstalk(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """0.4, 0.8, 1.2, 1.6, 2 % of the points are another sensor's: 3 m (sigma) off."""
    noisy: PointArray = points.copy()
    hit = np.flatnonzero(
        rng.random(len(points), dtype=np.float32) < CROSSTALK_FRACTION[severity - 1]
    )
    noise = rng.standard_normal((len(hit), 3), dtype=np.float32)
    noisy[hit, :3] += np.float32(CROSSTALK_SIGMA_M) * noise
    return noisy


def incomplete_echo(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """30, 50, 70, 85, 95 % of the dark returns at a vehicle's height are lost.

    Robo3D drops returns from what is labelled a vehicle; a scan has no labels, so darkness and
    height over the road decide.
    """
    height, _ = heights_over_road(points)
    low, high = VEHICLE_HEIGHTS_M
    is_dark = (points[:, 3] < DARK_INTENSITY) & (height > low) & (height < high)
    is_lost = rng.random(len(points), dtype=np.float32) < ECHO_FRACTION_LOST[severity - 1]
    survivors: PointArray = points[~(is_dark & is_lost)]
    return survivors


def motion_blur(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """The vehicle drives and turns during the sweep, and the motion is not compensated.

    The sweep goes clockwise, as Velodynes turn, and its time is that of looking straight ahead, so
    that what lies behind is off by half a sweep's motion.
    """
    sign = 1.0 if rng.random() < 0.5 else -1.0
    speed, yaw_rate = EGO_SPEED_M_S[severity - 1], sign * EGO_YAW_RATE[severity - 1]
    seconds = azimuths(points) * np.float32(-SWEEP_S / (2.0 * np.pi))
    cos, sin = np.cos(yaw_rate * seconds), np.sin(yaw_rate * seconds)
    blurred: PointArray = points.copy()
    # Into the frame of the moment: back by the distance driven, then by the angle turned.
    x, y = points[:, 0] - np.float32(speed) * seconds, points[:, 1]
    blurred[:, 0] = cos * x + sin * y
    blurred[:, 1] = cos * y - sin * x
    return blurred


def beam_indices(points: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Recovers the beam of every point of a spinning LiDAR's scan.

    Scans stored one scan line after another (KITTI's are) show a seam where the azimuth passes its
    start; counting seams gives exact rows. In any other order the nearest nominal elevation of the
    HDL-64E is used: near the sensor it is off by a row or two, because the real lasers do not
    start from one point.

    Args:
        points: (N, >=3) float32 x, y, z [m, LiDAR frame].

    Returns:
        (N,) indices from 0, highest beam first.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    elevation = np.arctan2(z, np.hypot(x, y))
    rows = _rows_in_storage_order(np.arctan2(y, x), elevation)
    if rows is not None and _row_spread(rows, elevation) < MAX_ROW_ELEVATION_SPREAD:
        return rows
    midpoints = (HDL64E_ELEVATION[1:] + HDL64E_ELEVATION[:-1]) / 2.0
    return np.searchsorted(-midpoints, -elevation)


def _rows_in_storage_order(
    azimuth: npt.NDArray[np.float32], elevation: npt.NDArray[np.float32]
) -> npt.NDArray[np.intp] | None:
    """Numbers scan lines by the seams between revolutions; None if not stored line by line."""
    if len(azimuth) < MIN_POINTS_PER_ROW:
        return None
    step = np.diff(azimuth)
    is_wrap = np.abs(step) >= np.pi
    sense = 1.0 if np.median(step) >= 0.0 else -1.0
    # A line starts behind, where atan2 wraps; straight ahead (KITTI); or where the view begins.
    wraps = is_wrap
    ahead = ((azimuth[:-1] < 0) != (azimuth[1:] < 0)) & (sense * step > 0) & ~is_wrap
    returns = (sense * step < -MIN_RETURN_STEP) & ~is_wrap
    best, best_jump = None, MIN_SEAM_JUMP
    for is_seam in (wraps, ahead, returns):
        seams = np.flatnonzero(is_seam) + 1
        seams = seams[np.diff(seams, prepend=-MIN_POINTS_PER_ROW) >= MIN_POINTS_PER_ROW]
        if not 7 <= len(seams) < 160:
            continue
        # At a true seam the next beam begins; in the middle of a line elevation goes on.
        jump = float(np.median(np.abs(elevation[seams] - elevation[seams - 1])))
        if jump > best_jump:
            best, best_jump = seams, jump
    if best is None:
        return None
    is_first = np.zeros(len(azimuth), dtype=np.intp)
    is_first[best] = 1
    rows: npt.NDArray[np.intp] = np.cumsum(is_first)
    return rows


def _row_spread(rows: npt.NDArray[np.intp], elevation: npt.NDArray[np.float32]) -> float:
    """Median over the rows of the elevation's standard deviation [rad]."""
    count = np.maximum(np.bincount(rows), 1)
    mean = np.bincount(rows, elevation) / count
    variance = np.bincount(rows, elevation.astype(np.float64) ** 2) / count - mean**2
    return float(np.median(np.sqrt(np.maximum(variance, 0.0))))
