# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What weather and failing hardware do to a scan, each at five severities.

Every corruption takes points (N, 4) float32 (x, y, z in metres in the LiDAR frame, intensity in [0,
1]), a severity of 1 to 5 and a seed, and returns new points (M, 4) float32 with M <= N. The input
is never written to, and the same arguments give the same result bit for bit.

Fog follows the physics of Rasshofer et al., *Influences of weather phenomena on automotive laser
radar systems* (2011), with the attenuations of Hahner et al., *Fog Simulation on Real LiDAR Point
Clouds* (ICCV 2021). The severities of the others are of the order that Kong et al., *Robo3D*
(ICCV 2023, beam missing, crosstalk), and Dong et al., *Benchmarking Robustness of 3D Object
Detection to Common Corruptions* (CVPR 2023, noise, density decrease) use.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from eloss_perception.errors import CloudError, ConfigError
from eloss_perception.simulation.beams import beam_indices

PointArray = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

SEVERITIES = (1, 2, 3, 4, 5)

# Extinction [1/m]; visibility MOR = ln(20) / alpha = 600, 300, 150, 100, 50 m (Hahner et
# al.).
FOG_EXTINCTION = (0.005, 0.01, 0.02, 0.03, 0.06)
# Backscatter [1/(m sr)] times MOR [m] (Rasshofer et al.).
FOG_BACKSCATTER_MOR = 0.046
# Half the length of a pulse in space [m]: the depth of fog that one instant of the echo integrates.
# c * 5 ns / 2.
FOG_PULSE_DEPTH = 0.75
# Emitter and receiver sit side by side: the receiver sees nothing of the beam before R1, all of it
# from R2 on [m]. R2 is fitted so that at 50 m visibility the view ends near 25 m: in a fog
# chamber LiDARs lose targets well before the eye does (Bijelic et al., *A Benchmark for Lidar
# Sensors in Fog*, IV 2018).
FOG_OVERLAP_START, FOG_OVERLAP_FULL = 2.0, 10.0
# Whatever was returned in clear air was above the receiver's floor: the echo of 5 % at 100 m, and
# an intensity of 0 is rounding, not darkness (HDL-64E's data sheet: 50 m on a 10 % target, 120 m on
# 80 %; its scans reach 80 m on asphalt).
FOG_MIN_REFLECTIVITY = 0.05
FOG_NOISE_FLOOR = FOG_MIN_REFLECTIVITY / np.pi / 100.0**2
FOG_RANGE_STEP = 0.1
# Fog is patchy: the spread of the logarithm of the backscatter from pulse to pulse.
FOG_PATCHINESS = 0.8

NOISE_SIGMA_M = (0.02, 0.04, 0.06, 0.08, 0.10)
DROPOUT_FRACTION = (0.1, 0.25, 0.4, 0.55, 0.7)
BEAM_FRACTION_LOST = (0.125, 0.25, 0.5, 0.625, 0.75)
CROSSTALK_FRACTION = (0.004, 0.008, 0.012, 0.016, 0.02)
CROSSTALK_SIGMA_M = 3.0
INTENSITY_GAIN = (0.7, 0.5, 0.3, 0.15, 0.0)


