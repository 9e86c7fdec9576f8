# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground: a road along a winding centre line, kerbs, pavements, rough verges, hills."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.simulation.lidar.rays import GROUND, DepthBuffer, RayGrid, hash_uniform

STEP_X = 0.5  # metres between entries of the tables along the road
STEP_V = 0.1  # metres between entries of the cross profile
HALF_V = 90.0  # lateral reach of the cross profile; beyond it the last value holds
TILE = 256  # entries of the square noise tile, 0.5 m apart

# Zones of the cross profile: index into Ground.reflectivity and Ground.roughness.
ROAD, PAVEMENT, VERGE, MARKING = 0, 1, 2, 3


@functools.cache
def noise_tile() -> NDArray[np.float64]:
    """Tileable noise of unit spread with structure from 0.5 to 16 m, the same in every scene."""
    white = np.fft.rfft2(np.random.default_rng(20240909).standard_normal((TILE, TILE)))
    fy = np.fft.fftfreq(TILE)[:, None]
    fx = np.fft.rfftfreq(TILE)[None, :]
    frequency = np.hypot(fx, fy)
    tile = np.fft.irfft2(white / (0.03 + frequency) ** 1.3, s=(TILE, TILE))
    return np.asarray((tile - tile.mean()) / tile.std())


class Ground(NamedTuple):
    """Height and material of the ground in the world frame.

    Attributes:
        x_start: World x of the first table entry.
        centre: (X,) lateral position of the road's centre line at each table entry.
        height: (X,) height of the road along its length.
        profile: (V,) height over the road at lateral offset v from the centre line.
        zone: (V,) int64 zone at lateral offset v.
        reflectivity: (4,) of the zones.
        roughness: (4,) standard deviation of the height per return.
        waviness: (4,) amplitude of the smooth noise in each zone.
        crossings: (K, 2) centre and half width along x of the side roads, where kerbs vanish.
        tile: (256, 256) smooth noise. tile_offset: shift of the noise tile.
    """

    x_start: float
    centre: NDArray[np.float64]
    height: NDArray[np.float64]
    profile: NDArray[np.float64]
    zone: NDArray[np.int64]
    reflectivity: NDArray[np.float64]
    roughness: NDArray[np.float64]
    waviness: NDArray[np.float64]
    crossings: NDArray[np.float64]
    tile: NDArray[np.float64]
    tile_offset: float

    @classmethod
    def flat(cls, reflectivity: float = 0.3) -> Ground:
        """A plane at height 0 without roughness; what tests compare with."""
        return cls(
            -500.0,
            np.zeros(2001),
            np.zeros(2001),
            np.zeros(int(2 * HALF_V / STEP_V) + 1),
            np.zeros(int(2 * HALF_V / STEP_V) + 1, np.int64),
            np.full(4, reflectivity),
            np.zeros(4),
            np.zeros(4),
            np.zeros((0, 2)),
            noise_tile(),
            0.0,
        )

    def centre_at(self, x: float) -> float:
        """Lateral position of the centre line at world x."""
        return float(_table(self.centre, (x - self.x_start) / STEP_X))

    def heading_at(self, x: float) -> float:
        """Direction of the road at world x [rad]."""
        return math.atan2(self.centre_at(x + 1.0) - self.centre_at(x - 1.0), 2.0)

    def height_at(self, x: float, y: float) -> float:
        """Height of the ground at a world position."""
        return float(_height(x, y, self)[0])

    def grade_at(self, x: float, y: float) -> float:
        """Slope of the ground along x under a vehicle [rad], positive uphill."""
        return math.atan2(self.height_at(x + 1.5, y) - self.height_at(x - 1.5, y), 3.0)


@njit(inline="always")
def _table(values, at):  # type: ignore[no-untyped-def]
    last = values.shape[0] - 1
    if not at > 0.0:  # NaN neither
        return values[0]
    if at >= last:
        return values[last]
    i = int(at)
    return values[i] + (at - i) * (values[i + 1] - values[i])


