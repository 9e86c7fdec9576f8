# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parked vehicles: along the kerb and in parking lots beside the street."""

from __future__ import annotations

import math

from eloss_perception.simulation.street_plan import StreetPlan
from eloss_perception.simulation.street_side import Side
from eloss_perception.simulation.street_vehicles import add_vehicle


def fill_parking_lane(plan: StreetPlan, side: Side, sign: float) -> None:
    """Park along one side (sign 1 is the left), most in the direction of its traffic."""
    if side.parking == 0.0:
        return
    x = plan.x_min + plan.uniform(0.0, 6.0)
    with_traffic = 0.0 if sign < 0 else math.pi
    while x < plan.x_max:
        gap = plan.uniform(5.0, 6.4) if not side.perpendicular else plan.uniform(2.3, 2.9)
        if plan.chance(side.occupancy) and not plan.in_crossing(x, 4.0):
            lateral = sign * (side.road + 0.5 * side.parking + plan.normal(0.12))
            turn = plan.normal(0.03)
            if side.perpendicular:
                turn += 0.5 * math.pi * (1.0 if plan.chance(0.5) else -1.0)
            else:
                turn += with_traffic if plan.chance(0.85) else math.pi - with_traffic
            add_vehicle(plan, x, lateral, turn, large=0.015)
        x += gap


def add_parking_lot(plan: StreetPlan, x: float, lateral: float, length: float, sign: float) -> None:
    """Add rows of cars at a common angle, from x on and outwards from a lateral offset."""
    angle = 0.5 * math.pi if plan.chance(0.7) else plan.uniform(-1.5, 1.5)
    fill = plan.uniform(0.25, 0.9)
    for row in range(int(plan.rng.integers(1, 4))):
        at = x
        while at < x + length:
            if plan.chance(fill):
                turn = angle + (math.pi if plan.chance(0.5) else 0.0) + plan.normal(0.04)
                add_vehicle(plan, at, lateral + sign * (2.6 + 6.5 * row), turn, large=0.01)
            at += plan.uniform(2.4, 3.0)
