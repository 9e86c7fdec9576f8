# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where people are: on the pavement, by the parked cars, on the road, alone and in groups.

Pedestrians and cyclists are several times as frequent as in KITTI, because a detector has to see
many to learn them.
"""

from __future__ import annotations

import math

from eloss_perception.simulation import people
from eloss_perception.simulation.builder import Motion
from eloss_perception.simulation.street_plan import StreetPlan
from eloss_perception.simulation.street_side import Side


def add_pedestrians(plan: StreetPlan, left: Side, right: Side, mean: float) -> None:
    """Add `mean` pedestrians on average, singly and in groups."""
    for _ in range(int(plan.rng.poisson(mean / 1.5))):
        side, sign = (left, 1.0) if plan.chance(0.5) else (right, -1.0)
        # Nearer ones are more frequent in KITTI: half of them within 15 m.
        x = float(plan.rng.gamma(1.8, 9.0)) + 1.5
        if plan.moving or x > plan.x_max:
            x = plan.uniform(plan.x_min, plan.x_max)
        where = plan.rng.random()
        if where < 0.62:  # along the pavement
            lateral, turn = sign * (side.kerb + plan.uniform(0.2, max(side.walk, 1.2))), 0.0
        elif where < 0.8:  # at the houses
            lateral, turn = sign * (side.front + plan.uniform(-1.0, 3.0)), plan.uniform(-3.1, 3.1)
        else:  # across the road
            lateral, turn = plan.uniform(-side.kerb, side.kerb), 0.5 * math.pi
            if plan.moving:
                lateral = sign * (side.kerb + 0.5)
        turn += math.pi if plan.chance(0.5) else 0.0
        for _member in range(1 + int(plan.rng.geometric(0.62) - 1)):
            _add_person(plan, x, lateral, turn)
            x += plan.normal(0.8)
            lateral += plan.normal(0.6)


def _add_person(plan: StreetPlan, x: float, lateral: float, turn: float) -> None:
    """Add somebody who walks, stands or, seldom, sits, if there is room."""
    x, y, z, heading = plan.place(x, lateral)
    yaw = heading + turn + plan.normal(0.25)
    if math.hypot(x, y - plan.ground.centre_at(0.0)) <= 2.0:  # where the ego vehicle is
        return
    if not plan.claim(x, y, yaw, 0.6, 0.6):
        return
    pace = plan.uniform(0.8, 1.7) if plan.chance(0.7) else 0.0
    if plan.chance(0.04):
        people.add_sitting_person(plan.builder, plan.rng, x, y, z, yaw)
    else:
        people.add_pedestrian(plan.builder, plan.rng, x, y, z, yaw, Motion(pace))


def add_cyclists(plan: StreetPlan, left: Side, right: Side, mean: float) -> None:
    """Add `mean` cyclists on average: along the kerb, on the pavement, now and then across."""
    for _ in range(int(plan.rng.poisson(mean))):
        side, sign = (left, 1.0) if plan.chance(0.5) else (right, -1.0)
        x = float(plan.rng.gamma(2.0, 10.0)) + 1.5
        if plan.moving or x > plan.x_max:
            x = plan.uniform(plan.x_min, plan.x_max)
        lateral = sign * (side.road + plan.uniform(-1.6, 0.2))
        if plan.chance(0.3):
            lateral = sign * (side.kerb + plan.uniform(0.4, max(side.walk, 1.0)))
        turn = (0.0 if sign < 0 else math.pi) + (math.pi if plan.chance(0.2) else 0.0)
        lane: float | None = lateral
        if plan.chance(0.12) and not plan.moving:
            turn, lane = plan.uniform(-3.1, 3.1), None
        x, y, z, heading = plan.place(x, lateral)
        if math.hypot(x, y - plan.ground.centre_at(0.0)) <= 2.5:
            continue
        yaw = heading + turn
        if not plan.claim(x, y, yaw, 1.8, 0.8):
            continue
        # Along a lane the sign of the speed is the direction; off it, the heading is.
        direction = 1.0 if math.cos(turn) > 0 or lane is None else -1.0
        motion = Motion(plan.uniform(3.0, 6.0) * direction, lane)
        people.add_cyclist(plan.builder, plan.rng, x, y, z, yaw, motion)
