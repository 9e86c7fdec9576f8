# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fog, snow, rain and a wet road.

Fog has the physics of Rasshofer et al., *Influences of weather phenomena on automotive laser radar
systems* (2011), with the attenuations of Hahner et al., *Fog Simulation on Real LiDAR Point Clouds
for 3D Object Detection in Adverse Weather* (ICCV 2021): targets fade, and droplets answer.
"""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit
from eloss_perception.simulation.corruptions.precipitation import Particles, with_particles
from eloss_perception.simulation.corruptions.scan import (
    MIN_REFLECTIVITY,
    NOISE_FLOOR,
    OVERLAP_FULL_M,
    OVERLAP_START_M,
    FloatArray,
    PointArray,
    Rng,
    heights_over_road,
    is_road,
    ranges,
)

# Extinction [1/m]; visibility MOR = ln(20) / alpha = 600, 300, 150, 100, 50 m (Hahner et al.).
EXTINCTION = (0.005, 0.01, 0.02, 0.03, 0.06)
# Backscatter [1/(m sr)] times MOR [m] (Rasshofer et al.).
BACKSCATTER_MOR = 0.046
# Half the length of a pulse in space [m]: the depth of fog that one instant of the echo integrates.
# c * 5 ns / 2.
PULSE_DEPTH_M = 0.75
RANGE_STEP_M = 0.1
# Fog is patchy: the spread of the logarithm of the backscatter from pulse to pulse.
PATCHINESS = 0.8

# Water equivalent [mm/h]: flurries, light, moderate, heavy snow (above 2.5), a snowstorm. Hahner et
# al. (CVPR 2022) sample 0.5 to 2.5.
SNOWFALL_MM_H = (0.2, 0.5, 1.0, 2.5, 5.0)
# A flake's density is about a tenth of water's, its diameter that of its drop times 10^(1/3). Deep
# snow is white at 905 nm; a single flake is a few crystals thick, lets most of the light through
# and scatters the rest forwards: a fifth comes back. (With 0.9, light snow would hide all that
# is dark beyond 40 m.)
SNOW_EXPANSION, SNOW_REFLECTIVITY = 2.15, 0.2

# Light, moderate, heavy, violent rain, and a cloudburst [mm/h].
RAINFALL_MM_H = (2.0, 10.0, 25.0, 50.0, 100.0)
# Two-way transmission of the wet cover: drops on it cost more range than those in the air (Fersch
# et al., *The influence of rain on small aperture LiDAR sensors*, ITSC 2016).
WET_COVER_GAIN = (0.95, 0.85, 0.7, 0.55, 0.4)
# A drop sends back what its surfaces reflect: Fresnel, 2 % each at normal incidence.
DROP_REFLECTIVITY = 0.05

# Share of the road's pores that are full of water.
WETNESS = (0.2, 0.4, 0.6, 0.8, 1.0)
# Brightness of a soaked rough surface over that of the dry one (Lekner and Dorf, *Why some things
# are darker when wet*, Applied Optics 1988).
WET_ALBEDO_RATIO = 0.5
WATER_REFRACTIVE_INDEX = 1.33


def snow(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Snowfall of 0.2 to 5 mm/h of water; flake sizes after Gunn and Marshall (1958)."""
    rate = SNOWFALL_MM_H[severity - 1]
    flakes = Particles(3800.0 * rate**-0.87, 2.55 * rate**-0.48, SNOW_EXPANSION, SNOW_REFLECTIVITY)
    return with_particles(points, flakes, rng)


