# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which rays can meet a part: its azimuth and elevation window as the sensor sees it."""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.detection.compiled import njit


@njit
def _set_rotation(m, yaw, pitch, roll):  # type: ignore[no-untyped-def]
    """Fill m (3, 3) with Rz(yaw) Ry(pitch) Rx(roll)."""
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


@njit
def _extent(rotation, m, centre, half):  # type: ignore[no-untyped-def]
    """Directions and distances in the sensor frame that a part's bounding box spans.

    Returns:
        The azimuth of its centre; its corners' rightmost and leftmost azimuth against that [rad],
        lowest and highest z, and largest horizontal distance [m].
    """
    x = rotation[0, 0] * centre[0] + rotation[1, 0] * centre[1] + rotation[2, 0] * centre[2]
    y = rotation[0, 1] * centre[0] + rotation[1, 1] * centre[1] + rotation[2, 1] * centre[2]
    middle = math.atan2(y, x)
    corner = np.empty(3)
    left, right, far = 0.0, 0.0, 0.0
    low, high = 1e9, -1e9
    for i in range(8):
        u = half[0] if i & 1 else -half[0]
        v = half[1] if i & 2 else -half[1]
        w = half[2] if i & 4 else -half[2]
        for k in range(3):
            corner[k] = m[k, 0] * u + m[k, 1] * v + m[k, 2] * w
        corner[0] += centre[0]
        corner[1] += centre[1]
        corner[2] += centre[2]
        x = rotation[0, 0] * corner[0] + rotation[1, 0] * corner[1] + rotation[2, 0] * corner[2]
        y = rotation[0, 1] * corner[0] + rotation[1, 1] * corner[1] + rotation[2, 1] * corner[2]
        z = rotation[0, 2] * corner[0] + rotation[1, 2] * corner[1] + rotation[2, 2] * corner[2]
        low, high = min(low, z), max(high, z)
        far = max(far, math.sqrt(x * x + y * y))
        turn = math.atan2(y, x) - middle
        if turn > math.pi:
            turn -= 2.0 * math.pi
        elif turn < -math.pi:
            turn += 2.0 * math.pi
        right, left = min(right, turn), max(left, turn)
    return middle, right, left, low, high, far


@njit
def part_windows(parts, objects, rays, max_range):  # type: ignore[no-untyped-def]
    """Places parts in the world and finds the rays that can meet each.

    Args:
        parts: (P,) `PART` rows.
        objects: (O, 4) world x, y, z, yaw of each object frame.
        rays: `RayGrid`.
        max_range: Parts beyond it have an empty window [m].

    Returns:
        (P, 3) centres relative to the sensor, along the world's axes; (P, 3, 3) world from part;
        (P, 4) first and last beam, first and last column of a revolution. The last column may
        exceed `num_columns`: the window wraps. An empty window has its last beam before its first.
    """
    position, rotation, elevation = rays.position, rays.rotation, rays.elevation
    z_low, z_high = rays.origin_z.min(), rays.origin_z.max()
    num_azimuth, num_columns = rays.azimuth.shape[1], rays.num_columns
    num_beams = elevation.shape[0]
    centres = np.empty((parts.shape[0], 3))
    axes = np.empty((parts.shape[0], 3, 3))
    windows = np.empty((parts.shape[0], 4), np.int64)
    for p in range(parts.shape[0]):
        part = parts[p]
        windows[p] = (0, -1, 0, -1)
        base = objects[part.owner]
        cy, sy = math.cos(base[3]), math.sin(base[3])
        rx = base[0] + cy * part.x - sy * part.y - position[0]
        ry = base[1] + sy * part.x + cy * part.y - position[1]
        rz = base[2] + part.z - position[2]
        hx, hy, hz = part.half_x, part.half_y, part.half_z
        radius = math.sqrt(hx * hx + hy * hy + hz * hz)
        if not math.sqrt(rx * rx + ry * ry + rz * rz) - radius <= max_range:  # NaN neither
            continue
        centres[p] = (rx, ry, rz)
        m = axes[p]
        yaw = base[3] + part.yaw
        _set_rotation(m, yaw, part.pitch, part.roll)

        middle, right, left, low, high, far = _extent(rotation, m, (rx, ry, rz), (hx, hy, hz))
        if part.pitch == 0.0 and part.roll == 0.0:
            ca, sa = math.cos(yaw), math.sin(yaw)
            u = abs(ca * rx + sa * ry) - hx
            v = abs(-sa * rx + ca * ry) - hy
            near = math.sqrt(max(u, 0.0) ** 2 + max(v, 0.0) ** 2) * 0.97
        else:
            near = math.sqrt(rx * rx + ry * ry) - radius
        if near <= 0.1:  # all around the sensor
            windows[p] = (0, num_beams - 1, 0, num_columns - 1)
            continue

        top, bottom = high - z_low, low - z_high
        upper = math.atan2(top, near if top > 0 else far)
        lower = math.atan2(bottom, near if bottom < 0 else far)
        b_first, b_last = 0, num_beams - 1
        while b_first < num_beams and elevation[b_first] > upper:
            b_first += 1
        while b_last >= 0 and elevation[b_last] < lower:
            b_last -= 1
        if b_last < b_first:
            continue
        j_first = int(math.floor((middle + right - rays.start) / rays.step)) - 1
        j_last = j_first + int(math.ceil((left - right) / rays.step)) + 3
        shift = j_first // num_columns * num_columns
        j_first -= shift
        j_last -= shift
        if j_first >= num_azimuth and j_last < num_columns:
            continue
        if j_last - j_first >= num_columns:
            j_last = j_first + num_columns - 1
        windows[p] = (b_first, b_last, j_first, j_last)
    return centres, axes, windows
