# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground of a street: bends, hills, kerbs, banks, markings and how each surface reflects."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eloss_perception.simulation.ground import (
    HALF_V,
    MARKING,
    PAVEMENT,
    ROAD,
    STEP_V,
    STEP_X,
    VERGE,
    Ground,
    noise_tile,
)
from eloss_perception.simulation.street_side import Side

# Wavelength, lateral amplitude and vertical amplitude of a road's bends and hills [m].
_WAVES = ((400.0, 9.0, 1.0), (170.0, 2.0, 0.22), (70.0, 0.25, 0.04))


def draw_ground(
    rng: np.random.Generator,
    x_min: float,
    x_max: float,
    left: Side,
    right: Side,
    crossings: list[tuple[float, float]],
    urban: float,
) -> Ground:
    """Draw the ground of a street from x_min to x_max and 60 m beyond both.

    Args:
        crossings: (centre, half width) of the side roads along x.
        urban: From 0 (country) to 1 (city): more pavement, flatter banks, smoother verges.
    """
    x = np.arange(x_min - 60.0, x_max + 60.0, STEP_X)
    centre, height = _draw_course(rng, x)
    profile, zone = _draw_profile(rng, left, right, urban)
    road = float(np.clip(rng.normal(0.50, 0.07), 0.25, 0.75))
    walk = float(np.clip(road + rng.normal(0.04, 0.08), 0.25, 0.8))
    rough = float(rng.uniform(0.3, 1.0))
    even = float(rng.uniform(0.003, 0.013))
    wavy = float(rng.uniform(0.01, 0.09)) * (1.0 - 0.6 * urban)
    # In the order of the zones: road, pavement, verge, marking.
    return Ground(
        x_start=float(x[0]),
        centre=centre,
        height=height,
        profile=profile,
        zone=zone,
        reflectivity=np.array(
            [road, walk, float(rng.uniform(0.38, 0.62)), float(rng.uniform(0.6, 1.4))]
        ),
        roughness=np.array([0.003, 0.004, 0.04 * rough, 0.003]),
        waviness=np.array([even, even, wavy, even]),
        crossings=np.array(crossings, dtype=np.float64).reshape(-1, 2),
        tile=noise_tile(),
        tile_offset=float(rng.integers(0, 4096)),
    )


def _draw_course(
    rng: np.random.Generator, x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lateral position and height of the centre line at each x: most roads are nearly straight."""
    bend = rng.uniform(0.0, 1.0) ** 2
    centre = np.zeros_like(x)
    height = np.zeros_like(x)
    for wavelength, lateral, vertical in _WAVES:
        phase = rng.uniform(0.0, 2.0 * math.pi, 2)
        omega = 2.0 * math.pi / wavelength
        centre += bend * lateral * rng.uniform(-1, 1) * np.sin(omega * x + phase[0])
        height += vertical * rng.normal(0.0, 0.55) * np.sin(omega * x + phase[1])
    return centre, height


def _draw_profile(
    rng: np.random.Generator, left: Side, right: Side, urban: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Height over the road and zone at each lateral offset of the cross profile."""
    v = np.arange(-HALF_V, HALF_V + 0.5 * STEP_V, STEP_V)
    zone = np.full(len(v), VERGE, np.int64)
    profile = np.zeros(len(v))
    for side, sign in ((left, 1.0), (right, -1.0)):
        u = sign * v
        kerb = float(rng.uniform(0.04, 0.16)) if rng.random() < 0.8 else 0.0
        outer = side.kerb + side.walk
        slope = float(np.clip(rng.normal(0.0, 0.05 if urban > 0.4 else 0.08), -0.12, 0.12))
        run = float(rng.uniform(3.0, 15.0))
        mine = u >= 0.0
        zone[mine & (u < outer)] = PAVEMENT
        zone[mine & (u < side.kerb)] = ROAD
        profile[mine & (u >= side.kerb)] += kerb
        beyond = np.clip(u - outer, 0.0, run)
        profile[mine] += slope * beyond[mine]
        if urban > 0.75:
            zone[mine & (u >= outer)] = PAVEMENT
        if rng.random() < 0.5:  # edge line
            zone[mine & (np.abs(u - side.road) < 0.08)] = MARKING
    # Roads are crowned so that rain runs off.
    profile -= 0.02 * np.minimum(np.abs(v), 5.0) * float(rng.uniform(0.0, 1.0))
    if rng.random() < 0.5:  # centre line
        zone[np.abs(v) < 0.08] = MARKING
    return profile, zone
