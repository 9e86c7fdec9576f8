# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fog: targets fade, and the droplets themselves answer.

The physics of Rasshofer et al., *Influences of weather phenomena on automotive laser radar systems*
(2011), with the attenuations of Hahner et al., *Fog Simulation on Real LiDAR Point Clouds for 3D
Object Detection in Adverse Weather* (ICCV 2021).
"""

from __future__ import annotations

import numpy as np

from eloss_perception.detection.compiled import njit
from eloss_perception.simulation.corruptions.receiver import (
    MIN_REFLECTIVITY,
    NOISE_FLOOR,
    OVERLAP_FULL_M,
    OVERLAP_START_M,
)
from eloss_perception.simulation.corruptions.scan import FloatArray, PointArray

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


def fog(
    points: PointArray, severity: int, rng: np.random.Generator, previous: PointArray | None = None
) -> PointArray:
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
