# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A street before anything stands on it: its sides, its ground, which places are taken."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eloss_perception.simulation.lidar.ground import (
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
from eloss_perception.simulation.objects.builder import Pose, SceneBuilder

# Wavelength, lateral amplitude and vertical amplitude of a road's bends and hills [m].
_WAVES = ((400.0, 9.0, 1.0), (170.0, 2.0, 0.22), (70.0, 0.25, 0.04))

FRONTAGES = ("buildings", "hedge", "fence", "wall", "bushes", "trees", "grass", "mixed")
"""What may line a side of the street."""


@dataclass(frozen=True)
class Side:
    """One side of the street; lengths in metres from the centre line outwards.

    Attributes:
        road: Width of its lanes. parking: Width of its parking lane. walk: Width of its pavement.
        front: Distance of what lines it from the centre line.
        frontage: One of `FRONTAGES`.
        occupancy: Share of parking places taken.
        perpendicular: Whether cars park across the road's direction.
    """

    road: float
    parking: float
    walk: float
    front: float
    frontage: str
    occupancy: float
    perpendicular: bool

    @property
    def kerb(self) -> float:
        """Distance of the kerb from the centre line."""
        return self.road + self.parking


def draw_side(rng: np.random.Generator, road: float, urban: float) -> Side:
    """Draws a side whose lanes are `road` wide; `urban` runs from 0 (country) to 1 (city)."""
    parking = 2.2 if rng.random() < 0.35 + 0.4 * urban else 0.0
    perpendicular = parking > 0 and rng.random() < 0.2
    if perpendicular:
        parking = 5.2
    walk = float(rng.uniform(1.4, 4.5)) if rng.random() < 0.4 + 0.6 * urban else 0.3
    weights = np.array(
        [0.5 * urban, 0.15, 0.12, 0.1, 0.2 * (1.2 - urban), 0.2, 0.25 * (1.1 - urban), 0.5]
    )
    frontage = str(rng.choice(FRONTAGES, p=weights / weights.sum()))
    return Side(
        road=road,
        parking=parking,
        walk=walk,
        front=road + parking + walk + float(rng.uniform(0.2, 5.0 - 3.5 * urban)),
        frontage=frontage,
        occupancy=float(rng.beta(1.6, 1.4)),
        perpendicular=perpendicular,
    )


@dataclass
class StreetPlan:
    """A street that is being filled.

    Places are given as distance x along the road and lateral offset to the left of its centre
    line, headings relative to the road.

    Attributes:
        rng: Of all that is drawn. builder: Collects what is placed.
        ground: Where the road runs and how high it lies.
        x_min: First end of the street. x_max: The other end.
        crossings: (centre, half width) of the side roads along x.
        moving: Whether the ego vehicle moves; its lane and the crossings are kept passable then.
        taken: World x, y, yaw, length, width of what stands already.
    """

    rng: np.random.Generator
    builder: SceneBuilder
    ground: Ground
    x_min: float
    x_max: float
    crossings: list[tuple[float, float]]
    moving: bool
    taken: list[tuple[float, float, float, float, float]] = field(default_factory=list)

    def uniform(self, low: float, high: float) -> float:
        """Draws a number."""
        return float(self.rng.uniform(low, high))

    def normal(self, spread: float) -> float:
        """Draws a deviation."""
        return float(self.rng.normal(0.0, spread))

    def chance(self, probability: float) -> bool:
        """Draws whether something happens."""
        return bool(self.rng.random() < probability)

    def in_crossing(self, x: float, margin: float = 0.0) -> bool:
        """Whether x lies on a side road or within a margin of it."""
        return any(abs(x - centre) < half + margin for centre, half in self.crossings)

    def place(self, x: float, lateral: float, turn: float = 0.0) -> Pose:
        """A pose on the ground, turned by an angle [rad] against the road's heading."""
        y = self.ground.centre_at(x) + lateral
        return x, y, self.ground.height_at(x, y), self.ground.heading_at(x) + turn

    def claim(self, pose: Pose, length: float, width: float) -> bool:
        """Reserves a rectangle (seen as circles along its axis); False where something stands."""
        x, y, _, yaw = pose
        radius = 0.5 * width
        half = 0.5 * max(length - width, 0.0)
        for tx, ty, tyaw, tl, tw in self.taken:
            dx, dy = tx - x, ty - y
            if dx * dx + dy * dy > (0.5 * (length + tl + width + tw)) ** 2:
                continue
            c, s = math.cos(tyaw), math.sin(tyaw)
            for k in (-1.0, 0.0, 1.0):
                px, py = dx - k * half * math.cos(yaw), dy - k * half * math.sin(yaw)
                if (
                    abs(c * px + s * py) < 0.5 * tl + radius
                    and abs(c * py - s * px) < 0.5 * tw + radius
                ):
                    return False
        self.taken.append((x, y, yaw, length, width))
        return True


def draw_ground(
    rng: np.random.Generator,
    x_min: float,
    x_max: float,
    left: Side,
    right: Side,
    crossings: list[tuple[float, float]],
    urban: float,
) -> Ground:
    """Draws the ground of a street from x_min to x_max and 60 m beyond both.

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