@njit
def _height(x, y, ground):  # type: ignore[no-untyped-def]
    """Height of the ground at a world position, and its zone."""
    zone, crossings, tile = ground.zone, ground.crossings, ground.tile
    at = (x - ground.x_start) / STEP_X
    v = y - _table(ground.centre, at)
    kind = zone[int(min(max(0.0, (v + HALF_V) / STEP_V), zone.shape[0] - 1.0))]
    lift = _table(ground.profile, (v + HALF_V) / STEP_V)
    for k in range(crossings.shape[0]):
        if abs(x - crossings[k, 0]) < crossings[k, 1]:
            kind = ROAD
            lift = 0.0
    z = _table(ground.height, at) + lift
    amplitude = ground.waviness[kind]
    if amplitude > 0.0:
        u, w = 2.0 * x + ground.tile_offset, 2.0 * y + 37.0 * ground.tile_offset
        iu, iw = math.floor(u), math.floor(w)
        fu, fw = u - iu, w - iw
        a, b = int(iu) % TILE, int(iw) % TILE
        c, e = (a + 1) % TILE, (b + 1) % TILE
        z += amplitude * (
            (1 - fu) * ((1 - fw) * tile[a, b] + fw * tile[a, e])
            + fu * ((1 - fw) * tile[c, b] + fw * tile[c, e])
        )
    return z, kind


def cast_ground(
    ground: Ground, rays: RayGrid, max_range: float, seed: int, buffer: DepthBuffer
) -> None:
    """Casts the ground into the buffer, where it is nearer than what that holds.

    Args:
        max_range: Ground beyond it is not looked for [m].
        seed: Of the roughness.
    """
    _cast_ground(ground, rays, max_range, seed, buffer)


@njit
def _cast_ground(ground, rays, max_range, seed, buffer):  # type: ignore[no-untyped-def]
    depth, signal, owner = buffer
    position, rotation, origin_z = rays.position, rays.rotation, rays.origin_z
    directions = rays.directions
    num_beams, num_azimuth = depth.shape
    here = _height(position[0], position[1], ground)[0]
    for b in range(num_beams):
        ox = position[0] + rotation[0, 2] * origin_z[b]
        oy = position[1] + rotation[1, 2] * origin_z[b]
        oz = position[2] + rotation[2, 2] * origin_z[b]
        previous = 0.0
        for j in range(num_azimuth):
            dx, dy, dz = directions[b, j, 0], directions[b, j, 1], directions[b, j, 2]
            limit = min(depth[b, j], max_range)
            flat = math.sqrt(dx * dx + dy * dy)
            # Start where the ray before met the ground, else march down from above it: terrain
            # steeper than 0.12 is not made, so the first step cannot jump through.
            t = previous
            if t <= 0.0:
                t = max((oz - here - 1.0) / (0.12 * flat - dz), 0.0) if 0.12 * flat > dz else limit
            previous = 0.0
            hit = False
            kind, gap = 0, 0.0
            for _ in range(24):
                if t >= limit:
                    break
                z, kind = _height(ox + t * dx, oy + t * dy, ground)
                gap = oz + t * dz - z
                if abs(gap) < 0.004 or (abs(gap) < 0.03 and t > 25.0):
                    hit = True
                    break
                slope = 0.05 * flat - dz
                if slope <= 0.0:
                    break
                t += gap / slope
            if not hit or t >= limit or t < 0.3:
                continue
            previous = t
            t += (
                ground.roughness[kind]
                * 1.7
                * (hash_uniform(seed + 4, b, j) + hash_uniform(seed + 5, b, j) - 1.0)
                * min(1.0 / max(-dz, 0.02), 8.0)
            )
            if t >= limit:
                continue
            value = ground.reflectivity[kind]
            x, y = ox + t * dx, oy + t * dy
            key = int(math.floor(x * 1.5)) * 7919 + int(math.floor(y * 1.5))
            value *= 0.85 + 0.3 * hash_uniform(key, 11, kind)
            cosine = max(-dz, 0.004)
            depth[b, j] = t
            # Asphalt at grazing incidence loses its return sooner than grass does.
            if kind == VERGE:
                signal[b, j] = value * cosine**0.1
            else:
                signal[b, j] = value * cosine**0.15 / (1.0 + (0.035 / cosine) ** 3)
            owner[b, j] = GROUND
