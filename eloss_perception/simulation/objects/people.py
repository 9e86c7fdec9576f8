# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pedestrians and cyclists, built of limbs."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.simulation.objects.builder import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    STILL,
    Motion,
    Pose,
    SceneBuilder,
    Vector,
    sample_size,
)


def _limb(
    builder: SceneBuilder,
    owner: int,
    start: Vector,
    end: Vector,
    radius: float,
    reflectivity: float,
    opacity: float = 1.0,
) -> None:
    """A round bar from start to end."""
    dx, dy, dz = (e - s for s, e in zip(start, end, strict=True))
    flat, length = math.hypot(dx, dy), math.sqrt(dx * dx + dy * dy + dz * dz)
    centre = (0.5 * (start[0] + end[0]), 0.5 * (start[1] + end[1]), 0.5 * (start[2] + end[2]))
    builder.add_part(
        CYLINDER,
        owner,
        centre,
        (radius, radius, 0.5 * length + 0.5 * radius),
        reflectivity,
        yaw=math.atan2(dy, dx),
        pitch=math.atan2(flat, dz),
        opacity=opacity,
        exponent=0.3,
    )


def _cloth(rng: np.random.Generator) -> float:
    return float(np.clip(math.exp(rng.normal(math.log(0.62), 0.4)), 0.1, 1.3))


def add_pedestrian(
    builder: SceneBuilder, rng: np.random.Generator, pose: Pose, motion: Motion = STILL
) -> int:
    """Adds a standing or walking person; the stride follows the length of the drawn box."""
    size = sample_size(rng, "Pedestrian")
    bottom = float(rng.normal(0.03, 0.02))
    height = size[2] + bottom - float(rng.uniform(0.0, 0.07))
    owner = builder.add_object(pose, "Pedestrian", size, bottom, motion)
    legs, coat, skin = _cloth(rng), _cloth(rng), float(rng.uniform(0.3, 0.7))
    hip, shoulder = 0.50 * height, 0.82 * height
    stride = max(0.5 * size[0] * float(rng.uniform(0.75, 0.95)) - 0.13, 0.02)
    girth = float(rng.uniform(0.85, 1.25))
    half_shoulder = min(0.21 * girth, 0.5 * size[1] - 0.06)
    for side in (-1.0, 1.0):
        foot = side * stride
        _limb(
            builder, owner, (foot, side * 0.09, 0.06), (0.0, side * 0.09, hip), 0.08 * girth, legs
        )
        builder.add_part(
            BOX,
            owner,
            (foot + 0.06, side * 0.09, 0.05),
            (0.13, 0.05, 0.05),
            float(rng.uniform(0.05, 0.5)),
        )
        hand = -side * min(stride, 0.3) + float(rng.normal(0.0, 0.06))
        reach = max(half_shoulder, 0.5 * size[1] - 0.05 - float(rng.uniform(0.0, 0.08)))
        _limb(
            builder,
            owner,
            (hand, side * reach, 0.47 * height),
            (0.0, side * half_shoulder, shoulder),
            0.053 * girth,
            coat,
        )
    trunk = 0.5 * (shoulder - hip) + 0.06
    if rng.random() < 0.7:
        builder.add_part(
            ELLIPSOID,
            owner,
            (0.0, 0.0, 0.5 * (hip + shoulder)),
            (0.14 * girth, half_shoulder, 1.2 * trunk),
            coat,
            exponent=0.3,
        )
    else:
        builder.add_part(
            CYLINDER,
            owner,
            (0.0, 0.0, 0.5 * (hip + shoulder)),
            (0.13 * girth, half_shoulder, trunk),
            coat,
            exponent=0.3,
        )
    if rng.random() < 0.25:  # skirt or long coat
        builder.add_part(
            CYLINDER,
            owner,
            (0.0, 0.0, 0.40 * height),
            (0.15 * girth, 0.18 * girth, 0.14 * height),
            coat,
            exponent=0.3,
        )
    builder.add_part(
        ELLIPSOID, owner, (0.02, 0.0, height - 0.125), (0.10, 0.085, 0.125), skin, exponent=0.3
    )
    _add_luggage(builder, rng, owner, height, half_shoulder)
    return owner


def _add_luggage(
    builder: SceneBuilder, rng: np.random.Generator, owner: int, height: float, half_shoulder: float
) -> None:
    """Adds a backpack or a bag to some pedestrians."""
    kind = rng.random()
    if kind < 0.15:  # backpack
        builder.add_part(BOX, owner, (-0.2, 0.0, 0.70 * height), (0.09, 0.15, 0.2), _cloth(rng))
    elif kind < 0.25:  # bag
        builder.add_part(
            BOX, owner, (0.05, half_shoulder + 0.06, 0.35 * height), (0.16, 0.06, 0.16), _cloth(rng)
        )


