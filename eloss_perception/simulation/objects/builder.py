# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a scene is made of: objects with a pose, each a number of simple solids."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from importlib import resources

import numpy as np
import yaml
from numpy.typing import NDArray

# Kinds of parts.
BOX, ELLIPSOID, CYLINDER, POLYHEDRON = 0, 1, 2, 3

# One solid, in metres and radians in the frame of the object that it belongs to; for the
# material columns see `SceneBuilder.add_part`. numba compiles for exactly these columns.
_PART_FLOATS = (
    "x y z yaw pitch roll half_x half_y half_z reflectivity opacity absorb free_path exponent"
)
PART = np.dtype(
    [("kind", np.int64), ("owner", np.int64)]
    + [(name, np.float64) for name in _PART_FLOATS.split()]
    + [("first_face", np.int64), ("num_faces", np.int64)]
    + [("texture", np.float64), ("windows", np.float64)]
)

# One face of a polyhedron: inside is normal . x <= offset in the part's frame, with unit normals;
# `factor` scales the part's reflectivity.
_FACE_COLUMNS = "normal_x normal_y normal_z offset factor opacity absorb"
FACE = np.dtype([(name, np.float64) for name in _FACE_COLUMNS.split()])

LABELS = {"Car": 0, "Pedestrian": 1, "Cyclist": 2}
"""Class index of a KITTI type; every other type is -1, to ignore."""

Vector = tuple[float, float, float]
Pose = tuple[float, float, float, float]
"""World x, y, z and yaw of an object."""
Face = tuple[float, float, float, float, float, float, float]


@functools.cache
def size_distribution(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (3,) and Cholesky factor (3, 3) of a KITTI type's length, width, height [m]."""
    text = resources.files(__package__).joinpath("kitti_statistics.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entry = yaml.load(text, Loader=loader)["classes"][name]
    std = np.array(entry["size_std_m"])
    correlation = np.eye(3)
    for (i, j), value in zip(((0, 1), (0, 2), (1, 2)), entry["size_correlation"], strict=True):
        correlation[i, j] = correlation[j, i] = value
    factor = np.linalg.cholesky(correlation * np.outer(std, std) + 1e-9 * np.eye(3))
    return np.array(entry["size_mean_m"], dtype=np.float64), factor.astype(np.float64)


def sample_size(rng: np.random.Generator, name: str) -> Vector:
    """Draws length, width, height [m] of a KITTI type, within two standard deviations."""
    mean, factor = size_distribution(name)
    size = mean + factor @ np.clip(rng.standard_normal(3), -2.0, 2.0)
    length, width, height = np.maximum(size, 0.45 * mean)
    return float(length), float(width), float(height)


@dataclass(frozen=True)
class Motion:
    """How an object moves: along the road at offset `lane`, straight on where that is None."""

    speed: float = 0.0
    lane: float | None = None


STILL = Motion()
"""The motion of what stands."""


@dataclass
class SceneBuilder:
    """Grows a scene part by part; tuples and lists, because numpy is slow on single numbers."""

    parts: list[tuple[float, ...]] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    sizes: list[Vector] = field(default_factory=list)
    bottoms: list[float] = field(default_factory=list)
    motions: list[Motion] = field(default_factory=list)

    def add_object(
        self,
        pose: Pose,
        name: str | None = None,
        size: Vector = (0.0, 0.0, 0.0),
        bottom: float = 0.0,
        motion: Motion = STILL,
    ) -> int:
        """Starts an object whose frame stands on the ground, and returns its index.

        Args:
            pose: Of that frame.
            name: KITTI type of a labelled object; None for scenery.
            size: Length, width, height of its box. bottom: Height of the box's bottom over z.
        """
        self.poses.append(pose)
        self.names.append(name)
        self.sizes.append(size)
        self.bottoms.append(bottom)
        self.motions.append(motion)
        return len(self.poses) - 1

    def add_part(
        self,
        kind: int,
        owner: int,
        centre: Vector,
        half: Vector,
        reflectivity: float,
        *,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        opacity: float = 1.0,
        absorb: float = 0.0,
        free_path: float = 0.0,
        exponent: float = 0.5,
        texture: float = 0.2,
        windows: float = 0.0,
        faces: tuple[int, int] = (0, 0),
    ) -> None:
        """Adds one solid in its object's frame.

        Args:
            half: Half extents along the solid's own axes (a cylinder's axis is z).
            opacity: Share of rays that hit it. absorb: Share lost in it; the rest passes through.
            free_path: Mean free path [m] of a volume such as foliage; 0 is a surface.
            exponent: Signal falls with this power of the cosine of incidence.
            texture: Relative spread of the reflectivity from spot to spot.
            windows: Spacing of windows on the faces of a box; 0 for none.
        """
        self.parts.append(
            (
                kind,
                owner,
                *centre,
                yaw,
                pitch,
                roll,
                *half,
                reflectivity,
                opacity,
                absorb,
                free_path,
                exponent,
                *faces,
                texture,
                windows,
            )
        )

    def add_polyhedron(
        self,
        owner: int,
        centre: Vector,
        half: Vector,
        faces: list[Face],
        reflectivity: float,
        exponent: float = 0.6,
        texture: float = 0.1,
    ) -> None:
        """Adds a convex solid: `faces` in the object's frame, `half` bounds it around `centre`."""
        first = len(self.faces)
        for nx, ny, nz, d, *material in faces:
            shifted = d - nx * centre[0] - ny * centre[1] - nz * centre[2]
            self.faces.append((nx, ny, nz, shifted, material[0], material[1], material[2]))
        self.add_part(
            POLYHEDRON,
            owner,
            centre,
            half,
            reflectivity,
            exponent=exponent,
            texture=texture,
            faces=(first, len(faces)),
        )

    def part_array(self) -> NDArray[np.void]:
        """(P,) `PART` rows for `raycast.cast_parts`."""
        return np.array(self.parts, dtype=PART)

    def face_array(self) -> NDArray[np.void]:
        """(K,) `FACE` rows for `raycast.cast_parts`."""
        return np.array(self.faces, dtype=FACE)


def face_through(
    nx: float,
    ny: float,
    nz: float,
    through: Vector,
    factor: float = 1.0,
    opacity: float = 1.0,
    absorb: float = 0.0,
) -> Face:
    """A face with outward normal (need not be unit) through a point, and its material."""
    norm = math.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / norm, ny / norm, nz / norm
    d = nx * through[0] + ny * through[1] + nz * through[2]
    return (nx, ny, nz, d, factor, opacity, absorb)
