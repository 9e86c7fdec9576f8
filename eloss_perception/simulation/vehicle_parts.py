# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all vehicles have: paint, wheels, lamps, number plates."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.simulation.builder import SceneBuilder
from eloss_perception.simulation.parts import BOX, CYLINDER


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
    """Add a pair of wheels at each axle, given as a share of the length from the middle on."""
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
    """Add lamps, which reflect well, and number plates, which mirror light back to its source."""
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
