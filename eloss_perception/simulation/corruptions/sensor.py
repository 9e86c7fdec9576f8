# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a LiDAR itself gets wrong: lasers, receiver, another sensor's echo, its own motion."""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.beams import beam_indices
from eloss_perception.simulation.corruptions.receiver import SWEEP_S
from eloss_perception.simulation.corruptions.road import heights_over_road
from eloss_perception.simulation.corruptions.scan import PointArray, azimuths

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


def beam_missing(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """12.5, 25, 50, 62.5, 75 % of the lasers are dead."""
    beams = beam_indices(points)
    num_beams = int(beams.max(initial=-1)) + 1
    num_lost = round(BEAM_FRACTION_LOST[severity - 1] * num_beams)
    is_lost = np.zeros(num_beams, dtype=bool)
    is_lost[rng.permutation(num_beams)[:num_lost]] = True
    survivors: PointArray = points[~is_lost[beams]] if num_beams else points.copy()
    return survivors


def cross_sensor(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """A sensor of fewer beams: 48, 32, 21, 16, 11 of every 64, evenly spaced."""
    beams = beam_indices(points)
    num_beams = int(beams.max(initial=-1)) + 1
    num_kept = min(num_beams, max(1, round(BEAM_FRACTION_KEPT[severity - 1] * num_beams)))
    is_kept = np.zeros(num_beams, dtype=bool)
    is_kept[np.linspace(0, num_beams - 1, num_kept).round().astype(np.intp)] = True
    survivors: PointArray = points[is_kept[beams]]
    return survivors


def crosstalk(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """0.4, 0.8, 1.2, 1.6, 2 % of the points are another sensor's: 3 m (sigma) off."""
    noisy: PointArray = points.copy()
    hit = np.flatnonzero(
        rng.random(len(points), dtype=np.float32) < CROSSTALK_FRACTION[severity - 1]
    )
    noise = rng.standard_normal((len(hit), 3), dtype=np.float32)
    noisy[hit, :3] += np.float32(CROSSTALK_SIGMA_M) * noise
    return noisy


def incomplete_echo(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
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


def motion_blur(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """The sensor drives and turns during its sweep, and nobody takes that out again.

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