def rain(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Rain of 2 to 100 mm/h and drops on the cover; drop sizes after Marshall and Palmer (1948).

    As Goodin et al., *Predicting the Influence of Rain on LIDAR in ADAS* (Electronics 2019), find,
    what is far and dark goes first.
    """
    drops = Particles(8000.0, 4.1 * RAINFALL_MM_H[severity - 1] ** -0.21, 1.0, DROP_REFLECTIVITY)
    return with_particles(points, drops, rng, WET_COVER_GAIN[severity - 1])


def wet_ground(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """A film of water on the road: it darkens, and flat rays are mirrored away.

    The mechanism of Hahner et al. (CVPR 2022): light enters and leaves through the film, each time
    less what Fresnel's equations reflect at that incidence.
    """
    wet: PointArray = points.copy()
    height, (a, b, _) = heights_over_road(points)
    road = np.flatnonzero(is_road(points, height))
    distance = np.maximum(ranges(points[road]), np.float32(1e-3))
    x, y, z = (points[road, axis] for axis in range(3))
    cosine = np.abs(np.float32(a) * x + np.float32(b) * y - z) / distance
    cosine = np.minimum(cosine / np.float32(np.sqrt(1.0 + a * a + b * b)), np.float32(1.0))
    film = WET_ALBEDO_RATIO * (1.0 - _fresnel(cosine)) ** 2
    factor = 1.0 - WETNESS[severity - 1] * (1.0 - film)
    power = np.maximum(points[road, 3], MIN_REFLECTIVITY) * factor / distance**2
    wet[road, 3] *= factor
    kept = np.ones(len(points), dtype=bool)
    kept[road] = power >= NOISE_FLOOR
    survivors: PointArray = wet[kept]
    return survivors


def _fresnel(cosine: PointArray) -> PointArray:
    """Share of unpolarised light that air to water reflects, by the cosine of incidence."""
    n = np.float32(WATER_REFRACTIVE_INDEX)
    inside = np.sqrt(1.0 - (1.0 - cosine**2) / n**2)
    across = (cosine - n * inside) / (cosine + n * inside)
    along = (inside - n * cosine) / (inside + n * cosine)
    reflected: PointArray = 0.5 * (across**2 + along**2)
    return reflected


def fog(points: PointArray, severity: int, rng: Rng) -> PointArray:
    """Meteorological visibility of 600, 300, 150, 100, 50 m."""
    alpha = EXTINCTION[severity - 1]
    backscatter = BACKSCATTER_MOR * alpha / np.log(20.0)
    # Echo power of fog at range r, seen through the fog in front of it and the receiver's overlap.
    ranges = np.arange(OVERLAP_START_M, 30.0, RANGE_STEP_M)
    overlap = (ranges - OVERLAP_START_M) / (OVERLAP_FULL_M - OVERLAP_START_M)
    echo = np.clip(overlap, 0.0, 1.0) * np.exp(-2.0 * alpha * ranges) / ranges**2
    cumulative = np.concatenate([[0.0], np.cumsum(echo)[:-1]])
    cumulative /= cumulative[-1]
    peak_echo = backscatter * PULSE_DEPTH_M * float(echo.max())
    uniforms = rng.random((len(points), 2), dtype=np.float32)
    patches = np.exp(PATCHINESS * rng.standard_normal(len(points), dtype=np.float32))
    out = np.empty_like(points)
    kept = _fog_echoes(
        points,
        uniforms,
        patches,
        alpha,
        peak_echo,
        ranges,
        cumulative,
        MIN_REFLECTIVITY,
        NOISE_FLOOR / np.pi,
        out,
    )
    return np.array(out[:kept])


@njit
def _fog_echoes(
    points: PointArray,
    uniforms: PointArray,
    patches: PointArray,
    alpha: float,
    peak_echo: float,
    table_range: FloatArray,
    table_cumulative: FloatArray,
    min_reflectivity: float,
    noise_floor: float,
    out: PointArray,
) -> int:
    """Keeps the stronger echo of each pulse, target or fog; returns how many were kept."""
    kept = 0
    for i in range(points.shape[0]):
        x, y, z, reflectivity = points[i, 0], points[i, 1], points[i, 2], points[i, 3]
        distance = np.sqrt(x * x + y * y + z * z)
        if not distance > 0.0:
            continue
        # Beer-Lambert there and back on a diffuse target that fills the beam.
        seen = max(reflectivity, min_reflectivity) / (np.pi * distance * distance)
        target = seen * np.exp(-2.0 * alpha * distance)
        fog = peak_echo * patches[i]
        # Fog is seen only as deep as the target lets the pulse go.
        depth = np.searchsorted(table_range, distance)
        reach = table_cumulative[min(depth, table_cumulative.shape[0] - 1)]
        if reach <= 0.0:
            fog = 0.0
        if target >= fog:
            if target < noise_floor:
                continue
            out[kept, 0], out[kept, 1], out[kept, 2] = x, y, z
            out[kept, 3] = reflectivity * np.exp(-2.0 * alpha * distance)
        else:
            if fog < noise_floor:
                continue
            index = np.searchsorted(table_cumulative, uniforms[i, 0] * reach)
            fog_range = table_range[min(index, table_range.shape[0] - 1)]
            # Anywhere inside one table step, so that the droplets do not sit on shells.
            fog_range += RANGE_STEP_M * uniforms[i, 1]
            scale = min(fog_range, distance) / distance
            out[kept, 0], out[kept, 1], out[kept, 2] = x * scale, y * scale, z * scale
            # The sensor reports reflectivity: echo power with its own range law taken out again.
            out[kept, 3] = min(1.0, np.pi * fog * fog_range * fog_range)
        out[kept, 4:] = points[i, 4:]
        kept += 1
    return kept
