# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ray casting over a beam x azimuth grid with a depth buffer.

Every part of the scene tests only the rays inside its own azimuth and elevation window, so the
cost follows the solid angle that things cover, not rays times parts. All randomness is a hash of
(seed, part, ray): the result depends on nothing but the arguments.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Kinds of parts.
BOX, ELLIPSOID, CYLINDER, POLYHEDRON = 0, 1, 2, 3

# Columns of a part row; lengths in metres in the frame of the object that the part belongs to.
(
    P_KIND,
    P_OBJECT,
    P_X,
    P_Y,
    P_Z,
    P_YAW,
    P_PITCH,
    P_ROLL,
    P_HX,
    P_HY,
    P_HZ,
    P_REFLECTIVITY,
    P_OPACITY,
    P_ABSORB,
    P_FREE_PATH,
    P_EXPONENT,
    P_PLANE_START,
    P_PLANE_COUNT,
    P_TEXTURE,
    P_WINDOWS,
) = range(20)
NUM_PART_COLUMNS = 20

# Columns of a plane row: inside is n . x <= d in the part's frame; material of that face.
NUM_PLANE_COLUMNS = 7  # nx, ny, nz, d, reflectivity factor, opacity, absorbed share

NO_HIT = -2
GROUND = -1


@njit(cache=True, nogil=True, inline="always")
def _mix(x):  # type: ignore[no-untyped-def]
    """Finaliser of splitmix64 (Steele et al., OOPSLA 2014) to a float in [0, 1)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.float64(x >> np.uint64(11)) * 1.1102230246251565e-16


@njit(cache=True, nogil=True)
def hash_uniform(a, b, c):  # type: ignore[no-untyped-def]
    """Uniform [0, 1) from three integers."""
    x = (
        np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
        ^ (np.uint64(b) + np.uint64(0x632BE59BD9B4E019)) * np.uint64(0xD1B54A32D192ED03)
        ^ (np.uint64(c) + np.uint64(0x2545F4914F6CDD1D)) * np.uint64(0x8CB92BA72F3D8DD7)
    )
    return _mix(x)


@njit(cache=True, nogil=True)
def ray_directions(elevation, azimuth, rotation):  # type: ignore[no-untyped-def]
    """World directions (B, A, 3) of beams (B,) at azimuths (B, A) [rad] for a sensor rotation."""
    num_beams, num_azimuth = azimuth.shape
    directions = np.empty((num_beams, num_azimuth, 3))
    for b in range(num_beams):
        ce, se = math.cos(elevation[b]), math.sin(elevation[b])
        for j in range(num_azimuth):
            x, y = ce * math.cos(azimuth[b, j]), ce * math.sin(azimuth[b, j])
            for k in range(3):
                directions[b, j, k] = rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2] * se
    return directions


@njit(cache=True, nogil=True)
def cast_parts(  # type: ignore[no-untyped-def]
    parts,
    objects,
    planes,
    position,
    rotation,
    elevation,
    origin_z,
    directions,
    azimuth_start,
    azimuth_step,
    num_turn,
    max_range,
    seed,
    depth,
    signal,
    owner,
):
    """Cast all parts into the depth buffer.

    Args:
        parts: (P, 20) rows as the P_ columns say.
        objects: (O, 4) world x, y, z, yaw of each object frame.
        planes: (K, 7) faces of the polyhedra.
        position: (3,) sensor in the world. rotation: (3, 3) world from sensor.
        elevation: (B,) radians, descending. origin_z: (B,) laser heights in the sensor frame.
        directions: (B, A, 3) world directions, the result of `ray_directions`.
        azimuth_start: azimuth of column 0; azimuth_step: between columns [rad].
        num_turn: columns of a whole turn (A or more).
        depth: (B, A) range buffer, updated. signal: (B, A) effective reflectivity, updated.
        owner: (B, A) int32 object index of the nearest hit, updated.
    """
    num_beams, num_azimuth = depth.shape
    z_low, z_high = origin_z.min(), origin_z.max()
    corner = np.empty(3)
    m = np.empty((3, 3))  # columns: part axes in the world
    o = np.empty(3)
    d = np.empty(3)
    for p in range(parts.shape[0]):
        row = parts[p]
        obj = int(row[P_OBJECT])
        base = objects[obj]
        cy, sy = math.cos(base[3]), math.sin(base[3])
        cx = base[0] + cy * row[P_X] - sy * row[P_Y]
        cyy = base[1] + sy * row[P_X] + cy * row[P_Y]
        cz = base[2] + row[P_Z]
        hx, hy, hz = row[P_HX], row[P_HY], row[P_HZ]
        rx, ry, rz = cx - position[0], cyy - position[1], cz - position[2]
        radius = math.sqrt(hx * hx + hy * hy + hz * hz)
        if math.sqrt(rx * rx + ry * ry + rz * rz) - radius > max_range:
            continue
        yaw, pitch, roll = base[3] + row[P_YAW], row[P_PITCH], row[P_ROLL]
        ca, sa = math.cos(yaw), math.sin(yaw)
        cb, sb = math.cos(pitch), math.sin(pitch)
        cc, sc = math.cos(roll), math.sin(roll)
        m[0, 0] = ca * cb
        m[0, 1] = ca * sb * sc - sa * cc
        m[0, 2] = ca * sb * cc + sa * sc
        m[1, 0] = sa * cb
        m[1, 1] = sa * sb * sc + ca * cc
        m[1, 2] = sa * sb * cc - ca * sc
        m[2, 0] = -sb
        m[2, 1] = cb * sc
        m[2, 2] = cb * cc

        # Angular window in the sensor frame.
        scx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0] * rz
        scy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1] * rz
        az_centre = math.atan2(scy, scx)
        az_low, az_high, r_far = 0.0, 0.0, 0.0
        s_low, s_high = 1e9, -1e9
        for i in range(8):
            u = hx if i & 1 else -hx
            v = hy if i & 2 else -hy
            w = hz if i & 4 else -hz
            for k in range(3):
                corner[k] = m[k, 0] * u + m[k, 1] * v + m[k, 2] * w
            corner[0] += rx
            corner[1] += ry
            corner[2] += rz
            qx = (
                rotation[0, 0] * corner[0] + rotation[1, 0] * corner[1] + rotation[2, 0] * corner[2]
            )
            qy = (
                rotation[0, 1] * corner[0] + rotation[1, 1] * corner[1] + rotation[2, 1] * corner[2]
            )
            qz = (
                rotation[0, 2] * corner[0] + rotation[1, 2] * corner[1] + rotation[2, 2] * corner[2]
            )
            s_low, s_high = min(s_low, qz), max(s_high, qz)
            r_far = max(r_far, math.sqrt(qx * qx + qy * qy))
            a = math.atan2(qy, qx) - az_centre
            if a > math.pi:
                a -= 2.0 * math.pi
            elif a < -math.pi:
                a += 2.0 * math.pi
            az_low, az_high = min(az_low, a), max(az_high, a)
        if pitch == 0.0 and roll == 0.0:
            u = abs(ca * rx + sa * ry) - hx
            v = abs(-sa * rx + ca * ry) - hy
            r_near = math.sqrt(max(u, 0.0) ** 2 + max(v, 0.0) ** 2) * 0.97
        else:
            r_near = math.sqrt(rx * rx + ry * ry) - radius
        b_first, b_last = 0, num_beams - 1
        j_first, j_last = 0, num_turn - 1
        if r_near > 0.1:
            top, bottom = s_high - z_low, s_low - z_high
            e_high = math.atan2(top, r_near if top > 0 else r_far)
            e_low = math.atan2(bottom, r_near if bottom < 0 else r_far)
            while b_first < num_beams and elevation[b_first] > e_high:
                b_first += 1
            while b_last >= 0 and elevation[b_last] < e_low:
                b_last -= 1
            if b_last < b_first:
                continue
            start = (az_centre + az_low - azimuth_start) / azimuth_step
            j_first = int(math.floor(start)) - 1
            j_last = j_first + int(math.ceil((az_high - az_low) / azimuth_step)) + 3
            shift = int(math.floor(j_first / num_turn)) * num_turn
            j_first -= shift
            j_last -= shift
            if j_first >= num_azimuth and j_last < num_turn:
                continue
            if j_last - j_first >= num_turn:
                j_last = j_first + num_turn - 1

        kind = int(row[P_KIND])
        plane_start = int(row[P_PLANE_START])
        plane_end = plane_start + int(row[P_PLANE_COUNT])
        free_path = row[P_FREE_PATH]
        exponent = row[P_EXPONENT]
        for b in range(b_first, b_last + 1):
            lx = rotation[0, 2] * origin_z[b] - rx
            ly = rotation[1, 2] * origin_z[b] - ry
            lz = rotation[2, 2] * origin_z[b] - rz
            for k in range(3):
                o[k] = m[0, k] * lx + m[1, k] * ly + m[2, k] * lz
            for jj in range(j_first, j_last + 1):
                j = jj if jj < num_turn else jj - num_turn
                if j >= num_azimuth:
                    continue
                wx, wy, wz = directions[b, j, 0], directions[b, j, 1], directions[b, j, 2]
                for k in range(3):
                    d[k] = m[0, k] * wx + m[1, k] * wy + m[2, k] * wz
                t_in, t_out, cosine = -1e9, 1e9, 1.0
                face = -1
                if kind == BOX:
                    for k in range(3):
                        h = hx if k == 0 else (hy if k == 1 else hz)
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
                    if t_in > t_out or t_out <= 0.0:
                        continue
                    cosine = abs(d[face])
                elif kind == ELLIPSOID:
                    ox, oy, oz = o[0] / hx, o[1] / hy, o[2] / hz
                    dx, dy, dz = d[0] / hx, d[1] / hy, d[2] / hz
                    qa = dx * dx + dy * dy + dz * dz
                    qb = ox * dx + oy * dy + oz * dz
                    qc = ox * ox + oy * oy + oz * oz - 1.0
                    disc = qb * qb - qa * qc
                    if disc <= 0.0:
                        continue
                    root = math.sqrt(disc)
                    t_in, t_out = (-qb - root) / qa, (-qb + root) / qa
                    nx = (ox + t_in * dx) / hx
                    ny = (oy + t_in * dy) / hy
                    nz = (oz + t_in * dz) / hz
                    norm = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
                    cosine = abs(nx * d[0] + ny * d[1] + nz * d[2]) / norm
                elif kind == CYLINDER:
                    ox, oy = o[0] / hx, o[1] / hy
                    dx, dy = d[0] / hx, d[1] / hy
                    qa = dx * dx + dy * dy
                    if qa > 1e-12:
                        qb = ox * dx + oy * dy
                        disc = qb * qb - qa * (ox * ox + oy * oy - 1.0)
                        if disc <= 0.0:
                            continue
                        root = math.sqrt(disc)
                        t_in, t_out = (-qb - root) / qa, (-qb + root) / qa
                        nx = (ox + t_in * dx) / hx
                        ny = (oy + t_in * dy) / hy
                        norm = math.sqrt(nx * nx + ny * ny) + 1e-9
                        cosine = abs(nx * d[0] + ny * d[1]) / norm
                    elif ox * ox + oy * oy > 1.0:
                        continue
                    if abs(d[2]) > 1e-12:
                        t0, t1 = (-hz - o[2]) / d[2], (hz - o[2]) / d[2]
                        if t0 > t1:
                            t0, t1 = t1, t0
                        if t0 > t_in:
                            t_in = t0
                            cosine = abs(d[2])
                        t_out = min(t_out, t1)
                    elif abs(o[2]) > hz:
                        continue
                else:
                    for q in range(plane_start, plane_end):
                        n = planes[q]
                        along = n[0] * d[0] + n[1] * d[1] + n[2] * d[2]
                        gap = n[3] - (n[0] * o[0] + n[1] * o[1] + n[2] * o[2])
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
                if t_in > t_out or t_out <= 0.0:
                    continue
                ray = b * num_turn + j
                if free_path > 0.0:
                    t_in = max(t_in, 0.0)
                    t_in -= free_path * math.log(1.0 - hash_uniform(seed + 1, p, ray))
                    if t_in > t_out:
                        continue
                    cosine = 0.25 + 0.75 * hash_uniform(seed + 2, p, ray)
                if t_in <= 0.3 or t_in >= depth[b, j]:
                    continue
                opacity, absorb, factor = row[P_OPACITY], row[P_ABSORB], 1.0
                if kind == POLYHEDRON:
                    factor, opacity, absorb = planes[face, 4], planes[face, 5], planes[face, 6]
                if row[P_WINDOWS] > 0.0 and face < 2:
                    u = (o[1 - face] + t_in * d[1 - face] + 100.0 * row[P_WINDOWS]) / row[P_WINDOWS]
                    v = (o[2] + t_in * d[2] + hz) / 3.1
                    cell_u, cell_v = math.floor(u), math.floor(v)
                    u -= cell_u
                    v -= cell_v
                    if 0.28 < u < 0.72 and 0.3 < v < 0.78:
                        cell = hash_uniform(p, int(cell_u), int(cell_v))
                        if cell < 0.45:  # pane: mirrors the beam away more often than not
                            opacity, absorb, factor = 0.35, 0.65, 0.5
                        if cell < 0.85:
                            t_in += 0.18 / max(cosine, 0.2)
                            if t_in >= depth[b, j]:
                                continue
                if opacity < 1.0:
                    chance = hash_uniform(seed + 3, p, ray)
                    if chance >= opacity + absorb:
                        continue
                    if chance >= opacity:
                        factor = 0.0
                value = row[P_REFLECTIVITY] * factor * cosine**exponent
                if row[P_TEXTURE] > 0.0:
                    key = (
                        int(math.floor(5.0 * (o[0] + t_in * d[0]))) * 73
                        + int(math.floor(5.0 * (o[1] + t_in * d[1]))) * 5381
                        + int(math.floor(5.0 * (o[2] + t_in * d[2]))) * 917
                    )
                    value *= 1.0 + row[P_TEXTURE] * (2.0 * hash_uniform(p, key, 0) - 1.0)
                depth[b, j] = t_in
                signal[b, j] = value
                owner[b, j] = obj