@njit(cache=True, nogil=True)
def _fog_echoes(
    points: PointArray,
    uniforms: PointArray,
    patches: PointArray,
    alpha: float,
    peak_echo: float,
    table_range: FloatArray,
    table_cumulative: FloatArray,
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
        seen = max(reflectivity, FOG_MIN_REFLECTIVITY) / (np.pi * distance * distance)
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
            fog_range += FOG_RANGE_STEP * uniforms[i, 1]
            scale = min(fog_range, distance) / distance
            out[kept, 0], out[kept, 1], out[kept, 2] = x * scale, y * scale, z * scale
            # The sensor reports reflectivity: echo power with its own range law taken out again.
            out[kept, 3] = min(1.0, np.pi * fog * fog_range * fog_range)
        kept += 1
    return kept


def _fog(points: PointArray, severity: int, rng: np.random.Generator) -> PointArray:
    alpha = FOG_EXTINCTION[severity - 1]
    backscatter = FOG_BACKSCATTER_MOR * alpha / np.log(20.0)
    # Echo power of fog at range r, seen through the fog in front of it and the receiver's overlap.
    ranges = np.arange(FOG_OVERLAP_START, 30.0, FOG_RANGE_STEP)
    overlap = (ranges - FOG_OVERLAP_START) / (FOG_OVERLAP_FULL - FOG_OVERLAP_START)
    echo = np.clip(overlap, 0.0, 1.0) * np.exp(-2.0 * alpha * ranges) / ranges**2
    cumulative = np.concatenate([[0.0], np.cumsum(echo)[:-1]])
    cumulative /= cumulative[-1]
    peak_echo = backscatter * FOG_PULSE_DEPTH * float(echo.max())
    uniforms = rng.random((len(points), 2), dtype=np.float32)
    patches = np.exp(FOG_PATCHINESS * rng.standard_normal(len(points), dtype=np.float32))
    out = np.empty_like(points)
    kept = _fog_echoes(
        points, uniforms, patches, alpha, peak_echo, ranges, cumulative, FOG_NOISE_FLOOR, out
    )  # fmt: skip
    return np.array(out[:kept])


def _beam_missing(points: PointArray, severity: int, rng: np.random.Generator) -> PointArray:
    beams = beam_indices(points)
    num_beams = int(beams.max(initial=-1)) + 1
    num_lost = round(BEAM_FRACTION_LOST[severity - 1] * num_beams)
    is_lost = np.zeros(num_beams, dtype=bool)
    is_lost[rng.permutation(num_beams)[:num_lost]] = True
    survivors: PointArray = points[~is_lost[beams]] if num_beams else points.copy()
    return survivors


def _point_dropout(points: PointArray, severity: int, rng: np.random.Generator) -> PointArray:
    keep = rng.random(len(points), dtype=np.float32) >= DROPOUT_FRACTION[severity - 1]
    survivors: PointArray = points[keep]
    return survivors


def _gaussian_noise(points: PointArray, severity: int, rng: np.random.Generator) -> PointArray:
    noisy: PointArray = points.copy()
    noise = rng.standard_normal((len(points), 3), dtype=np.float32)
    noisy[:, :3] += np.float32(NOISE_SIGMA_M[severity - 1]) * noise
    return noisy


def _crosstalk(points: PointArray, severity: int, rng: np.random.Generator) -> PointArray:
    noisy: PointArray = points.copy()
    hit = np.flatnonzero(
        rng.random(len(points), dtype=np.float32) < CROSSTALK_FRACTION[severity - 1]
    )
    noise = rng.standard_normal((len(hit), 3), dtype=np.float32)
    noisy[hit, :3] += np.float32(CROSSTALK_SIGMA_M) * noise
    return noisy


def _intensity_scale(points: PointArray, severity: int, rng: np.random.Generator) -> PointArray:
    scaled: PointArray = points.copy()
    scaled[:, 3] *= np.float32(INTENSITY_GAIN[severity - 1])
    return scaled


CORRUPTIONS: dict[str, Callable[[PointArray, int, np.random.Generator], PointArray]] = {
    "fog": _fog,
    "beam_missing": _beam_missing,
    "point_dropout": _point_dropout,
    "gaussian_noise": _gaussian_noise,
    "crosstalk": _crosstalk,
    "intensity_scale": _intensity_scale,
}

# A dead laser stays dead: these are drawn once for a window of time, the others anew for every
# scan.
PERSISTENT_CORRUPTIONS = frozenset({"beam_missing"})


def corrupt(points: PointArray, name: str, severity: int, seed: int) -> PointArray:
    """Returns the scan as a degraded sensor would have delivered it.

    Args:
        points: (N, 4) float32 x, y, z [m, LiDAR frame] and intensity in [0, 1]. Not modified.
        name: One of ``CORRUPTIONS``.
        severity: 1 (barely visible) to 5 (severe).
        seed: The same seed gives the same result.

    Returns:
        (M, 4) float32, M <= N, of the same layout and order.

    Raises:
        ConfigError: Unknown name or severity out of range.
        CloudError: Points of another shape.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(
            f"unknown corruption {name!r}; valid are {', '.join(sorted(CORRUPTIONS))}"
        )
    if severity not in SEVERITIES:
        raise ConfigError(f"severity of {name} is {severity!r}; valid are 1, 2, 3, 4, 5")
    if points.ndim != 2 or points.shape[1] != 4:
        raise CloudError(f"points have shape {points.shape}; (N, 4) expected")
    points = np.ascontiguousarray(points, dtype=np.float32)
    return CORRUPTIONS[name](points, severity, np.random.default_rng(seed))
