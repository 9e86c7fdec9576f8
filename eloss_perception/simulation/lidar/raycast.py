# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Casts the parts of a scene into a depth buffer.

Every part tests only the rays inside its own window, so the cost follows the solid angle that
things cover, not rays times parts. All randomness is a hash of (seed, part, ray): the result
depends on nothing but the arguments.

Solids and materials share this file because both are compiled into one loop: numba renews its
cached machine code when the file of the loop changes, not when a file that it imports does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.simulation.lidar.rays import DepthBuffer, RayGrid, hash_uniform
from eloss_perception.simulation.lidar.windows import part_windows
from eloss_perception.simulation.objects.builder import BOX, CYLINDER, ELLIPSOID, POLYHEDRON

_MISS = (1.0, -1.0, 1.0, -1)


def cast_parts(
    parts: NDArray[np.void],
    faces: NDArray[np.void],
    objects: NDArray[np.float64],
    rays: RayGrid,
    max_range: float,
    seed: int,
    buffer: DepthBuffer,
) -> None:
    """Casts all parts into the buffer.

    Args:
        parts: (P,) `PART` rows. faces: (K,) `FACE` rows of the polyhedra.
        objects: (O, 4) world x, y, z, yaw of each object frame.
        max_range: Parts beyond it are skipped [m].
        seed: Of the randomness of foliage, glass and textures.
        buffer: Updated where a part is nearer than what it holds.
    """
    centres, axes, windows = part_windows(parts, objects, rays, max_range)
    _cast_parts(parts, faces, centres, axes, windows, rays, seed, buffer)


# The functions below return where a ray o + t d (in the part's frame, d of unit length) enters and
# leaves a solid, the cosine of incidence, and the face it enters through; a miss leaves before it
# enters.


@njit
def _meet_box(part, o, d):  # type: ignore[no-untyped-def]
    t_in, t_out, face = -1e9, 1e9, -1
    for k in range(3):
        h = part.half_x if k == 0 else (part.half_y if k == 1 else part.half_z)
        if abs(d[k]) < 1e-12:
            if abs(o[k]) > h:
                t_out = -1e9
            continue
        inverse = 1.0 / d[k]
        t0 = (-h - o[k]) * inverse
        t1 = (h - o[k]) * inverse
        if t0 > t1:
            t0, t1 = t1, t0
        if t0 > t_in:
            t_in = t0
            face = k
        t_out = min(t_out, t1)
    return t_in, t_out, abs(d[face]), face


@njit
def _meet_ellipsoid(part, o, d):  # type: ignore[no-untyped-def]
    hx, hy, hz = part.half_x, part.half_y, part.half_z
    ox, oy, oz = o[0] / hx, o[1] / hy, o[2] / hz
    dx, dy, dz = d[0] / hx, d[1] / hy, d[2] / hz
    qa = dx * dx + dy * dy + dz * dz
    qb = ox * dx + oy * dy + oz * dz
    qc = ox * ox + oy * oy + oz * oz - 1.0
    disc = qb * qb - qa * qc
    if disc <= 0.0:
        return _MISS
    root = math.sqrt(disc)
    t_in, t_out = (-qb - root) / qa, (-qb + root) / qa
    nx = (ox + t_in * dx) / hx
    ny = (oy + t_in * dy) / hy
    nz = (oz + t_in * dz) / hz
    norm = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    return t_in, t_out, abs(nx * d[0] + ny * d[1] + nz * d[2]) / norm, -1


@njit
def _meet_cylinder(part, o, d):  # type: ignore[no-untyped-def]
    hx, hy, hz = part.half_x, part.half_y, part.half_z
    t_in, t_out, cosine = -1e9, 1e9, 1.0
    ox, oy = o[0] / hx, o[1] / hy
    dx, dy = d[0] / hx, d[1] / hy
    qa = dx * dx + dy * dy
    if qa > 1e-12:
        qb = ox * dx + oy * dy
        disc = qb * qb - qa * (ox * ox + oy * oy - 1.0)
        if disc <= 0.0:
            return _MISS
        root = math.sqrt(disc)
        t_in, t_out = (-qb - root) / qa, (-qb + root) / qa
        nx = (ox + t_in * dx) / hx
        ny = (oy + t_in * dy) / hy
        norm = math.sqrt(nx * nx + ny * ny) + 1e-9
        cosine = abs(nx * d[0] + ny * d[1]) / norm
    elif ox * ox + oy * oy > 1.0:
        return _MISS
    if abs(d[2]) > 1e-12:
        t0, t1 = (-hz - o[2]) / d[2], (hz - o[2]) / d[2]
        if t0 > t1:
            t0, t1 = t1, t0
        if t0 > t_in:
            t_in = t0
            cosine = abs(d[2])
        t_out = min(t_out, t1)
    elif abs(o[2]) > hz:
        return _MISS
    return t_in, t_out, cosine, -1


