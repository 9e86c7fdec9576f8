# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cars of several body shapes, vans, trucks, buses and trams as convex solids."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.simulation.builder import (
    STILL,
    Motion,
    Plane,
    SceneBuilder,
    Vector,
    plane,
    sample_size,
)
from eloss_perception.simulation.raycast import BOX, CYLINDER

# Hood, trunk as shares of the length; slope of windscreen and rear window as run per rise;
# height of the belt line as a share of the height.
_STYLES: dict[str, tuple[tuple[float, float], ...]] = {
    "hatchback": ((0.20, 0.27), (0.00, 0.03), (1.0, 1.7), (0.3, 0.9), (0.58, 0.66)),
    "sedan": ((0.24, 0.30), (0.12, 0.20), (1.3, 2.0), (1.1, 1.9), (0.60, 0.68)),
    "wagon": ((0.22, 0.28), (0.00, 0.02), (1.2, 1.8), (0.2, 0.6), (0.58, 0.66)),
    "suv": ((0.20, 0.27), (0.00, 0.03), (0.8, 1.3), (0.15, 0.5), (0.60, 0.67)),
    "mpv": ((0.12, 0.20), (0.00, 0.02), (1.0, 1.7), (0.1, 0.4), (0.55, 0.63)),
}


def _uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(rng.uniform(*limits))


def _profile(points: list[tuple[float, float]]) -> list[Plane]:
    """Faces of a convex side profile of (x, z) corners, counter-clockwise seen from the right."""
    faces = []
    for (x0, z0), (x1, z1) in zip(points, points[1:] + points[:1], strict=True):
        faces.append(plane(z1 - z0, 0.0, x0 - x1, (x0, 0.0, z0)))
    return faces


def _glass(face: Plane, opacity: float, absorb: float) -> Plane:
    return (*face[:4], 0.7, opacity, absorb)


def _wheels(
    builder: SceneBuilder,
    owner: int,
    length: float,
    width: float,
    radius: float,
    axles: tuple[float, ...],
) -> None:
    for x in axles:
        for side in (-1.0, 1.0):
            builder.add_part(
                CYLINDER,
                owner,
                (x * length, side * (0.5 * width - 0.12), radius),
                (radius, radius, 0.11),
                0.13,
                roll=0.5 * math.pi,
                texture=0.8,
            )


def _lights(
    builder: SceneBuilder,
    rng: np.random.Generator,
    owner: int,
    length: float,
    width: float,
    height: float,
) -> None:
    bright = float(rng.uniform(0.3, 1.2))
    for end in (-1.0, 1.0):
        z = float(rng.uniform(0.42, 0.56)) * height
        inset = 0.10 if end > 0 else 0.05
        for side in (-1.0, 1.0):
            builder.add_part(
                BOX,
                owner,
                (end * (0.5 * length - inset), side * (0.5 * width - 0.22), z),
                (0.06, 0.13, 0.07),
                bright,
                opacity=0.8,
                exponent=0.2,
            )
        builder.add_part(
            BOX,
            owner,
            (end * (0.5 * length - 0.005), 0.0, float(rng.uniform(0.4, 0.75))),
            (0.012, 0.26, 0.055),
            2.5,
            exponent=0.1,
        )


def paint(rng: np.random.Generator) -> float:
    """Reflectivity of a car's paint: black to white, darker ones are common."""
    return float(np.clip(math.exp(rng.normal(math.log(0.17), 0.8)), 0.03, 0.9))


