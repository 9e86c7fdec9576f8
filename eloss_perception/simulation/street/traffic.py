# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who is on the street: moving and parked vehicles, pedestrians, cyclists.

Pedestrians and cyclists are several times as frequent as in KITTI, because a detector has to see
many to learn them.
"""

from __future__ import annotations

import math

from eloss_perception.simulation.objects import people
from eloss_perception.simulation.objects.builder import STILL, Motion
from eloss_perception.simulation.objects.cars import add_car
from eloss_perception.simulation.objects.vehicles import add_bus, add_trailer, add_truck
from eloss_perception.simulation.street.plan import Side, StreetPlan


def fill_lane(
    plan: StreetPlan,
    lane: float,
    direction: float,
    density: float,
    ego_lane: bool,
    ego_speed: float | None,
) -> None:
    """Fills one lane with moving traffic, which keeps pace with the ego vehicle in its own lane.

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
    """Adds vehicles on the side roads: waiting, crossing, parked further in."""
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


def fill_parking_lane(plan: StreetPlan, side: Side, sign: float) -> None:
    """Parks along one side (sign 1 is the left), most in the direction of its traffic."""
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
    """Adds rows of cars at a common angle, from x on and outwards from a lateral offset."""
    angle = 0.5 * math.pi if plan.chance(0.7) else plan.uniform(-1.5, 1.5)
    fill = plan.uniform(0.25, 0.9)
    for row in range(int(plan.rng.integers(1, 4))):
        at = x
        while at < x + length:
            if plan.chance(fill):
                turn = angle + (math.pi if plan.chance(0.5) else 0.0) + plan.normal(0.04)
                add_vehicle(plan, at, lateral + sign * (2.6 + 6.5 * row), turn, large=0.01)
            at += plan.uniform(2.4, 3.0)


def add_vehicle(
    plan: StreetPlan,
    x: float,
    lateral: float,
    turn: float,
    motion: Motion = STILL,
    large: float = 0.05,
) -> None:
    """Adds some vehicle, if the place is free.

    Args:
        turn: Heading relative to the road [rad].
        large: Share of trucks, buses and trams.
    """
    pose = plan.place(x, lateral, turn)
    kind = plan.rng.random()
    length = 11.0 if kind < large else 4.3
    if not plan.claim(pose, length, 1.9):
        return
    if kind < 0.6 * large:
        add_truck(plan.builder, plan.rng, pose, motion)
    elif kind < large:
        name = "Tram" if plan.chance(0.3) else "Truck"
        add_bus(plan.builder, plan.rng, pose, motion, name)
    elif kind < large + 0.09:
        add_car(plan.builder, plan.rng, pose, motion, "Van")
    elif kind < large + 0.11 and motion.speed == 0.0:
        add_trailer(plan.builder, plan.rng, pose)
    else:
        add_car(plan.builder, plan.rng, pose, motion)


def add_pedestrians(plan: StreetPlan, left: Side, right: Side, mean: float) -> None:
    """Adds `mean` pedestrians on average, singly and in groups."""
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
    """Adds a person who walks, stands or, seldom, sits, if the place is free."""
    x, y, z, heading = plan.place(x, lateral, turn)
    pose = (x, y, z, heading + plan.normal(0.25))
    if math.hypot(x, y - plan.ground.centre_at(0.0)) <= 2.0:  # where the ego vehicle is
        return
    if not plan.claim(pose, 0.6, 0.6):
        return
    pace = plan.uniform(0.8, 1.7) if plan.chance(0.7) else 0.0
    if plan.chance(0.04):
        people.add_sitting_person(plan.builder, plan.rng, pose)
    else:
        people.add_pedestrian(plan.builder, plan.rng, pose, Motion(pace))


def add_cyclists(plan: StreetPlan, left: Side, right: Side, mean: float) -> None:
    """Adds `mean` cyclists on average: along the kerb, on the pavement, now and then across."""
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
        pose = plan.place(x, lateral, turn)
        if math.hypot(x, pose[1] - plan.ground.centre_at(0.0)) <= 2.5:
            continue
        if not plan.claim(pose, 1.8, 0.8):
            continue
        # Along a lane the sign of the speed is the direction; off it, the heading is.
        direction = 1.0 if math.cos(turn) > 0 or lane is None else -1.0
        motion = Motion(plan.uniform(3.0, 6.0) * direction, lane)
        people.add_cyclist(plan.builder, plan.rng, pose, motion)