@njit
def _meet_polyhedron(part, faces, o, d):  # type: ignore[no-untyped-def]
    t_in, t_out, cosine, face = -1e9, 1e9, 1.0, -1
    for q in range(part.first_face, part.first_face + part.num_faces):
        f = faces[q]
        along = f.normal_x * d[0] + f.normal_y * d[1] + f.normal_z * d[2]
        gap = f.offset - (f.normal_x * o[0] + f.normal_y * o[1] + f.normal_z * o[2])
        if abs(along) < 1e-12:
            if gap < 0.0:
                t_out = -1e9
            continue
        t = gap / along
        if along < 0.0:
            if t > t_in:
                t_in = t
                face = q
                cosine = -along
        else:
            t_out = min(t_out, t)
        if t_in > t_out:
            break
    return t_in, t_out, cosine, face


@njit
def _meet(part, faces, o, d):  # type: ignore[no-untyped-def]
    if part.kind == BOX:
        return _meet_box(part, o, d)
    if part.kind == ELLIPSOID:
        return _meet_ellipsoid(part, o, d)
    if part.kind == CYLINDER:
        return _meet_cylinder(part, o, d)
    return _meet_polyhedron(part, faces, o, d)


@njit
def _window_of_facade(part, p, o, d, t, face):  # type: ignore[no-untyped-def]
    """The number in [0, 1) of the window that a point of a wall lies in; 1 between windows."""
    u = (o[1 - face] + t * d[1 - face] + 100.0 * part.windows) / part.windows
    v = (o[2] + t * d[2] + part.half_z) / 3.1
    column, storey = math.floor(u), math.floor(v)
    if 0.28 < u - column < 0.72 and 0.3 < v - storey < 0.78:
        return hash_uniform(p, int(column), int(storey))
    return 1.0


@njit
def _texture(part, p, o, d, t):  # type: ignore[no-untyped-def]
    """Factor on the reflectivity of the 0.2 m cell that a point of a part lies in."""
    cell = (
        int(math.floor(5.0 * (o[0] + t * d[0]))) * 73
        + int(math.floor(5.0 * (o[1] + t * d[1]))) * 5381
        + int(math.floor(5.0 * (o[2] + t * d[2]))) * 917
    )
    return 1.0 + part.texture * (2.0 * hash_uniform(p, cell, 0) - 1.0)


@njit
def _cast_parts(parts, faces, centres, axes, windows, rays, seed, buffer):  # type: ignore[no-untyped-def]
    depth, signal, owner = buffer
    rotation, origin_z, directions = rays.rotation, rays.origin_z, rays.directions
    num_columns = rays.num_columns
    num_azimuth = depth.shape[1]
    o = np.empty(3)
    d = np.empty(3)
    for p in range(parts.shape[0]):
        part = parts[p]
        m = axes[p]
        for b in range(windows[p, 0], windows[p, 1] + 1):
            lx = rotation[0, 2] * origin_z[b] - centres[p, 0]
            ly = rotation[1, 2] * origin_z[b] - centres[p, 1]
            lz = rotation[2, 2] * origin_z[b] - centres[p, 2]
            for k in range(3):
                o[k] = m[0, k] * lx + m[1, k] * ly + m[2, k] * lz
            for turned in range(windows[p, 2], windows[p, 3] + 1):
                j = turned if turned < num_columns else turned - num_columns
                if j >= num_azimuth:
                    continue
                wx, wy, wz = directions[b, j, 0], directions[b, j, 1], directions[b, j, 2]
                for k in range(3):
                    d[k] = m[0, k] * wx + m[1, k] * wy + m[2, k] * wz
                t, t_out, cosine, face = _meet(part, faces, o, d)
                if t > t_out or t_out <= 0.0:
                    continue
                ray = b * num_columns + j
                if part.free_path > 0.0:  # foliage: how far in, and how the leaf is turned
                    t = max(t, 0.0)
                    t -= part.free_path * math.log(1.0 - hash_uniform(seed + 1, p, ray))
                    if t > t_out:
                        continue
                    cosine = 0.25 + 0.75 * hash_uniform(seed + 2, p, ray)
                if t <= 0.3 or t >= depth[b, j]:
                    continue
                opacity, absorb, factor = part.opacity, part.absorb, 1.0
                if part.kind == POLYHEDRON:
                    factor, opacity = faces[face].factor, faces[face].opacity
                    absorb = faces[face].absorb
                if part.windows > 0.0 and face < 2:
                    window = _window_of_facade(part, p, o, d, t, face)
                    if window < 0.45:  # pane: mirrors the beam away more often than not
                        opacity, absorb, factor = 0.35, 0.65, 0.5
                    if window < 0.85:  # set back into the wall
                        t += 0.18 / max(cosine, 0.2)
                        if t >= depth[b, j]:
                            continue
                if opacity < 1.0:
                    chance = hash_uniform(seed + 3, p, ray)
                    if chance >= opacity + absorb:
                        continue
                    if chance >= opacity:
                        factor = 0.0
                value = part.reflectivity * factor * cosine**part.exponent
                if part.texture > 0.0:
                    value *= _texture(part, p, o, d, t)
                depth[b, j] = t
                signal[b, j] = value
                owner[b, j] = part.owner
