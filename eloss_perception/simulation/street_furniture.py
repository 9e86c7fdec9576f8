# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What stands between kerb and frontage: poles, street trees, bins, bicycles, guard rails."""

from __future__ import annotations

from eloss_perception.simulation import people, surroundings
from eloss_perception.simulation.street_plan import StreetPlan
from eloss_perception.simulation.street_side import Side


def add_furniture(plan: StreetPlan, side: Side, sign: float) -> None:
    """Furnish one side (sign 1 is the left)."""
    length = plan.x_max - plan.x_min
    for _ in range(int(plan.rng.poisson(length / plan.uniform(7.0, 20.0)))):
        x = plan.uniform(plan.x_min, plan.x_max)
        lateral = side.kerb + plan.uniform(0.3, max(side.front - side.kerb, 0.6))
        if plan.in_crossing(x, 1.0):
            continue
        x, y, z, _heading = plan.place(x, sign * lateral)
        if not plan.claim(x, y, 0.0, 0.6, 0.6):
            continue
        kind = plan.rng.random()
        if kind < 0.5:
            surroundings.add_pole(plan.builder, plan.rng, x, y, z)
        elif kind < 0.72:
            surroundings.add_tree(plan.builder, plan.rng, x, y, z)
        elif kind < 0.8:
            surroundings.add_bush(plan.builder, plan.rng, x, y, z, plan.uniform(0.3, 0.8))
        elif kind < 0.87:
            people.add_parked_bicycle(plan.builder, plan.rng, x, y, z, plan.uniform(-3.1, 3.1))
        else:
            surroundings.add_clutter(plan.builder, plan.rng, x, y, z)
    if plan.chance(0.12):
        x, y, z, heading = plan.place(0.5 * (plan.x_min + plan.x_max), sign * (side.kerb + 0.4))
        surroundings.add_rail(plan.builder, plan.rng, x, y, z, heading, length)
