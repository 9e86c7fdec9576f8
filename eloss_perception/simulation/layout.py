# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural streets: road, parked rows, traffic, people and what lines the road.

Distances, headings and groupings come out of how streets are built; object sizes come from
`kitti_statistics.yaml`. Pedestrians and cyclists are several times as frequent as in KITTI, because
a detector has to see many to learn them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from eloss_perception.simulation import people, surroundings, vehicles
from eloss_perception.simulation.builder import STILL, Motion, SceneBuilder
from eloss_perception.simulation.ground import (
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

Rng = np.random.Generator


@dataclass(frozen=True)
class Side:
    """One side of the street, as distances from the centre line outwards [m]."""

    road: float
    parking: float
    walk: float
    front: float
    frontage: str
    occupancy: float
    perpendicular: bool


@dataclass(frozen=True)
class Street:
    """A street and all that stands on it.

    Attributes:
        builder: The parts and objects. ground: Height and material of the ground.
        ego_lane: Lateral offset of the ego vehicle's lane from the centre line.
        crossings: (K, 2) centre and half width of the side roads along x.
    """

    builder: SceneBuilder
    ground: Ground
    ego_lane: float
    crossings: list[tuple[float, float]]


@dataclass
class _Plan:
    """What the functions below share while they fill a street."""

    rng: Rng
    builder: SceneBuilder
    ground: Ground
    x_min: float
    x_max: float
    crossings: list[tuple[float, float]]
    moving: bool
    taken: list[tuple[float, float, float, float, float]] = field(default_factory=list)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def in_crossing(self, x: float, margin: float = 0.0) -> bool:
        return any(abs(x - centre) < half + margin for centre, half in self.crossings)

    def place(self, x: float, v: float) -> tuple[float, float, float, float]:
        """World x, y, z and road heading at distance x along and v to the left of the road."""
        y = self.ground.centre_at(x) + v
        return x, y, self.ground.height_at(x, y), self.ground.heading_at(x)

    def claim(self, x: float, y: float, yaw: float, length: float, width: float) -> bool:
        """Reserve a rectangle (seen as circles along its axis); False where something stands."""
        radius = 0.5 * width
        for tx, ty, tyaw, tl, tw in self.taken:
            dx, dy = tx - x, ty - y
            if dx * dx + dy * dy > (0.5 * (length + tl + width + tw)) ** 2:
                continue
            c, s = math.cos(tyaw), math.sin(tyaw)
            half = 0.5 * max(length - width, 0.0)
            for k in (-1.0, 0.0, 1.0):
                px, py = dx - k * half * math.cos(yaw), dy - k * half * math.sin(yaw)
                if (
                    abs(c * px + s * py) < 0.5 * tl + radius
                    and abs(c * py - s * px) < 0.5 * tw + radius
                ):
                    return False
        self.taken.append((x, y, yaw, length, width))
        return True


_FRONTAGES = ("buildings", "hedge", "fence", "wall", "bushes", "trees", "grass", "mixed")


def _side(rng: Rng, lanes_width: float, urban: float) -> Side:
    parking = 2.2 if rng.random() < 0.35 + 0.4 * urban else 0.0
    perpendicular = parking > 0 and rng.random() < 0.2
    if perpendicular:
        parking = 5.2
    walk = float(rng.uniform(1.4, 4.5)) if rng.random() < 0.4 + 0.6 * urban else 0.3
    weights = np.array(
        [0.5 * urban, 0.15, 0.12, 0.1, 0.2 * (1.2 - urban), 0.2, 0.25 * (1.1 - urban), 0.5]
    )
    frontage = str(rng.choice(_FRONTAGES, p=weights / weights.sum()))
    return Side(
        road=lanes_width,
        parking=parking,
        walk=walk,
        front=lanes_width + parking + walk + float(rng.uniform(0.2, 5.0 - 3.5 * urban)),
        frontage=frontage,
        occupancy=float(rng.beta(1.6, 1.4)),
        perpendicular=perpendicular,
    )


def _make_ground(
    rng: Rng,
    x_min: float,
    x_max: float,
    left: Side,
    right: Side,
    crossings: list[tuple[float, float]],
    urban: float,
) -> Ground:
    x = np.arange(x_min - 60.0, x_max + 60.0, STEP_X)
    bend = rng.uniform(0.0, 1.0) ** 2
    centre = np.zeros_like(x)
    height = np.zeros_like(x)
    for wavelength, lateral, vertical in (
        (400.0, 9.0, 1.0),
        (170.0, 2.0, 0.22),
        (70.0, 0.25, 0.04),
    ):
        phase = rng.uniform(0.0, 2.0 * math.pi, 2)
        omega = 2.0 * math.pi / wavelength
        centre += bend * lateral * rng.uniform(-1, 1) * np.sin(omega * x + phase[0])
        height += vertical * rng.normal(0.0, 0.55) * np.sin(omega * x + phase[1])
    v = np.arange(-HALF_V, HALF_V + 0.5 * STEP_V, STEP_V)
    zone = np.full(len(v), VERGE, np.int64)
    profile = np.zeros(len(v))
    for side, sign in ((left, 1.0), (right, -1.0)):
        u = sign * v
        kerb = float(rng.uniform(0.04, 0.16)) if rng.random() < 0.8 else 0.0
        edge = side.road + side.parking
        outer = edge + side.walk
        slope = float(np.clip(rng.normal(0.0, 0.05 if urban > 0.4 else 0.08), -0.12, 0.12))
        run = float(rng.uniform(3.0, 15.0))
        mine = u >= 0.0
        zone[mine & (u < outer)] = PAVEMENT
        zone[mine & (u < edge)] = ROAD
        profile[mine & (u >= edge)] += kerb
        beyond = np.clip(u - outer, 0.0, run)
        profile[mine] += slope * beyond[mine]
        if urban > 0.75:
            zone[mine & (u >= outer)] = PAVEMENT
        if rng.random() < 0.5:
            zone[mine & (np.abs(u - side.road) < 0.08)] = MARKING
    profile -= 0.02 * np.minimum(np.abs(v), 5.0) * float(rng.uniform(0.0, 1.0))
    if rng.random() < 0.5:
        zone[np.abs(v) < 0.08] = MARKING
    road = float(np.clip(rng.normal(0.50, 0.07), 0.25, 0.75))
    walk = float(np.clip(road + rng.normal(0.04, 0.08), 0.25, 0.8))
    rough = float(rng.uniform(0.3, 1.0))
    even = float(rng.uniform(0.003, 0.013))
    wavy = float(rng.uniform(0.01, 0.09)) * (1.0 - 0.6 * urban)
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


def _add_vehicle(
    plan: _Plan, x: float, v: float, turn: float, motion: Motion = STILL, large: float = 0.05
) -> None:
    """Add some vehicle heading `turn` relative to the road, if there is room."""
    x, y, z, heading = plan.place(x, v)
    yaw = heading + turn
    kind = plan.rng.random()
    if kind < large:
        length = 11.0
    else:
        length = 4.3
    if not plan.claim(x, y, yaw, length, 1.9):
        return
    if kind < 0.6 * large:
        vehicles.add_truck(plan.builder, plan.rng, x, y, z, yaw, motion)
    elif kind < large:
        vehicles.add_bus(
            plan.builder, plan.rng, x, y, z, yaw, motion, "Tram" if plan.chance(0.3) else "Truck"
        )
    elif kind < large + 0.09:
        vehicles.add_car(plan.builder, plan.rng, x, y, z, yaw, motion, "Van")
    elif kind < large + 0.11 and motion.speed == 0.0:
        vehicles.add_trailer(plan.builder, plan.rng, x, y, z, yaw)
    else:
        vehicles.add_car(plan.builder, plan.rng, x, y, z, yaw, motion)


def _park(plan: _Plan, side: Side, sign: float) -> None:
    """Fill the parking lane of one side."""
    if side.parking == 0.0:
        return
    x = plan.x_min + plan.uniform(0.0, 6.0)
    with_traffic = 0.0 if sign < 0 else math.pi
    while x < plan.x_max:
        gap = plan.uniform(5.0, 6.4) if not side.perpendicular else plan.uniform(2.3, 2.9)
        if plan.chance(side.occupancy) and not plan.in_crossing(x, 4.0):
            v = sign * (side.road + 0.5 * side.parking + float(plan.rng.normal(0.0, 0.12)))
            turn = float(plan.rng.normal(0.0, 0.03))
            if side.perpendicular:
                turn += 0.5 * math.pi * (1.0 if plan.chance(0.5) else -1.0)
            else:
                turn += with_traffic if plan.chance(0.85) else math.pi - with_traffic
            _add_vehicle(plan, x, v, turn, large=0.015)
        x += gap


def _drive(
    plan: _Plan,
    lane: float,
    direction: float,
    density: float,
    ego_lane: bool,
    ego_speed: float | None,
) -> None:
    """Fill one lane with moving traffic, which keeps pace with the ego vehicle in its own lane."""
    x = plan.x_min + plan.uniform(0.0, 30.0)
    # Oncoming traffic meets a moving ego vehicle from beyond the end of the street as well.
    end = plan.x_max + (plan.x_max if direction < 0 and plan.moving else 0.0)
    speed = ego_speed if ego_lane and ego_speed is not None else plan.uniform(7.0, 12.0)
    while x < end:
        if not ego_lane or abs(x) > 9.0:
            v = lane + float(plan.rng.normal(0.0, 0.25))
            _add_vehicle(
                plan,
                x,
                v,
                (0.0 if direction > 0 else math.pi) + float(plan.rng.normal(0, 0.02)),
                Motion(direction * speed, v),
                large=0.08,
            )
        x += plan.uniform(6.5, 14.0) + float(plan.rng.exponential(1.0 / density))


def _cross_traffic(plan: _Plan) -> None:
    """Cars on the side roads: waiting, crossing, parked further in."""
    for centre, half in plan.crossings:
        for sign in (-1.0, 1.0):
            v = sign * plan.uniform(6.0, 14.0)
            while abs(v) < 45.0:
                if plan.chance(0.55):
                    x = centre + sign * 0.45 * half + float(plan.rng.normal(0.0, 0.4))
                    _add_vehicle(
                        plan,
                        x,
                        v,
                        0.5 * math.pi * (1.0 if plan.chance(0.5) else -1.0)
                        + float(plan.rng.normal(0.0, 0.08)),
                    )
                v += sign * plan.uniform(5.5, 18.0)
        if plan.chance(0.4) and not plan.moving:  # turning or crossing in the middle
            _add_vehicle(
                plan,
                centre + plan.uniform(-3.0, 3.0),
                plan.uniform(-3.0, 3.0),
                plan.uniform(-math.pi, math.pi),
            )


def _lot(plan: _Plan, x: float, v: float, length: float, sign: float) -> None:
    """A parking lot: rows of cars at a common angle."""
    angle = 0.5 * math.pi if plan.chance(0.7) else plan.uniform(-1.5, 1.5)
    fill = plan.uniform(0.25, 0.9)
    for row in range(int(plan.rng.integers(1, 4))):
        at = x
        while at < x + length:
            if plan.chance(fill):
                _add_vehicle(
                    plan,
                    at,
                    v + sign * (2.6 + 6.5 * row),
                    angle
                    + (math.pi if plan.chance(0.5) else 0.0)
                    + float(plan.rng.normal(0, 0.04)),
                    large=0.01,
                )
            at += plan.uniform(2.4, 3.0)


def _frontage(plan: _Plan, side: Side, sign: float) -> None:
    """Line one side with whatever stands behind the pavement, stretch by stretch."""
    rng, builder = plan.rng, plan.builder
    x = plan.x_min
    while x < plan.x_max:
        length = plan.uniform(6.0, 26.0)
        middle = x + 0.5 * length
        if plan.in_crossing(middle, 0.5 * length):
            x += 4.0
            continue
        kind = side.frontage
        if kind == "mixed" or plan.chance(0.25):
            kind = str(rng.choice((*_FRONTAGES[:-1], "lot")))
        v = side.front + plan.uniform(0.0, 1.0)
        wx, wy, z, heading = plan.place(middle, sign * v)
        if kind == "buildings":
            depth = plan.uniform(6.0, 14.0)
            wx, wy, z, heading = plan.place(
                middle, sign * (v + 0.5 * depth + plan.uniform(0.0, 4.0))
            )
            surroundings.add_building(
                builder, rng, wx, wy, z, heading, length - plan.uniform(0.0, 4.0), depth
            )
        elif kind == "hedge":
            surroundings.add_hedge(builder, rng, wx, wy, z, heading, length)
        elif kind == "fence":
            surroundings.add_fence(builder, rng, wx, wy, z, heading, length)
        elif kind == "wall":
            surroundings.add_box(
                builder,
                wx,
                wy,
                z,
                heading,
                length,
                0.25,
                plan.uniform(0.5, 2.5),
                plan.uniform(0.15, 0.5),
            )
        elif kind == "bushes":
            for _ in range(int(length / plan.uniform(1.5, 5.0))):
                bx, by, bz, _h = plan.place(
                    x + plan.uniform(0.0, length), sign * (v + plan.uniform(0.3, 6.0))
                )
                surroundings.add_bush(builder, rng, bx, by, bz, plan.uniform(0.4, 2.2))
        elif kind == "trees":
            for _ in range(int(length / plan.uniform(3.0, 7.0))):
                bx, by, bz, _h = plan.place(
                    x + plan.uniform(0.0, length), sign * (v + plan.uniform(0.0, 12.0))
                )
                surroundings.add_tree(builder, rng, bx, by, bz)
        elif kind == "lot" and v < 25.0:
            _lot(plan, x, sign * (v + 1.0), length, sign)
        if kind in ("hedge", "fence", "wall", "bushes") and plan.chance(0.6):  # the house behind
            depth = plan.uniform(6.0, 12.0)
            wx, wy, z, heading = plan.place(
                middle, sign * (v + plan.uniform(5.0, 14.0) + 0.5 * depth)
            )
            surroundings.add_building(builder, rng, wx, wy, z, heading, 0.8 * length, depth)
        x += length


def _yard(plan: _Plan, side: Side, sign: float) -> None:
    """Scatter growth and clutter behind the pavement, from a lawn to a thicket."""
    density = 0.07 * plan.uniform(0.0, 1.0) ** 2
    depth = plan.uniform(6.0, 22.0)
    for _ in range(int(plan.rng.poisson(density * depth * (plan.x_max - plan.x_min)))):
        x = plan.uniform(plan.x_min, plan.x_max)
        if plan.in_crossing(x, 1.0):
            continue
        x, y, z, _heading = plan.place(
            x, sign * (side.front + depth * plan.uniform(0.0, 1.0) ** 1.4)
        )
        kind = plan.rng.random()
        if not plan.claim(x, y, 0.0, 0.8, 0.8):
            continue
        if kind < 0.4:
            surroundings.add_tree(plan.builder, plan.rng, x, y, z)
        elif kind < 0.85:
            surroundings.add_bush(plan.builder, plan.rng, x, y, z, plan.uniform(0.3, 1.8))
        else:
            surroundings.add_clutter(plan.builder, plan.rng, x, y, z)


def _furniture(plan: _Plan, side: Side, sign: float) -> None:
    """Poles, street trees, bins and the like between road and frontage."""
    edge = side.road + side.parking
    for _ in range(int(plan.rng.poisson((plan.x_max - plan.x_min) / plan.uniform(7.0, 20.0)))):
        x = plan.uniform(plan.x_min, plan.x_max)
        v = edge + plan.uniform(0.3, max(side.front - edge, 0.6))
        if plan.in_crossing(x, 1.0):
            continue
        x, y, z, _heading = plan.place(x, sign * v)
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
        x, y, z, heading = plan.place(0.5 * (plan.x_min + plan.x_max), sign * (edge + 0.4))
        surroundings.add_rail(plan.builder, plan.rng, x, y, z, heading, plan.x_max - plan.x_min)


def _walkers(plan: _Plan, left: Side, right: Side, mean: float) -> None:
    """Pedestrians, singly and in groups: on the pavement, by the cars, on the road."""
    for _ in range(int(plan.rng.poisson(mean / 1.5))):
        side, sign = (left, 1.0) if plan.chance(0.5) else (right, -1.0)
        edge = side.road + side.parking
        # Nearer ones are more frequent in KITTI: half of them within 15 m.
        x = float(plan.rng.gamma(1.8, 9.0)) + 1.5
        if plan.moving or x > plan.x_max:
            x = plan.uniform(plan.x_min, plan.x_max)
        where = plan.rng.random()
        if where < 0.62:
            v, turn = sign * (edge + plan.uniform(0.2, max(side.walk, 1.2))), 0.0
        elif where < 0.8:
            v, turn = sign * (side.front + plan.uniform(-1.0, 3.0)), plan.uniform(-3.1, 3.1)
        else:
            v, turn = plan.uniform(-edge, edge), 0.5 * math.pi
            if plan.moving:
                v = sign * (edge + 0.5)
        turn += math.pi if plan.chance(0.5) else 0.0
        for _member in range(1 + int(plan.rng.geometric(0.62) - 1)):
            px, py, z, heading = plan.place(x, v)
            yaw = heading + turn + float(plan.rng.normal(0.0, 0.25))
            if math.hypot(px, py - plan.ground.centre_at(0.0)) > 2.0 and plan.claim(
                px, py, yaw, 0.6, 0.6
            ):
                pace = plan.uniform(0.8, 1.7) if plan.chance(0.7) else 0.0
                if plan.chance(0.04):
                    people.add_sitting_person(plan.builder, plan.rng, px, py, z, yaw)
                else:
                    people.add_pedestrian(plan.builder, plan.rng, px, py, z, yaw, Motion(pace))
            x += float(plan.rng.normal(0.0, 0.8))
            v += float(plan.rng.normal(0.0, 0.6))


def _riders(plan: _Plan, left: Side, right: Side, mean: float) -> None:
    """Cyclists along the kerb, on the pavement, now and then across."""
    for _ in range(int(plan.rng.poisson(mean))):
        side, sign = (left, 1.0) if plan.chance(0.5) else (right, -1.0)
        x = float(plan.rng.gamma(2.0, 10.0)) + 1.5
        if plan.moving or x > plan.x_max:
            x = plan.uniform(plan.x_min, plan.x_max)
        v = sign * (side.road + plan.uniform(-1.6, 0.2))
        if plan.chance(0.3):
            v = sign * (side.road + side.parking + plan.uniform(0.4, max(side.walk, 1.0)))
        turn = (0.0 if sign < 0 else math.pi) + (math.pi if plan.chance(0.2) else 0.0)
        lane: float | None = v
        if plan.chance(0.12) and not plan.moving:
            turn, lane = plan.uniform(-3.1, 3.1), None
        x, y, z, heading = plan.place(x, v)
        if math.hypot(x, y - plan.ground.centre_at(0.0)) > 2.5 and plan.claim(
            x, y, heading + turn, 1.8, 0.8
        ):
            forward = math.cos(turn) > 0
            people.add_cyclist(
                plan.builder,
                plan.rng,
                x,
                y,
                z,
                heading + turn,
                Motion(plan.uniform(3.0, 6.0) * (1.0 if forward or lane is None else -1.0), lane),
            )


def make_street(rng: Rng, x_min: float, x_max: float, ego_speed: float | None = None) -> Street:
    """Draw a street from x_min to x_max; the ego vehicle starts near x = 0 and looks along +x.

    Args:
        ego_speed: Speed of a moving ego vehicle [m/s], whose lane is kept free of what it would
            run into; None for a single scan.
    """
    urban = float(rng.beta(1.2, 1.0))
    lanes = 2 if rng.random() < 0.25 else 1  # per direction
    lane_width = float(rng.uniform(2.6, 3.7))
    half = lanes * lane_width
    left, right = _side(rng, half, urban), _side(rng, half, urban)
    crossings: list[tuple[float, float]] = []
    at = x_min + float(rng.uniform(0.0, 120.0))
    while at < x_max and rng.random() < 0.8:
        crossings.append((at, float(rng.uniform(3.5, 7.0))))
        at += float(rng.uniform(40.0, 160.0))
    ground = _make_ground(rng, x_min, x_max, left, right, crossings, urban)
    builder = SceneBuilder()
    plan = _Plan(rng, builder, ground, x_min, x_max, crossings, ego_speed is not None)
    ego_lane = -half + 0.5 * lane_width + (lane_width if lanes == 2 and rng.random() < 0.4 else 0.0)
    plan.claim(0.0, ground.centre_at(0.0) + ego_lane, 0.0, 7.0, 2.4)
    for k in range(lanes):
        offset = (k + 0.5) * lane_width
        _drive(
            plan,
            -offset,
            1.0,
            1.0 / float(rng.uniform(8.0, 70.0)),
            abs(offset + ego_lane) < 1.0,
            ego_speed,
        )
        _drive(plan, offset, -1.0, 1.0 / float(rng.uniform(8.0, 60.0)), False, ego_speed)
    _cross_traffic(plan)
    length = x_max - x_min
    for side, sign in ((left, 1.0), (right, -1.0)):
        _park(plan, side, sign)
    crowd = float(rng.gamma(1.2, 4.5)) * length / 130.0
    _walkers(plan, left, right, crowd)
    _riders(plan, left, right, float(rng.gamma(1.2, 2.7)) * length / 130.0)
    for side, sign in ((left, 1.0), (right, -1.0)):
        _frontage(plan, side, sign)
        _furniture(plan, side, sign)
        _yard(plan, side, sign)
    return Street(builder, ground, ego_lane, crossings)
