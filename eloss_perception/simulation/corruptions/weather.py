# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Snow, rain and a wet road; fog has a file of its own."""

from __future__ import annotations

import numpy as np

from eloss_perception.simulation.corruptions.precipitation import Particles, with_particles
from eloss_perception.simulation.corruptions.receiver import MIN_REFLECTIVITY, NOISE_FLOOR
from eloss_perception.simulation.corruptions.road import heights_over_road, is_road
from eloss_perception.simulation.corruptions.scan import PointArray, ranges

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


def snow(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Snowfall of 0.2 to 5 mm/h of water; flake sizes after Gunn and Marshall (1958)."""
    rate = SNOWFALL_MM_H[severity - 1]
    flakes = Particles(3800.0 * rate**-0.87, 2.55 * rate**-0.48, SNOW_EXPANSION, SNOW_REFLECTIVITY)
    return with_particles(points, flakes, rng)


def rain(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
    """Rain of 2 to 100 mm/h and drops on the cover; drop sizes after Marshall and Palmer (1948).

    As Goodin et al., *Predicting the Influence of Rain on LIDAR in ADAS* (Electronics 2019), find,
    what is far and dark goes first.
    """
    drops = Particles(8000.0, 4.1 * RAINFALL_MM_H[severity - 1] ** -0.21, 1.0, DROP_REFLECTIVITY)
    return with_particles(points, drops, rng, WET_COVER_GAIN[severity - 1])


def wet_ground(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
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
