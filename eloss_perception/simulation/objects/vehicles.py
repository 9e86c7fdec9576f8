# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all vehicles have (paint, wheels, lamps, plates); trucks, buses, trams and trailers."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.simulation.objects.builder import (
    BOX,
    CYLINDER,
    STILL,
    Motion,
    Pose,
    SceneBuilder,
    Vector,
    sample_size,
)


def paint(rng: np.random.Generator) -> float:
    """Reflectivity of a car's paint: black to white, darker ones are common."""
    return float(np.clip(math.exp(rng.normal(math.log(0.17), 0.8)), 0.03, 0.9))


def add_wheels(
    builder: SceneBuilder,
    owner: int,
    length: float,
    width: float,
    radius: float,
    axles: tuple[float, ...],
) -> None:
    """Adds a pair of wheels at each axle, given as a share of the length from the middle on."""
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


def add_lights(
    builder: SceneBuilder,
    rng: np.random.Generator,
    owner: int,
    length: float,
    width: float,
    height: float,
) -> None:
    """Adds lamps, which reflect well, and number plates, which mirror light back to its source."""
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


def add_truck(
    builder: SceneBuilder, rng: np.random.Generator, pose: Pose, motion: Motion = STILL
) -> int:
    """Adds a truck: cab, gap, cargo box or flat bed, wheels."""
    size = sample_size(rng, "Truck")
    length, width, height = size
    owner = builder.add_object(pose, "Truck", size, 0.04, motion)
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
    add_wheels(builder, owner, length, width, 0.48, (0.36, -0.22, -0.36))
    add_lights(builder, rng, owner, length, width, 1.6)
    return owner


def add_bus(
    builder: SceneBuilder,
    rng: np.random.Generator,
    pose: Pose,
    motion: Motion = STILL,
    name: str = "Tram",
) -> int:
    """Adds a bus or tram: one long box with a band of windows."""
    size: Vector = (
        float(rng.uniform(9.0, 24.0)),
        float(rng.uniform(2.4, 2.65)),
        float(rng.uniform(2.9, 3.7)),
    )
    length, width, height = size
    owner = builder.add_object(pose, name, size, 0.04, motion)
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
        add_wheels(builder, owner, length, width, 0.48, (0.33, -0.3))
    return owner


def add_trailer(builder: SceneBuilder, rng: np.random.Generator, pose: Pose) -> int:
    """Adds a parked trailer or caravan (KITTI's "Misc")."""
    size = (
        float(rng.uniform(2.0, 5.5)),
        float(rng.uniform(1.3, 2.2)),
        float(rng.uniform(1.0, 2.5)),
    )
    length, width, height = size
    owner = builder.add_object(pose, "Misc", size, 0.04)
    builder.add_part(
        BOX,
        owner,
        (0.0, 0.0, 0.5 * (0.5 + height)),
        (0.48 * length, 0.48 * width, 0.5 * (height - 0.5)),
        float(rng.uniform(0.1, 0.6)),
    )
    add_wheels(builder, owner, length, width, 0.3, (0.0,))
    return owner
