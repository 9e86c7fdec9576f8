# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic: the lanes of the street, and what waits or crosses on its side roads."""

from __future__ import annotations

import math

from eloss_perception.simulation.builder import Motion
from eloss_perception.simulation.street_plan import StreetPlan
from eloss_perception.simulation.street_vehicles import add_vehicle


def fill_lane(
    plan: StreetPlan,
    lane: float,
    direction: float,
    density: float,
    ego_lane: bool,
    ego_speed: float | None,
) -> None:
    """Fill one lane with moving traffic, which keeps pace with the ego vehicle in its own lane.

    Args:
        lane: Lateral offset of its middle. direction: 1 along +x, -1 against it.
        density: Inverse of the mean gap beyond the least one [1/m].
        ego_lane: Whether the ego vehicle drives here; it keeps 9 m to itself.
        ego_speed: Speed of the ego vehicle [m/s]; None for a single scan.
    """
    x = plan.x_min + plan.uniform(0.0, 30.0)
    # Oncoming traffic meets a moving ego vehicle from beyond the end of the street as well.
    end = plan.x_max + (plan.x_max if direction < 0 and plan.moving else 0.0)
    speed = ego_speed if ego_lane and ego_speed is not None else plan.uniform(7.0, 12.0)
    while x < end:
        if not ego_lane or abs(x) > 9.0:
            lateral = lane + plan.normal(0.25)
            turn = (0.0 if direction > 0 else math.pi) + plan.normal(0.02)
            add_vehicle(plan, x, lateral, turn, Motion(direction * speed, lateral), large=0.08)
        x += plan.uniform(6.5, 14.0) + float(plan.rng.exponential(1.0 / density))


def add_cross_traffic(plan: StreetPlan) -> None:
    """Add vehicles on the side roads: waiting, crossing, parked further in."""
    for centre, half in plan.crossings:
        for sign in (-1.0, 1.0):
            lateral = sign * plan.uniform(6.0, 14.0)
            while abs(lateral) < 45.0:
                if plan.chance(0.55):
                    x = centre + sign * 0.45 * half + plan.normal(0.4)
                    turn = 0.5 * math.pi * (1.0 if plan.chance(0.5) else -1.0) + plan.normal(0.08)
                    add_vehicle(plan, x, lateral, turn)
                lateral += sign * plan.uniform(5.5, 18.0)
        if plan.chance(0.4) and not plan.moving:  # turning or crossing in the middle
            x = centre + plan.uniform(-3.0, 3.0)
            add_vehicle(plan, x, plan.uniform(-3.0, 3.0), plan.uniform(-math.pi, math.pi))
