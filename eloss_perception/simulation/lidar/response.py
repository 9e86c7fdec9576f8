# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the sensor reports of what its rays hit: range noise, intensity, returns that are lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.detection.sensors import LidarModel
from eloss_perception.simulation.lidar.rays import NO_HIT, DepthBuffer, RayGrid, hash_uniform


@dataclass(frozen=True)
class SensorResponse:
    """How reflectivity becomes intensity in one scene; drawn anew for each scene.

    Attributes:
        gain: Factor on the intensity of all beams.
        half_range: Range at which the intensity has fallen to half [m].
        offset: Subtracted from the intensity.
        beam_gain: (B,) factor on the intensity of each beam; None for 1.
        noise: Half width of the uniform noise of the intensity.
        dropout: Share of returns that are lost for no reason.
    """

    gain: float = 1.0
    half_range: float = 38.0
    offset: float = 0.0
    beam_gain: NDArray[np.float64] | None = None
    noise: float = 0.03
    dropout: float = 0.01

    @classmethod
    def sample(cls, rng: np.random.Generator, model: LidarModel) -> SensorResponse:
        """Draws a response around that of the KITTI vehicle's sensor."""
        beam_gain = np.clip(rng.normal(1.0, model.beam_gain_spread, model.num_beams), 0.4, 1.5)
        return cls(
            gain=float(np.clip(rng.normal(1.0, 0.12), 0.65, 1.4)),
            half_range=model.intensity_range * float(rng.uniform(0.8, 1.25)),
            offset=model.intensity_offset * float(rng.uniform(0.4, 1.4)),
            beam_gain=beam_gain,
            noise=float(rng.uniform(0.02, 0.06)),
            dropout=float(rng.uniform(0.0, 0.03)),
        )


def report(
    buffer: DepthBuffer,
    rays: RayGrid,
    model: LidarModel,
    response: SensorResponse,
    seed: int,
    num_objects: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Turns hits into points with noise and losses.

    Args:
        seed: Of the noise.
        num_objects: Objects in the scene.

    Returns:
        (N, 4) points in the LiDAR frame, beam by beam; (O,) returns from each object.
    """
    points, counts = _report(
        buffer,
        rays,
        np.where(rays.azimuth > math.pi, rays.azimuth - 2.0 * math.pi, rays.azimuth),
        np.radians(np.array(model.ego_mask_deg, dtype=np.float64).reshape(-1, 3)),
        np.ones(model.num_beams) if response.beam_gain is None else response.beam_gain,
        (response.gain, response.half_range, response.offset, response.noise, response.dropout),
        (model.range_noise, model.signal_threshold, model.min_range, model.max_range),
        seed,
        num_objects,
    )
    return points, counts


@njit
def _report(  # type: ignore[no-untyped-def]
    buffer, rays, azimuth, ego_mask, beam_gain, response, limits, seed, num_objects
):
    depth, signal, owner = buffer
    elevation, origin_z = rays.elevation, rays.origin_z
    gain, half_range, offset, noise, dropout = response
    range_noise, threshold, min_range, max_range = limits
    num_beams, num_azimuth = depth.shape
    points = np.empty((num_beams * num_azimuth, 4), np.float32)
    counts = np.zeros(num_objects, np.int32)
    n = 0
    for b in range(num_beams):
        ce, se = math.cos(elevation[b]), math.sin(elevation[b])
        for j in range(num_azimuth):
            t = depth[b, j]
            if owner[b, j] == NO_HIT or t > max_range or t < min_range:
                continue
            ray = b * 8192 + j
            u = hash_uniform(seed + 6, ray, 1)
            # Sum of uniforms as a cheap Gaussian (variance 1).
            g = (u + hash_uniform(seed + 6, ray, 2) + hash_uniform(seed + 6, ray, 3) - 1.5) * 2.0
            h = (
                hash_uniform(seed + 6, ray, 4)
                + hash_uniform(seed + 6, ray, 5)
                + hash_uniform(seed + 6, ray, 6)
                - 1.5
            ) * 2.0
            if signal[b, j] * math.exp(0.45 * h) < threshold * t * t:
                continue
            if hash_uniform(seed + 7, ray, 0) < dropout:
                continue
            absolute = abs(azimuth[b, j])
            masked = False
            for k in range(ego_mask.shape[0]):
                if ego_mask[k, 0] <= absolute < ego_mask[k, 1] and elevation[b] < ego_mask[k, 2]:
                    masked = True
            if masked:
                continue
            t += range_noise * g
            # The receiver compensates range only in part, and its near field is out of focus. Both
            # curves are fitted to mean intensity over range (road, verge, what is higher than the
            # sensor; 4 to 75 m) in the 44 scans of our training list from KITTI's object data set.
            focus = (0.62 + 0.38 * min(t / 12.0, 1.0)) / (1.0 + (t / half_range) ** 2)
            value = (
                beam_gain[b] * gain * signal[b, j] * focus * (1.0 + 0.12 * h)
                - offset
                + noise * (2.0 * u - 1.0)
            )
            flat = t * ce
            points[n, 0] = flat * math.cos(azimuth[b, j])
            points[n, 1] = flat * math.sin(azimuth[b, j])
            points[n, 2] = t * se + origin_z[b]
            points[n, 3] = np.float32(math.floor(100.0 * min(max(value, 0.0), 1.0) + 0.5) / 100.0)
            n += 1
            if owner[b, j] >= 0:
                counts[owner[b, j]] += 1
    return points[:n].copy(), counts
