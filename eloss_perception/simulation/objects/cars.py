# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Passenger cars of several body shapes and vans, as convex solids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eloss_perception.simulation.objects.builder import (
    BOX,
    STILL,
    Face,
    Motion,
    Pose,
    SceneBuilder,
    face_through,
    sample_size,
)
from eloss_perception.simulation.objects.vehicles import add_lights, add_wheels, paint

# Limits from which each car of a style draws: hood and trunk as shares of the length, slope of
# windscreen and rear window as run per rise, height of the belt line as a share of the height.
_STYLES: dict[str, tuple[tuple[float, float], ...]] = {
    "hatchback": ((0.20, 0.27), (0.00, 0.03), (1.0, 1.7), (0.3, 0.9), (0.58, 0.66)),
    "sedan": ((0.24, 0.30), (0.12, 0.20), (1.3, 2.0), (1.1, 1.9), (0.60, 0.68)),
    "wagon": ((0.22, 0.28), (0.00, 0.02), (1.2, 1.8), (0.2, 0.6), (0.58, 0.66)),
    "suv": ((0.20, 0.27), (0.00, 0.03), (0.8, 1.3), (0.15, 0.5), (0.60, 0.67)),
    "mpv": ((0.12, 0.20), (0.00, 0.02), (1.0, 1.7), (0.1, 0.4), (0.55, 0.63)),
}


@dataclass(frozen=True)
class _Shape:
    """Measures that the parts of one car share, in metres; x forward from the middle."""

    front: float
    half_width: float
    height: float
    clearance: float
    belt: float  # height of the line where the windows begin
    nose: float  # height of the bonnet's front edge
    tail: float  # height of the boot's rear edge
    screen: float  # x of the windscreen's foot
    deck: float  # x of the rear window's foot
    front_run: float
    rear_run: float
    panel_van: bool
    shade: float  # reflectivity of the paint
    exponent: float


def add_car(
    builder: SceneBuilder,
    rng: np.random.Generator,
    pose: Pose,
    motion: Motion = STILL,
    name: str = "Car",
) -> int:
    """Adds a passenger car (or, with name "Van", a van) at a pose."""
    size = sample_size(rng, name)
    length = size[0] - float(rng.normal(0.03, 0.06))
    width = size[1] - float(rng.normal(0.07, 0.03))
    # In KITTI the box starts a few centimetres over the ground and ends over the roof.
    bottom = float(rng.normal(0.04, 0.02))
    height = size[2] + bottom - float(rng.normal(0.02, 0.03))
    owner = builder.add_object(pose, name, size, bottom, motion)
    style = _draw_style(rng, name, size[0], size[2])
    shape = _draw_shape(rng, style, length, width, height, may_be_panel_van=name == "Van")
    _add_body(builder, rng, owner, shape)
    _add_cabin(builder, rng, owner, shape)
    if not shape.panel_van:
        _add_interior(builder, rng, owner, shape)
    _add_mirrors(builder, owner, shape)
    radius = float(rng.uniform(0.28, 0.35))
    axles = (float(rng.uniform(0.29, 0.34)), -float(rng.uniform(0.27, 0.33)))
    add_wheels(builder, owner, length, width, radius, axles)
    add_lights(builder, rng, owner, length, width, height)
    return owner


def _draw_style(rng: np.random.Generator, name: str, length: float, height: float) -> str:
    """Draw a style that goes with the size of the box."""
    if name == "Van":
        return "mpv"
    if height > 1.66:
        return str(rng.choice(["suv", "mpv"]))
    if length > 4.15:
        return str(rng.choice(["sedan", "wagon", "suv"], p=[0.45, 0.4, 0.15]))
    return str(rng.choice(["hatchback", "sedan", "wagon", "mpv"], p=[0.6, 0.15, 0.1, 0.15]))


def _draw_shape(
    rng: np.random.Generator,
    style: str,
    length: float,
    width: float,
    height: float,
    may_be_panel_van: bool,
) -> _Shape:
    hood, trunk, front_run, rear_run, belt_share = (
        float(rng.uniform(*limits)) for limits in _STYLES[style]
    )
    panel_van = may_be_panel_van and rng.random() < 0.7
    belt = belt_share * height
    front = 0.5 * length
    return _Shape(
        front=front,
        half_width=0.5 * width,
        height=height,
        clearance=float(rng.uniform(0.15, 0.28)),
        belt=belt,
        nose=belt - float(rng.uniform(0.08, 0.28)),
        tail=belt - float(rng.uniform(0.0, 0.12)),
        screen=front - hood * length,
        deck=-front + trunk * length,
        front_run=front_run,
        rear_run=rear_run,
        panel_van=panel_van,
        shade=paint(rng),
        exponent=float(rng.uniform(0.4, 1.0)),
    )


def _side_profile(points: list[tuple[float, float]]) -> list[Face]:
    """Faces of a convex side profile of (x, z) corners, counter-clockwise seen from the right."""
    faces = []
    for (x0, z0), (x1, z1) in zip(points, points[1:] + points[:1], strict=True):
        faces.append(face_through(z1 - z0, 0.0, x0 - x1, (x0, 0.0, z0)))
    return faces


