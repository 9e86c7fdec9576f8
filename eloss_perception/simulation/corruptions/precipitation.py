# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Flakes and drops in the beam: which echo is stronger than the target's, and the attenuation.

Hahner et al., *LiDAR Snowfall Simulation for Robust 3D Object Detection* (CVPR 2022), place flakes
in the plane of each beam and follow the pulse. Here the same question is answered by its
distribution: particles of an exponential size spectrum are a Poisson process in the beam's cone, so
the strongest echo before the target and its range are drawn per point from two tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eloss_perception.detection.compiled import njit
from eloss_perception.simulation.corruptions.scan import (
    BEAM_DIAMETER_M,
    BEAM_DIVERGENCE,
    MIN_REFLECTIVITY,
    NOISE_FLOOR,
    OVERLAP_FULL_M,
    OVERLAP_START_M,
    FloatArray,
    PointArray,
    Rng,
)

# No particle answers above the noise from beyond [m]; steps are finer than the beam's growth.
_RANGE_EDGES = np.arange(OVERLAP_START_M, 40.1, 0.25)
_NUM_POWERS = 64


@dataclass(frozen=True, slots=True)
class Particles:
    """A size spectrum N(D) = intercept * exp(-slope * D), as Marshall and Palmer (1948) write it.

    Attributes:
        intercept: Particles per volume and diameter [1/(m^3 mm)].
        slope: Of the logarithm over the melted diameter [1/mm].
        expansion: Diameter of the particle over that of the drop it melts to.
        reflectivity: Of a particle that fills the beam, against a white diffuse target's 1.
    """

    intercept: float
    slope: float
    expansion: float
    reflectivity: float

    @property
    def extinction(self) -> float:
        """Attenuation [1/m]: geometric optics takes twice the cross-section out of the beam."""
        area_mm2 = 0.25 * np.pi * self.expansion**2 * self.intercept * 2.0 / self.slope**3
        return float(2.0 * area_mm2 * 1e-6)


def _expected_echoes(particles: Particles, gain: float) -> tuple[FloatArray, FloatArray]:
    """Expected number of particles nearer than each range that answer above each power.

    Returns:
        (P,) logarithms of the powers, ascending from the noise floor; (P, R) counts.
    """
    log_powers = np.linspace(np.log(NOISE_FLOOR), np.log(particles.reflectivity), _NUM_POWERS)
    step = _RANGE_EDGES[1] - _RANGE_EDGES[0]
    middle = _RANGE_EDGES[:-1] + 0.5 * step
    beam = BEAM_DIAMETER_M + BEAM_DIVERGENCE * middle
    overlap = np.clip((middle - OVERLAP_START_M) / (OVERLAP_FULL_M - OVERLAP_START_M), 1e-6, 1.0)
    loss = gain * overlap * np.exp(-2.0 * particles.extinction * middle)
    # A particle answers with the share of the beam that it covers; one as wide as the beam, with 1.
    full = particles.reflectivity * loss / middle**2
    share = np.exp(log_powers)[:, None] / full  # (P, R)
    least_mm = 1e3 * beam * np.sqrt(share) / particles.expansion
    density = particles.intercept / particles.slope * np.exp(-particles.slope * least_mm)
    per_metre = np.where(share <= 1.0, density, 0.0) * 0.25 * np.pi * beam**2
    counts = np.zeros((_NUM_POWERS, len(_RANGE_EDGES)))
    counts[:, 1:] = np.cumsum(per_metre * step, axis=1)
    return log_powers, counts


@njit
def _strongest_power(need, column, log_powers, counts):  # type: ignore[no-untyped-def]
    """Power of the strongest echo before a target, 0 for none, and the row of the table below it.

    Args:
        need: Expected number of stronger echoes that the draw asks for.
        column: Of the target's range in the table.
        log_powers: (P,) logarithms of the powers. counts: (P, R) expected numbers above them.
    """
    low = 0
    if not counts[0, column] > need:
        return 0.0, low
    high = log_powers.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if counts[middle, column] > need:
            low = middle
        else:
            high = middle
    above, below = counts[low, column], counts[high, column]
    part = (above - need) / (above - below) if above > below else 0.0
    step = log_powers[high] - log_powers[low]
    return np.exp(log_powers[low] + part * step), low


@njit
def _strongest_echoes(
    points: PointArray,
    uniforms: PointArray,
    alpha: float,
    gain: float,
    log_powers: FloatArray,
    counts: FloatArray,
    edges: FloatArray,
    min_reflectivity: float,
    noise_floor: float,
    out: PointArray,
) -> int:
    """Keeps the stronger echo of each pulse, target or particle; returns how many were kept."""
    kept = 0
    for i in range(points.shape[0]):
        x, y, z, reflectivity = points[i, 0], points[i, 1], points[i, 2], points[i, 3]
        distance = np.sqrt(x * x + y * y + z * z)
        if not distance > 0.0:
            continue
        loss = gain * np.exp(-2.0 * alpha * distance)
        target = max(reflectivity, min_reflectivity) * loss / (distance * distance)
        # The strongest of a Poisson number of echoes exceeds p with probability 1 - exp(-count).
        column = min(np.searchsorted(edges, distance), edges.shape[0] - 1)
        need = -np.log(1.0 - uniforms[i, 0])
        power, low = _strongest_power(need, column, log_powers, counts)
        if target >= power:
            if target < noise_floor:
                continue
            out[kept, 0], out[kept, 1], out[kept, 2] = x, y, z
            out[kept, 3] = reflectivity * loss
            out[kept, 4:] = points[i, 4:]
            kept += 1
            continue
        # Where particles of this power are: the part of the table between two of its rows.
        total = counts[low, column] - counts[low + 1, column]
        wanted = uniforms[i, 1] * total
        left, right = 0, column
        while right - left > 1:
            middle = (left + right) // 2
            if counts[low, middle] - counts[low + 1, middle] > wanted:
                right = middle
            else:
                left = middle
        before = counts[low, left] - counts[low + 1, left]
        after = counts[low, right] - counts[low + 1, right]
        part = (wanted - before) / (after - before) if after > before else 0.5
        at = edges[left] + part * (edges[right] - edges[left])
        scale = min(at, distance) / distance
        out[kept, 0], out[kept, 1], out[kept, 2] = x * scale, y * scale, z * scale
        # The sensor reports reflectivity: echo power with its own range law taken out again.
        out[kept, 3] = min(1.0, power * at * at)
        out[kept, 4:] = points[i, 4:]
        kept += 1
    return kept


def with_particles(
    points: PointArray, particles: Particles, rng: Rng, gain: float = 1.0
) -> PointArray:
    """Returns the scan as measured through falling particles.

    Rays that returned nothing are not in a scan, so particles in front of the sky are not either.

    Args:
        points: (N, 4) float32.
        particles: What falls.
        rng: Draws them.
        gain: Two-way transmission of the cover.

    Returns:
        (M, 4) float32, M <= N: targets and particles, in the order of the targets.
    """
    log_powers, counts = _expected_echoes(particles, gain)
    uniforms = rng.random((len(points), 2), dtype=np.float32)
    out = np.empty_like(points)
    kept = _strongest_echoes(
        points,
        uniforms,
        particles.extinction,
        gain,
        log_powers,
        counts,
        _RANGE_EDGES,
        MIN_REFLECTIVITY,
        NOISE_FLOOR,
        out,
    )
    return np.array(out[:kept])
