# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A finished scene as arrays, which the casts read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.simulation.builder import SceneBuilder
from eloss_perception.simulation.ground import Ground


@dataclass(frozen=True)
class SceneArrays:
    """A scene in the world frame: O objects made of P parts, standing on a ground.

    Attributes:
        parts: (P,) `PART` rows. faces: (K,) `FACE` rows of the polyhedra among them.
        objects: (O, 4) world x, y, z, yaw of each object frame.
        names: O KITTI types; None for scenery, which gets no box.
        sizes: (O, 3) length, width, height of each box [m].
        bottoms: (O,) height of each box's bottom over the object frame [m].
        ground: What the objects stand on.
    """

    parts: NDArray[np.void]
    faces: NDArray[np.void]
    objects: NDArray[np.float64]
    names: list[str | None]
    sizes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    ground: Ground

    @classmethod
    def from_builder(cls, builder: SceneBuilder, ground: Ground) -> SceneArrays:
        """Freeze what a builder collected."""
        return cls(
            parts=builder.part_array(),
            faces=builder.face_array(),
            objects=np.array(builder.poses, dtype=np.float64).reshape(-1, 4),
            names=list(builder.names),
            sizes=np.array(builder.sizes, dtype=np.float64).reshape(-1, 3),
            bottoms=np.array(builder.bottoms, dtype=np.float64),
            ground=ground,
        )
