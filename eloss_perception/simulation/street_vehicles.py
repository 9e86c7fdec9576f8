# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which vehicle stands or drives at a place: mostly cars, some vans, trucks, buses, trailers."""

from __future__ import annotations

from eloss_perception.simulation.builder import STILL, Motion
from eloss_perception.simulation.cars import add_car
from eloss_perception.simulation.heavy_vehicles import add_bus, add_trailer, add_truck
from eloss_perception.simulation.street_plan import StreetPlan


def add_vehicle(
    plan: StreetPlan,
    x: float,
    lateral: float,
    turn: float,
    motion: Motion = STILL,
    large: float = 0.05,
) -> None:
    """Add some vehicle, if there is room.

    Args:
        turn: Heading relative to the road [rad].
        large: Share of trucks, buses and trams.
    """
    x, y, z, heading = plan.place(x, lateral)
    yaw = heading + turn
    kind = plan.rng.random()
    length = 11.0 if kind < large else 4.3
    if not plan.claim(x, y, yaw, length, 1.9):
        return
    if kind < 0.6 * large:
        add_truck(plan.builder, plan.rng, x, y, z, yaw, motion)
    elif kind < large:
        name = "Tram" if plan.chance(0.3) else "Truck"
        add_bus(plan.builder, plan.rng, x, y, z, yaw, motion, name)
    elif kind < large + 0.09:
        add_car(plan.builder, plan.rng, x, y, z, yaw, motion, "Van")
    elif kind < large + 0.11 and motion.speed == 0.0:
        add_trailer(plan.builder, plan.rng, x, y, z, yaw)
    else:
        add_car(plan.builder, plan.rng, x, y, z, yaw, motion)