def add_car(
    builder: SceneBuilder,
    rng: np.random.Generator,
    x: float,
    y: float,
    z: float,
    yaw: float,
    motion: Motion = STILL,
    name: str = "Car",
) -> int:
    """Add a passenger car (or, with name "Van", a van) standing on (x, y, z)."""
    size = sample_size(rng, name)
    length = size[0] - float(rng.normal(0.06, 0.05))
    width = size[1] - float(rng.normal(0.07, 0.03))
    # In KITTI the box starts a few centimetres over the ground and ends over the roof.
    bottom = float(rng.normal(0.04, 0.02))
    height = size[2] + bottom - float(rng.normal(0.06, 0.03))
    owner = builder.add_object(x, y, z, yaw, name, size, bottom, motion)

    if name == "Van":
        style = "mpv"
    elif size[2] > 1.66:
        style = str(rng.choice(["suv", "mpv"]))
    elif size[0] > 4.15:
        style = str(rng.choice(["sedan", "wagon", "suv"], p=[0.45, 0.4, 0.15]))
    else:
        style = str(rng.choice(["hatchback", "sedan", "wagon", "mpv"], p=[0.6, 0.15, 0.1, 0.15]))
    hood, trunk, front_run, rear_run, belt_share = (
        _uniform(rng, limits) for limits in _STYLES[style]
    )
    panel_van = name == "Van" and rng.random() < 0.7
    belt = belt_share * height
    clearance = float(rng.uniform(0.15, 0.28))
    front, rear = 0.5 * length, -0.5 * length
    nose = belt - float(rng.uniform(0.08, 0.28))
    tail = belt - float(rng.uniform(0.0, 0.12))
    screen = front - hood * length
    deck = rear + trunk * length
    half_width = 0.5 * width
    shade, exponent = paint(rng), float(rng.uniform(0.4, 1.0))

    lower = _profile(
        [
            (rear + 0.12, clearance),
            (front - 0.15, clearance),
            (front, clearance + 0.22),
            (front - 0.03, nose - 0.12),
            (front - 0.16, nose),
            (screen, belt + 0.01),
            (deck + 0.02, belt + 0.01),
            (rear + 0.04, tail),
            (rear, clearance + 0.25),
        ]
    )
    front_cut, rear_cut = float(rng.uniform(0.12, 0.34)), float(rng.uniform(0.06, 0.22))
    for side in (-1.0, 1.0):
        lower.append(plane(0.0, side, 0.0, (0.0, side * half_width, 0.0)))
        lower.append(plane(0.0, side, 0.30, (0.0, side * half_width, 0.62 * belt)))
        lower.append(plane(0.0, side, -0.35, (0.0, side * half_width, 0.36 * belt)))
        lower.append(plane(0.55, side * 0.83, 0.0, (front, side * (half_width - front_cut), 0.0)))
        lower.append(plane(-0.5, side * 0.86, 0.0, (rear, side * (half_width - rear_cut), 0.0)))
    middle = 0.5 * (clearance + belt)
    builder.add_polyhedron(
        owner,
        (0.0, 0.0, middle),
        (front, half_width, middle - clearance + 0.02),
        lower,
        shade,
        exponent,
    )

    # Glass lets most of the light in or mirrors it away; a panel van has sheet metal instead.
    opacity, absorb = float(rng.uniform(0.12, 0.5)), float(rng.uniform(0.25, 0.5))
    rise = height - belt
    roof_front = min(screen - front_run * rise, screen - 0.1)
    roof_rear = min(deck + rear_run * rise, roof_front - 0.3)
    corners = [
        (deck, belt),
        (screen, belt),
        (roof_front, height - 0.05),
        (roof_front - 0.35, height - 0.005),
        (0.5 * (roof_front + roof_rear), height),
        (roof_rear, height - 0.05),
    ]
    upper = _profile(corners)
    upper[1] = _glass(upper[1], opacity, absorb)
    if not panel_van:
        upper[5] = _glass(upper[5], opacity + 0.15, absorb)
    tumblehome = float(rng.uniform(0.1, 0.38)) if not panel_van else 0.08
    for side in (-1.0, 1.0):
        face = plane(0.0, side, tumblehome, (0.0, side * (half_width - 0.05), belt))
        upper.append(face if panel_van else _glass(face, opacity + 0.1, absorb))
        upper.append(
            plane(
                0.0, side, 1.2, (0.0, side * (half_width - 0.06 - tumblehome * rise), height - 0.06)
            )
        )
        upper.append(plane(0.4, side, 0.0, (roof_front, side * (half_width - 0.06), 0.0)))
    builder.add_polyhedron(
        owner,
        (0.5 * (screen + deck), 0.0, 0.5 * (belt + height)),
        (0.5 * (screen - deck), half_width, 0.5 * rise),
        upper,
        shade,
        exponent,
    )
    if not panel_van:  # seats and dashboard behind the glass
        cloth = float(rng.uniform(0.05, 0.3))
        for share in (0.42, 0.75):
            seat = screen + share * (deck - screen)
            builder.add_part(
                BOX,
                owner,
                (seat, 0.0, belt + 0.15),
                (0.09, half_width - 0.28, 0.24),
                cloth,
                opacity=0.75,
            )
        builder.add_part(
            BOX,
            owner,
            (0.5 * (screen + deck), 0.0, belt - 0.02),
            (0.5 * (screen - deck) - 0.05, half_width - 0.12, 0.03),
            cloth,
        )
    for side in (-1.0, 1.0):
        builder.add_part(
            BOX,
            owner,
            (screen - 0.35, side * (half_width + 0.07), belt + 0.06),
            (0.05, 0.09, 0.07),
            shade,
        )
    radius = float(rng.uniform(0.28, 0.35))
    _wheels(
        builder,
        owner,
        length,
        width,
        radius,
        (float(rng.uniform(0.29, 0.34)), -float(rng.uniform(0.27, 0.33))),
    )
    _lights(builder, rng, owner, length, width, height)
    return owner


