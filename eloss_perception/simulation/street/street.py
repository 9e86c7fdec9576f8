# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws a street: its lanes and crossings, who is on it, what stands beside it.

Distances, headings and groupings come out of how streets are built; object sizes come from
`kitti_statistics.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eloss_perception.simulation.lidar.ground import Ground
from eloss_perception.simulation.objects import people, surroundings
from eloss_perception.simulation.objects.builder import SceneBuilder
from eloss_perception.simulation.street.plan import (
    FRONTAGES,
    Side,
    StreetPlan,
    draw_ground,
    draw_side,
)
from eloss_perception.simulation.street.traffic import (
    add_cross_traffic,
    add_cyclists,
    add_parking_lot,
    add_pedestrians,
    fill_lane,
    fill_parking_lane,
)


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
    """Draws a street from x_min to x_max; the ego vehicle starts near x = 0 and looks along +x.

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
    plan.claim((0.0, ground.centre_at(0.0) + ego_lane, 0.0, 0.0), 7.0, 2.4)

    # What comes first takes the space.
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
        _add_frontage(plan, side, sign)
        _add_furniture(plan, side, sign)
        _add_yard(plan, side, sign)
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


def _add_furniture(plan: StreetPlan, side: Side, sign: float) -> None:
    """Furnishes one side (sign 1 is the left)."""
    length = plan.x_max - plan.x_min
    for _ in range(int(plan.rng.poisson(length / plan.uniform(7.0, 20.0)))):
        x = plan.uniform(plan.x_min, plan.x_max)
        lateral = side.kerb + plan.uniform(0.3, max(side.front - side.kerb, 0.6))
        if plan.in_crossing(x, 1.0):
            continue
        at = plan.place(x, sign * lateral)[:3]
        if not plan.claim((*at, 0.0), 0.6, 0.6):
            continue
        kind = plan.rng.random()
        if kind < 0.5:
            surroundings.add_pole(plan.builder, plan.rng, at)
        elif kind < 0.72:
            surroundings.add_tree(plan.builder, plan.rng, at)
        elif kind < 0.8:
            surroundings.add_bush(plan.builder, plan.rng, at, plan.uniform(0.3, 0.8))
        elif kind < 0.87:
            pose = (*at, plan.uniform(-3.1, 3.1))
            people.add_parked_bicycle(plan.builder, plan.rng, pose)
        else:
            surroundings.add_clutter(plan.builder, plan.rng, at)
    if plan.chance(0.12):
        pose = plan.place(0.5 * (plan.x_min + plan.x_max), sign * (side.kerb + 0.4))
        surroundings.add_rail(plan.builder, plan.rng, pose, length)


def _add_frontage(plan: StreetPlan, side: Side, sign: float) -> None:
    """Lines one side (sign 1 is the left) with its kind of frontage, stretch by stretch."""
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
    """Adds one stretch of frontage from x on, `front` metres from the centre line."""
    rng, builder = plan.rng, plan.builder
    middle = x + 0.5 * length
    pose = plan.place(middle, sign * front)
    if kind == "buildings":
        depth = plan.uniform(6.0, 14.0)
        back = front + 0.5 * depth + plan.uniform(0.0, 4.0)
        pose = plan.place(middle, sign * back)
        shorter = length - plan.uniform(0.0, 4.0)
        surroundings.add_building(builder, rng, pose, shorter, depth)
    elif kind == "hedge":
        surroundings.add_hedge(builder, rng, pose, length)
    elif kind == "fence":
        surroundings.add_fence(builder, rng, pose, length)
    elif kind == "wall":
        height, reflectivity = plan.uniform(0.5, 2.5), plan.uniform(0.15, 0.5)
        surroundings.add_box(builder, pose, (length, 0.25, height), reflectivity)
    elif kind == "bushes":
        for _ in range(int(length / plan.uniform(1.5, 5.0))):
            along = x + plan.uniform(0.0, length)
            at = plan.place(along, sign * (front + plan.uniform(0.3, 6.0)))[:3]
            surroundings.add_bush(builder, rng, at, plan.uniform(0.4, 2.2))
    elif kind == "trees":
        for _ in range(int(length / plan.uniform(3.0, 7.0))):
            along = x + plan.uniform(0.0, length)
            at = plan.place(along, sign * (front + plan.uniform(0.0, 12.0)))[:3]
            surroundings.add_tree(builder, rng, at)
    elif kind == "lot" and front < 25.0:
        add_parking_lot(plan, x, sign * (front + 1.0), length, sign)
    if kind in ("hedge", "fence", "wall", "bushes") and plan.chance(0.6):  # the house behind
        depth = plan.uniform(6.0, 12.0)
        back = front + plan.uniform(5.0, 14.0) + 0.5 * depth
        pose = plan.place(middle, sign * back)
        surroundings.add_building(builder, rng, pose, 0.8 * length, depth)


def _add_yard(plan: StreetPlan, side: Side, sign: float) -> None:
    """Scatters growth and clutter behind the pavement, from a lawn to a thicket."""
    density = 0.07 * plan.uniform(0.0, 1.0) ** 2
    depth = plan.uniform(6.0, 22.0)
    for _ in range(int(plan.rng.poisson(density * depth * (plan.x_max - plan.x_min)))):
        x = plan.uniform(plan.x_min, plan.x_max)
        if plan.in_crossing(x, 1.0):
            continue
        lateral = sign * (side.front + depth * plan.uniform(0.0, 1.0) ** 1.4)
        at = plan.place(x, lateral)[:3]
        kind = plan.rng.random()
        if not plan.claim((*at, 0.0), 0.8, 0.8):
            continue
        if kind < 0.4:
            surroundings.add_tree(plan.builder, plan.rng, at)
        elif kind < 0.85:
            surroundings.add_bush(plan.builder, plan.rng, at, plan.uniform(0.3, 1.8))
        else:
            surroundings.add_clutter(plan.builder, plan.rng, at)
