# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What stands behind the pavement: houses, hedges, fences, trees, parking lots, yards."""

from __future__ import annotations

from eloss_perception.simulation import surroundings
from eloss_perception.simulation.street_parking import add_parking_lot
from eloss_perception.simulation.street_plan import StreetPlan
from eloss_perception.simulation.street_side import FRONTAGES, Side


def add_frontage(plan: StreetPlan, side: Side, sign: float) -> None:
    """Line one side (sign 1 is the left) with its kind of frontage, stretch by stretch."""
    x = plan.x_min
    while x < plan.x_max:
        length = plan.uniform(6.0, 26.0)
        if plan.in_crossing(x + 0.5 * length, 0.5 * length):
            x += 4.0
            continue
        kind = side.frontage
        if kind == "mixed" or plan.chance(0.25):
            kind = str(plan.rng.choice((*FRONTAGES[:-1], "lot")))
        _add_stretch(plan, kind, x, side.front + plan.uniform(0.0, 1.0), length, sign)
        x += length


def _add_stretch(
    plan: StreetPlan, kind: str, x: float, front: float, length: float, sign: float
) -> None:
    """Add one stretch of frontage from x on, `front` metres from the centre line."""
    rng, builder = plan.rng, plan.builder
    middle = x + 0.5 * length
    wx, wy, z, heading = plan.place(middle, sign * front)
    if kind == "buildings":
        depth = plan.uniform(6.0, 14.0)
        back = front + 0.5 * depth + plan.uniform(0.0, 4.0)
        wx, wy, z, heading = plan.place(middle, sign * back)
        shorter = length - plan.uniform(0.0, 4.0)
        surroundings.add_building(builder, rng, wx, wy, z, heading, shorter, depth)
    elif kind == "hedge":
        surroundings.add_hedge(builder, rng, wx, wy, z, heading, length)
    elif kind == "fence":
        surroundings.add_fence(builder, rng, wx, wy, z, heading, length)
    elif kind == "wall":
        height, reflectivity = plan.uniform(0.5, 2.5), plan.uniform(0.15, 0.5)
        surroundings.add_box(builder, wx, wy, z, heading, length, 0.25, height, reflectivity)
    elif kind == "bushes":
        for _ in range(int(length / plan.uniform(1.5, 5.0))):
            at = x + plan.uniform(0.0, length)
            bx, by, bz, _h = plan.place(at, sign * (front + plan.uniform(0.3, 6.0)))
            surroundings.add_bush(builder, rng, bx, by, bz, plan.uniform(0.4, 2.2))
    elif kind == "trees":
        for _ in range(int(length / plan.uniform(3.0, 7.0))):
            at = x + plan.uniform(0.0, length)
            bx, by, bz, _h = plan.place(at, sign * (front + plan.uniform(0.0, 12.0)))
            surroundings.add_tree(builder, rng, bx, by, bz)
    elif kind == "lot" and front < 25.0:
        add_parking_lot(plan, x, sign * (front + 1.0), length, sign)
    if kind in ("hedge", "fence", "wall", "bushes") and plan.chance(0.6):  # the house behind
        depth = plan.uniform(6.0, 12.0)
        back = front + plan.uniform(5.0, 14.0) + 0.5 * depth
        wx, wy, z, heading = plan.place(middle, sign * back)
        surroundings.add_building(builder, rng, wx, wy, z, heading, 0.8 * length, depth)


def add_yard(plan: StreetPlan, side: Side, sign: float) -> None:
    """Scatter growth and clutter behind the pavement, from a lawn to a thicket."""
    density = 0.07 * plan.uniform(0.0, 1.0) ** 2
    depth = plan.uniform(6.0, 22.0)
    for _ in range(int(plan.rng.poisson(density * depth * (plan.x_max - plan.x_min)))):
        x = plan.uniform(plan.x_min, plan.x_max)
        if plan.in_crossing(x, 1.0):
            continue
        lateral = sign * (side.front + depth * plan.uniform(0.0, 1.0) ** 1.4)
        x, y, z, _heading = plan.place(x, lateral)
        kind = plan.rng.random()
        if not plan.claim(x, y, 0.0, 0.8, 0.8):
            continue
        if kind < 0.4:
            surroundings.add_tree(plan.builder, plan.rng, x, y, z)
        elif kind < 0.85:
            surroundings.add_bush(plan.builder, plan.rng, x, y, z, plan.uniform(0.3, 1.8))
        else:
            surroundings.add_clutter(plan.builder, plan.rng, x, y, z)
