# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scenery along a road: what a detector must not take for an object."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.simulation.objects.builder import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    Pose,
    SceneBuilder,
    Vector,
)

Rng = np.random.Generator


def _u(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def add_box(
    builder: SceneBuilder,
    pose: Pose,
    size: Vector,
    reflectivity: float,
    windows: float = 0.0,
    opacity: float = 1.0,
    free_path: float = 0.0,
) -> int:
    """Adds an upright box of some length, width and height, which reaches 0.5 m into the ground."""
    length, width, height = size
    owner = builder.add_object(pose)
    builder.add_part(
        BOX,
        owner,
        (0.0, 0.0, 0.5 * height - 0.25),
        (0.5 * length, 0.5 * width, 0.5 * height + 0.25),
        reflectivity,
        windows=windows,
        opacity=opacity,
        free_path=free_path,
        texture=0.3,
        exponent=0.4,
    )
    return owner


def add_building(builder: SceneBuilder, rng: Rng, pose: Pose, length: float, depth: float) -> None:
    """Adds a house or block with windows, sometimes with bays, steps or a projecting roof."""
    height = _u(rng, 3.0, 14.0)
    shade = _u(rng, 0.2, 0.85)
    windows = _u(rng, 2.0, 4.0) if rng.random() < 0.8 else 0.0
    owner = add_box(builder, pose, (length, depth, height), shade, windows=windows)
    for _ in range(int(rng.integers(0, 4))):
        along, out = _u(rng, -0.45, 0.45) * length, _u(rng, 0.2, 1.2)
        side = -1.0 if rng.random() < 0.5 else 1.0
        tall = _u(rng, 0.3, height)
        builder.add_part(
            BOX,
            owner,
            (along, side * (0.5 * depth), 0.5 * tall),
            (_u(rng, 0.3, 2.0), out, 0.5 * tall),
            shade,
        )


def add_tree(builder: SceneBuilder, rng: Rng, at: Vector) -> None:
    """Adds a trunk and a crown of several leafy volumes."""
    owner = builder.add_object((*at, _u(rng, -3.1, 3.1)))
    radius = _u(rng, 0.06, 0.35)
    stem, size = _u(rng, 1.0, 4.0), _u(rng, 1.0, 3.5)
    builder.add_part(
        CYLINDER,
        owner,
        (0.0, 0.0, 0.5 * stem),
        (radius, radius, 0.5 * stem + 1.0),
        _u(rng, 0.15, 0.5),
        exponent=0.3,
        pitch=_u(rng, -0.06, 0.06),
        texture=0.4,
    )
    path, leaf = _u(rng, 0.4, 2.5), _u(rng, 0.35, 0.85)
    for _ in range(int(rng.integers(3, 7))):
        r = _u(rng, 0.4, 0.8) * size
        builder.add_part(
            ELLIPSOID,
            owner,
            (_u(rng, -0.6, 0.6) * size, _u(rng, -0.6, 0.6) * size, stem + _u(rng, 0.1, 1.2) * size),
            (r, r, r * _u(rng, 0.6, 1.1)),
            leaf,
            free_path=path,
            texture=0.5,
        )


def add_bush(builder: SceneBuilder, rng: Rng, at: Vector, scale: float) -> None:
    """Adds a shrub from knee height to larger than a car."""
    owner = builder.add_object((*at, _u(rng, -3.1, 3.1)))
    path, leaf = _u(rng, 0.1, 0.7), _u(rng, 0.35, 0.85)
    for _ in range(int(rng.integers(2, 6))):
        r = _u(rng, 0.35, 0.75) * scale
        builder.add_part(
            ELLIPSOID,
            owner,
            (_u(rng, -0.7, 0.7) * scale, _u(rng, -0.5, 0.5) * scale, _u(rng, 0.1, 0.8) * r),
            (r * _u(rng, 0.8, 1.6), r, r * _u(rng, 0.7, 1.6)),
            leaf,
            free_path=path,
            texture=0.5,
        )


def add_hedge(builder: SceneBuilder, rng: Rng, pose: Pose, length: float) -> None:
    """Adds a trimmed or ragged hedge."""
    height, width = _u(rng, 0.7, 2.6), _u(rng, 0.5, 1.6)
    leaf, path = _u(rng, 0.35, 0.85), _u(rng, 0.08, 0.4)
    if rng.random() < 0.5:
        add_box(builder, pose, (length, width, height), leaf, free_path=path)
        return
    owner = builder.add_object(pose)
    step = _u(rng, 0.8, 1.8)
    for k in range(int(length / step)):
        r = 0.5 * width * _u(rng, 0.8, 1.4)
        builder.add_part(
            ELLIPSOID,
            owner,
            ((k + 0.5) * step - 0.5 * length, _u(rng, -0.2, 0.2), 0.4 * height),
            (0.75 * step, r, height * _u(rng, 0.45, 0.65)),
            leaf,
            free_path=path,
            texture=0.5,
        )


def add_fence(builder: SceneBuilder, rng: Rng, pose: Pose, length: float) -> None:
    """Adds a fence: a partly transparent sheet with posts."""
    height = _u(rng, 0.8, 2.0)
    size = (length, 0.04, height)
    owner = add_box(builder, pose, size, _u(rng, 0.15, 0.5), opacity=_u(rng, 0.2, 0.8))
    step = _u(rng, 1.8, 3.5)
    for k in range(int(length / step) + 1):
        builder.add_part(
            BOX,
            owner,
            (k * step - 0.5 * length, 0.0, 0.5 * height),
            (0.05, 0.05, 0.5 * height),
            0.3,
        )


def add_rail(builder: SceneBuilder, rng: Rng, pose: Pose, length: float) -> None:
    """Adds a crash barrier."""
    owner = builder.add_object(pose)
    builder.add_part(BOX, owner, (0.0, 0.0, 0.6), (0.5 * length, 0.05, 0.16), _u(rng, 0.2, 0.5))
    for k in range(int(length / 4.0) + 1):
        builder.add_part(BOX, owner, (k * 4.0 - 0.5 * length, 0.0, 0.3), (0.06, 0.06, 0.35), 0.3)


def add_pole(builder: SceneBuilder, rng: Rng, at: Vector) -> None:
    """Adds a lamp post, sign, traffic light, bollard or advertising column."""
    owner = builder.add_object((*at, _u(rng, -3.1, 3.1)))
    kind = rng.random()
    shade = _u(rng, 0.2, 0.85)
    if kind < 0.15:  # bollard
        builder.add_part(CYLINDER, owner, (0.0, 0.0, 0.45), (0.07, 0.07, 0.5), shade)
        return
    if kind < 0.22:  # advertising column, about as wide as a person
        r = _u(rng, 0.25, 0.7)
        builder.add_part(CYLINDER, owner, (0.0, 0.0, 1.2), (r, r, _u(rng, 0.8, 1.5)), shade)
        return
    r = _u(rng, 0.03, 0.12)
    tall = _u(rng, 1.8, 7.0)
    builder.add_part(CYLINDER, owner, (0.0, 0.0, 0.5 * tall), (r, r, 0.5 * tall + 0.3), shade)
    if kind < 0.65:  # sign: retroreflective
        height = min(tall - 0.3, _u(rng, 1.6, 2.8))
        builder.add_part(
            BOX,
            owner,
            (r, 0.0, height),
            (0.02, _u(rng, 0.2, 0.5), _u(rng, 0.2, 0.45)),
            _u(rng, 0.8, 3.0),
            exponent=0.1,
        )
    elif kind < 0.75:  # traffic light
        builder.add_part(BOX, owner, (0.1, 0.0, min(2.6, tall)), (0.12, 0.15, 0.45), 0.15)


def add_clutter(builder: SceneBuilder, rng: Rng, at: Vector) -> None:
    """Adds a bin, cabinet, skip, bench, stack or boulder: sizes from a bin's to a car's."""
    x, y, z = at
    yaw = _u(rng, -3.1, 3.1)
    pose = (x, y, z, yaw)
    kind = rng.random()
    shade = _u(rng, 0.08, 0.6)
    if kind < 0.35:  # bins, singly or in a row
        for k in range(int(rng.integers(1, 4))):
            place = (x + 0.7 * k * math.cos(yaw), y + 0.7 * k * math.sin(yaw), z, yaw)
            size = (_u(rng, 0.45, 0.7), _u(rng, 0.45, 0.75), _u(rng, 0.8, 1.25))
            add_box(builder, place, size, shade)
    elif kind < 0.5:  # cabinet
        size = (_u(rng, 0.5, 1.4), _u(rng, 0.3, 0.5), _u(rng, 0.8, 1.6))
        add_box(builder, pose, size, shade)
    elif kind < 0.6:  # skip or container
        size = (_u(rng, 2.0, 6.0), _u(rng, 1.3, 2.4), _u(rng, 1.0, 2.6))
        add_box(builder, pose, size, shade)
    elif kind < 0.75:  # bench or table
        size = (_u(rng, 1.2, 2.0), _u(rng, 0.4, 0.8), 0.1)
        add_box(builder, (x, y, z + 0.35, yaw), size, shade)
    elif kind < 0.88:  # boulder or heap
        half = (_u(rng, 0.3, 1.8), _u(rng, 0.3, 1.2), _u(rng, 0.3, 1.2))
        builder.add_part(ELLIPSOID, builder.add_object(pose), (0.0, 0.0, 0.1), half, shade)
    else:  # low wall
        size = (_u(rng, 2.0, 6.0), _u(rng, 0.2, 0.5), _u(rng, 0.4, 1.2))
        add_box(builder, pose, size, shade)