def add_truck(
    builder: SceneBuilder,
    rng: np.random.Generator,
    x: float,
    y: float,
    z: float,
    yaw: float,
    motion: Motion = STILL,
) -> int:
    """Add a truck: cab, gap, cargo box or flat bed, wheels."""
    size = sample_size(rng, "Truck")
    length, width, height = size
    owner = builder.add_object(x, y, z, yaw, "Truck", size, 0.04, motion)
    cab = float(rng.uniform(1.5, 2.3))
    shade = paint(rng) * 1.5
    cab_height = min(height, float(rng.uniform(2.2, 3.2)))
    builder.add_part(
        BOX,
        owner,
        (0.5 * (length - cab), 0.0, 0.5 * (cab_height + 0.4)),
        (0.5 * cab, 0.46 * width, 0.5 * (cab_height - 0.4)),
        shade,
        texture=0.5,
    )
    floor = float(rng.uniform(0.7, 1.2))
    top = height if rng.random() < 0.75 else floor + 0.7
    builder.add_part(
        BOX,
        owner,
        (-0.5 * (cab + 0.3), 0.0, 0.5 * (floor + top)),
        (0.5 * (length - cab - 0.3), 0.49 * width, 0.5 * (top - floor)),
        float(rng.uniform(0.1, 0.6)),
    )
    builder.add_part(BOX, owner, (-0.2, 0.0, 0.8), (0.45 * length, 0.3, 0.15), 0.1)
    _wheels(builder, owner, length, width, 0.48, (0.36, -0.22, -0.36))
    _lights(builder, rng, owner, length, width, 1.6)
    return owner


def add_bus(
    builder: SceneBuilder,
    rng: np.random.Generator,
    x: float,
    y: float,
    z: float,
    yaw: float,
    motion: Motion = STILL,
    name: str = "Tram",
) -> int:
    """Add a bus or tram: one long box with a band of windows."""
    size: Vector = (
        float(rng.uniform(9.0, 24.0)),
        float(rng.uniform(2.4, 2.65)),
        float(rng.uniform(2.9, 3.7)),
    )
    length, width, height = size
    owner = builder.add_object(x, y, z, yaw, name, size, 0.04, motion)
    shade = paint(rng) * 1.6
    builder.add_part(BOX, owner, (0.0, 0.0, 0.8), (0.5 * length, 0.49 * width, 0.5), shade)
    builder.add_part(
        BOX,
        owner,
        (0.0, 0.0, 0.5 * (1.3 + height - 0.5)),
        (0.5 * length - 0.05, 0.48 * width, 0.5 * (height - 1.8)),
        shade,
        opacity=0.45,
        absorb=0.45,
    )
    builder.add_part(
        BOX, owner, (0.0, 0.0, height - 0.25), (0.5 * length, 0.48 * width, 0.25), shade
    )
    if name != "Tram":
        _wheels(builder, owner, length, width, 0.48, (0.33, -0.3))
    return owner


def add_trailer(
    builder: SceneBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float
) -> int:
    """Add a parked trailer or caravan (KITTI's "Misc")."""
    size = (
        float(rng.uniform(2.0, 5.5)),
        float(rng.uniform(1.3, 2.2)),
        float(rng.uniform(1.0, 2.5)),
    )
    length, width, height = size
    owner = builder.add_object(x, y, z, yaw, "Misc", size, 0.04)
    builder.add_part(
        BOX,
        owner,
        (0.0, 0.0, 0.5 * (0.5 + height)),
        (0.48 * length, 0.48 * width, 0.5 * (height - 0.5)),
        float(rng.uniform(0.1, 0.6)),
    )
    _wheels(builder, owner, length, width, 0.3, (0.0,))
    return owner
