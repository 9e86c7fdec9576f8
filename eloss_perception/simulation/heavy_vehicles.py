# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trucks, buses, trams and trailers as boxes on wheels."""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.builder import STILL, Motion, SceneBuilder, Vector, sample_size
from eloss_perception.simulation.parts import BOX
from eloss_perception.simulation.vehicle_parts import add_lights, add_wheels, paint


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
    add_wheels(builder, owner, length, width, 0.48, (0.36, -0.22, -0.36))
    add_lights(builder, rng, owner, length, width, 1.6)
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
        add_wheels(builder, owner, length, width, 0.48, (0.33, -0.3))
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
    add_wheels(builder, owner, length, width, 0.3, (0.0,))
    return owner