def _add_body(builder: SceneBuilder, rng: np.random.Generator, owner: int, car: _Shape) -> None:
    """Adds all that is below the windows."""
    front, rear, belt, clearance = car.front, -car.front, car.belt, car.clearance
    half_width = car.half_width
    # Bumpers stand out before grille and tailgate.
    grille, tailgate = float(rng.uniform(0.04, 0.13)), float(rng.uniform(0.04, 0.18))
    faces = _side_profile(
        [
            (rear + 0.14, clearance),
            (front - 0.18, clearance),
            (front, clearance + 0.24),
            (front - grille, car.nose - 0.12),
            (front - grille - 0.16, car.nose),
            (car.screen, belt + 0.01),
            (car.deck + 0.02, belt + 0.01),
            (rear + tailgate, car.tail),
            (rear, clearance + 0.27),
        ]
    )
    # Seen from above both ends are bowed and the corners cut off; seen from ahead the doors bulge.
    front_cut, rear_cut = float(rng.uniform(0.15, 0.4)), float(rng.uniform(0.08, 0.28))
    front_bow, rear_bow = float(rng.uniform(0.06, 0.24)), float(rng.uniform(0.03, 0.17))
    for side in (-1.0, 1.0):
        faces.append(face_through(1.0, side * front_bow, 0.0, (front, side * 0.1, 0.0)))
        faces.append(face_through(-1.0, side * rear_bow, 0.0, (rear, side * 0.15, 0.0)))
        front_corner = (front - front_bow * 0.4, side * (half_width - front_cut), 0.0)
        rear_corner = (rear + rear_bow * 0.5, side * (half_width - rear_cut), 0.0)
        faces.append(face_through(0.0, side, 0.0, (0.0, side * half_width, 0.0)))
        faces.append(face_through(0.0, side, 0.30, (0.0, side * half_width, 0.62 * belt)))
        faces.append(face_through(0.0, side, -0.35, (0.0, side * half_width, 0.36 * belt)))
        faces.append(face_through(0.55, side * 0.83, 0.0, front_corner))
        faces.append(face_through(-0.5, side * 0.86, 0.0, rear_corner))
    middle = 0.5 * (clearance + belt)
    half = (front, half_width, middle - clearance + 0.02)
    builder.add_polyhedron(owner, (0.0, 0.0, middle), half, faces, car.shade, car.exponent)


def _glaze(face: Face, opacity: float, absorb: float) -> Face:
    return (*face[:4], 0.7, opacity, absorb)


def _add_cabin(builder: SceneBuilder, rng: np.random.Generator, owner: int, car: _Shape) -> None:
    """Adds windows and roof."""
    # Glass lets most of the light in or mirrors it away; a panel van has sheet metal instead.
    opacity, absorb = float(rng.uniform(0.12, 0.5)), float(rng.uniform(0.25, 0.5))
    screen, deck, belt, height = car.screen, car.deck, car.belt, car.height
    rise = height - belt
    roof_front = min(screen - car.front_run * rise, screen - 0.1)
    roof_rear = min(deck + car.rear_run * rise, roof_front - 0.3)
    faces = _side_profile(
        [
            (deck, belt),
            (screen, belt),
            (roof_front, height - 0.05),
            (roof_front - 0.35, height - 0.005),
            (0.5 * (roof_front + roof_rear), height),
            (roof_rear, height - 0.05),
        ]
    )
    faces[1] = _glaze(faces[1], opacity, absorb)
    if not car.panel_van:
        faces[5] = _glaze(faces[5], opacity + 0.15, absorb)
    # How far the side windows lean inwards.
    tumblehome = float(rng.uniform(0.1, 0.38)) if not car.panel_van else 0.08
    for side in (-1.0, 1.0):
        pane = face_through(0.0, side, tumblehome, (0.0, side * (car.half_width - 0.05), belt))
        faces.append(pane if car.panel_van else _glaze(pane, opacity + 0.1, absorb))
        roof_edge = (0.0, side * (car.half_width - 0.06 - tumblehome * rise), height - 0.06)
        faces.append(face_through(0.0, side, 1.2, roof_edge))
        pillar = (roof_front, side * (car.half_width - 0.06), 0.0)
        faces.append(face_through(0.4, side, 0.0, pillar))
    centre = (0.5 * (screen + deck), 0.0, 0.5 * (belt + height))
    half = (0.5 * (screen - deck), car.half_width, 0.5 * rise)
    builder.add_polyhedron(owner, centre, half, faces, car.shade, car.exponent)


def _add_interior(builder: SceneBuilder, rng: np.random.Generator, owner: int, car: _Shape) -> None:
    """Adds two rows of seats and what is level with the dashboard, seen through the glass."""
    cloth = float(rng.uniform(0.05, 0.3))
    for share in (0.42, 0.75):
        seat = (car.screen + share * (car.deck - car.screen), 0.0, car.belt + 0.15)
        half = (0.09, car.half_width - 0.28, 0.24)
        builder.add_part(BOX, owner, seat, half, cloth, opacity=0.75)
    shelf = (0.5 * (car.screen + car.deck), 0.0, car.belt - 0.02)
    half = (0.5 * (car.screen - car.deck) - 0.05, car.half_width - 0.12, 0.03)
    builder.add_part(BOX, owner, shelf, half, cloth)


def _add_mirrors(builder: SceneBuilder, owner: int, car: _Shape) -> None:
    for side in (-1.0, 1.0):
        centre = (car.screen - 0.35, side * (car.half_width + 0.07), car.belt + 0.06)
        builder.add_part(BOX, owner, centre, (0.05, 0.09, 0.07), car.shade)
