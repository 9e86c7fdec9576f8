# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws a street: its lanes and crossings, then all that stands and moves on it.

Distances, headings and groupings come out of how streets are built; object sizes come from
`kitti_statistics.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eloss_perception.simulation.builder import SceneBuilder
from eloss_perception.simulation.ground import Ground
from eloss_perception.simulation.street_frontage import add_frontage, add_yard
from eloss_perception.simulation.street_furniture import add_furniture
from eloss_perception.simulation.street_ground import draw_ground
from eloss_perception.simulation.street_parking import fill_parking_lane
from eloss_perception.simulation.street_people import add_cyclists, add_pedestrians
from eloss_perception.simulation.street_plan import StreetPlan
from eloss_perception.simulation.street_side import draw_side
from eloss_perception.simulation.street_traffic import add_cross_traffic, fill_lane


@dataclass(frozen=True)
class Street:
    """A street and all that stands on it.

    Attributes:
        builder: The parts and objects. ground: Height and material of the ground.
        ego_lane: Lateral offset of the ego vehicle's lane from the centre line.
        crossings: (centre, half width) of the side roads along x.
    """

    builder: SceneBuilder
    ground: Ground
    ego_lane: float
    crossings: list[tuple[float, float]]


def make_street(
    rng: np.random.Generator, x_min: float, x_max: float, ego_speed: float | None = None
) -> Street:
    """Draw a street from x_min to x_max; the ego vehicle starts near x = 0 and looks along +x.

    Args:
        ego_speed: Speed of a moving ego vehicle [m/s], whose lane is kept free of what it would
            run into; None for a single scan.
    """
    urban = float(rng.beta(1.2, 1.0))
    lanes = 2 if rng.random() < 0.25 else 1  # per direction
    lane_width = float(rng.uniform(2.6, 3.7))
    half = lanes * lane_width
    left, right = draw_side(rng, half, urban), draw_side(rng, half, urban)
    sides = ((left, 1.0), (right, -1.0))
    crossings = _draw_crossings(rng, x_min, x_max)
    ground = draw_ground(rng, x_min, x_max, left, right, crossings, urban)
    plan = StreetPlan(
        rng, SceneBuilder(), ground, x_min, x_max, crossings, moving=ego_speed is not None
    )
    ego_lane = -half + 0.5 * lane_width + (lane_width if lanes == 2 and rng.random() < 0.4 else 0.0)
    plan.claim(0.0, ground.centre_at(0.0) + ego_lane, 0.0, 7.0, 2.4)

    # What comes first gets the room.
    for k in range(lanes):
        lane = (k + 0.5) * lane_width
        density = 1.0 / plan.uniform(8.0, 70.0)
        fill_lane(plan, -lane, 1.0, density, abs(lane + ego_lane) < 1.0, ego_speed)
        fill_lane(plan, lane, -1.0, 1.0 / plan.uniform(8.0, 60.0), False, ego_speed)
    add_cross_traffic(plan)
    for side, sign in sides:
        fill_parking_lane(plan, side, sign)
    length = x_max - x_min
    add_pedestrians(plan, left, right, float(rng.gamma(1.2, 4.5)) * length / 130.0)
    add_cyclists(plan, left, right, float(rng.gamma(1.2, 2.7)) * length / 130.0)
    for side, sign in sides:
        add_frontage(plan, side, sign)
        add_furniture(plan, side, sign)
        add_yard(plan, side, sign)
    return Street(plan.builder, ground, ego_lane, crossings)


def _draw_crossings(
    rng: np.random.Generator, x_min: float, x_max: float
) -> list[tuple[float, float]]:
    """Centre and half width of the side roads along x."""
    crossings: list[tuple[float, float]] = []
    at = x_min + float(rng.uniform(0.0, 120.0))
    while at < x_max and rng.random() < 0.8:
        crossings.append((at, float(rng.uniform(3.5, 7.0))))
        at += float(rng.uniform(40.0, 160.0))
    return crossings
