# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a scene is made of: rows that describe one solid each, and the faces of polyhedra."""

from __future__ import annotations

import numpy as np

# Kinds of parts.
BOX, ELLIPSOID, CYLINDER, POLYHEDRON = 0, 1, 2, 3

# One solid, in metres and radians in the frame of the object that it belongs to; what the material
# columns mean is told by `SceneBuilder.add_part`. numba compiles for the very columns listed here.
PART = np.dtype(
    [
        ("kind", np.int64),
        ("owner", np.int64),
        ("x", np.float64),
        ("y", np.float64),
        ("z", np.float64),
        ("yaw", np.float64),
        ("pitch", np.float64),
        ("roll", np.float64),
        ("half_x", np.float64),
        ("half_y", np.float64),
        ("half_z", np.float64),
        ("reflectivity", np.float64),
        ("opacity", np.float64),
        ("absorb", np.float64),
        ("free_path", np.float64),
        ("exponent", np.float64),
        ("first_face", np.int64),
        ("num_faces", np.int64),
        ("texture", np.float64),
        ("windows", np.float64),
    ]
)

# One face of a polyhedron: inside is normal . x <= offset in the part's frame, with unit normals;
# `factor` scales the part's reflectivity.
FACE = np.dtype(
    [
        ("normal_x", np.float64),
        ("normal_y", np.float64),
        ("normal_z", np.float64),
        ("offset", np.float64),
        ("factor", np.float64),
        ("opacity", np.float64),
        ("absorb", np.float64),
    ]
)