def add_sitting_person(builder: SceneBuilder, rng: np.random.Generator, pose: Pose) -> int:
    """Adds a person on a bench or chair (KITTI's "Person_sitting", which is not scored)."""
    size = sample_size(rng, "Person_sitting")
    owner = builder.add_object(pose, "Person_sitting", size, 0.03)
    cloth = _cloth(rng)
    for side in (-0.1, 0.1):
        _limb(builder, owner, (0.28, side, 0.06), (0.25, side, 0.46), 0.06, cloth)
        _limb(builder, owner, (0.25, side, 0.48), (-0.1, side, 0.5), 0.08, cloth)
    builder.add_part(
        ELLIPSOID,
        owner,
        (-0.13, 0.0, 0.5 * (0.45 + size[2] - 0.2)),
        (0.14, 0.22, 0.5 * (size[2] - 0.5) + 0.05),
        _cloth(rng),
        exponent=0.3,
    )
    builder.add_part(ELLIPSOID, owner, (-0.08, 0.0, size[2] - 0.1), (0.1, 0.085, 0.125), 0.4)
    builder.add_part(BOX, owner, (-0.15, 0.0, 0.42), (0.22, 0.3, 0.04), 0.2)
    return owner


def add_bicycle(builder: SceneBuilder, rng: np.random.Generator, owner: int, length: float) -> None:
    """Adds wheels and frame to an object whose frame stands under the middle of the bicycle."""
    radius = float(rng.uniform(0.30, 0.36))
    axle = 0.5 * length - radius
    metal = float(rng.uniform(0.15, 0.8))
    # Spokes stop few rays; the tyre is a ring, here a share of the disc.
    for x in (-axle, axle):
        builder.add_part(
            CYLINDER,
            owner,
            (x, 0.0, radius),
            (radius, radius, 0.02),
            float(rng.uniform(0.2, 0.6)),
            roll=0.5 * math.pi,
            opacity=float(rng.uniform(0.4, 0.8)),
        )
    crank, seat, bar = (-0.05, 0.0, 0.32), (-0.22, 0.0, 0.88), (axle - 0.12, 0.0, 0.95)
    for start, end in (
        ((-axle, 0.0, radius), crank),
        (crank, seat),
        (seat, bar),
        (crank, (axle - 0.1, 0.0, 0.75)),
        ((axle, 0.0, radius), bar),
    ):
        _limb(builder, owner, start, end, 0.03, metal)
    _limb(
        builder, owner, (bar[0], -0.27, bar[2] + 0.06), (bar[0], 0.27, bar[2] + 0.06), 0.018, metal
    )
    if rng.random() < 0.35:  # luggage on the carrier or in a basket
        builder.add_part(BOX, owner, (-axle, 0.0, 0.85), (0.18, 0.17, 0.14), _cloth(rng))


def add_cyclist(
    builder: SceneBuilder, rng: np.random.Generator, pose: Pose, motion: Motion = STILL
) -> int:
    """Adds a bicycle with its rider."""
    size = sample_size(rng, "Cyclist")
    bottom = float(rng.normal(0.03, 0.02))
    height = size[2] + bottom - float(rng.uniform(0.0, 0.06))
    owner = builder.add_object(pose, "Cyclist", size, bottom, motion)
    add_bicycle(builder, rng, owner, min(max(size[0] - 0.06, 1.45), 1.95))
    legs, coat = _cloth(rng), _cloth(rng)
    lean = math.radians(float(rng.uniform(5.0, 45.0)))
    hip: Vector = (-0.25, 0.0, 0.92)
    torso = max((height - 0.26 - hip[2]) / math.cos(lean), 0.35)
    shoulder: Vector = (hip[0] + torso * math.sin(lean), 0.0, hip[2] + torso * math.cos(lean))
    builder.add_part(
        ELLIPSOID,
        owner,
        (0.5 * (hip[0] + shoulder[0]), 0.0, 0.5 * (hip[2] + shoulder[2])),
        (0.15, 0.21, 0.62 * torso),
        coat,
        pitch=lean,
        exponent=0.3,
    )
    builder.add_part(
        ELLIPSOID,
        owner,
        (shoulder[0] + 0.07, 0.0, height - 0.13),
        (0.11, 0.09, 0.13),
        float(rng.uniform(0.2, 0.7)),
        exponent=0.3,
    )
    phase = float(rng.uniform(0.0, 2.0 * math.pi))
    half = min(max(0.5 * size[1] - 0.06, 0.18), 0.32)
    for side in (-1.0, 1.0):
        angle = phase if side > 0 else phase + math.pi
        foot = (-0.05 + 0.17 * math.cos(angle), side * 0.12, 0.32 + 0.17 * math.sin(angle))
        knee = (0.5 * (foot[0] + hip[0]) + 0.22, side * 0.13, 0.5 * (foot[2] + hip[2]) + 0.04)
        _limb(builder, owner, foot, knee, 0.065, legs)
        _limb(builder, owner, knee, (hip[0], side * 0.1, hip[2]), 0.085, legs)
        hand = (0.42, side * half, 1.03)
        _limb(builder, owner, hand, (shoulder[0], side * 0.2, shoulder[2]), 0.045, coat)
    if rng.random() < 0.2:
        builder.add_part(
            BOX, owner, (shoulder[0] - 0.28, 0.0, shoulder[2] - 0.15), (0.1, 0.16, 0.2), _cloth(rng)
        )
    return owner


def add_parked_bicycle(builder: SceneBuilder, rng: np.random.Generator, pose: Pose) -> int:
    """Adds a bicycle without a rider: scenery, not a Cyclist."""
    owner = builder.add_object(pose)
    add_bicycle(builder, rng, owner, 1.7)
    return owner
