# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a seed to a labelled scan: the street, the sensor on it, what the sensor reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eloss_perception.errors import ConfigError
from eloss_perception.simulation.builder import LABELS, SceneBuilder
from eloss_perception.simulation.ground import Ground, cast_ground
from eloss_perception.simulation.layout import make_street
from eloss_perception.simulation.lidar import LidarModel, SimulatedScan, lidar_model
from eloss_perception.simulation.raycast import NO_HIT, cast_parts, hash_uniform, ray_directions


@dataclass(frozen=True)
class Scene:
    """Arrays of a finished scene in the world frame; `objects` (O, 4) holds x, y, z, yaw."""

    parts: NDArray[np.float64]
    planes: NDArray[np.float64]
    objects: NDArray[np.float64]
    names: list[str | None]
    sizes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    ground: Ground

    @classmethod
    def from_builder(cls, builder: SceneBuilder, ground: Ground) -> Scene:
        """Freeze what a builder collected."""
        return cls(
            builder.part_array(),
            builder.plane_array(),
            np.array(builder.poses, dtype=np.float64).reshape(-1, 4),
            list(builder.names),
            np.array(builder.sizes, dtype=np.float64).reshape(-1, 3),
            np.array(builder.bottoms, dtype=np.float64),
            ground,
        )


@dataclass(frozen=True)
class SensorResponse:
    """How reflectivity becomes intensity in one scene; drawn anew for each scene."""

    gain: float = 1.0
    half_range: float = 38.0
    offset: float = 0.0
    beam_gain: NDArray[np.float64] | None = None
    noise: float = 0.03
    dropout: float = 0.01

    @classmethod
    def sample(cls, rng: np.random.Generator, model: LidarModel) -> SensorResponse:
        """Draw a response around that of the KITTI vehicle's sensor."""
        beam_gain = np.clip(rng.normal(1.0, model.beam_gain_spread, model.num_beams), 0.4, 1.5)
        return cls(
            float(np.clip(rng.normal(1.0, 0.12), 0.65, 1.4)),
            model.intensity_range * float(rng.uniform(0.8, 1.25)),
            model.intensity_offset * float(rng.uniform(0.4, 1.4)),
            beam_gain,
            float(rng.uniform(0.02, 0.06)),
            float(rng.uniform(0.0, 0.03)),
        )


@njit(cache=True, nogil=True)
def _report(  # type: ignore[no-untyped-def]
    depth,
    signal,
    owner,
    azimuth,
    elevation,
    origin_z,
    ego_mask,
    beam_gain,
    gain,
    half_range,
    offset,
    noise,
    dropout,
    range_noise,
    threshold,
    min_range,
    max_range,
    seed,
    num_objects,
):
    """Turn hits into points with noise and losses; count the returns of every object."""
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
            # The receiver compensates range only in part, and its near field is out of focus; both
            # curves are fitted to mean intensities over range in public scans.
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


def sensor_pose(
    x: float, y: float, z: float, roll: float, pitch: float, yaw: float
) -> NDArray[np.float64]:
    """(4, 4) float64 world from LiDAR; angles in radians about x, y, z, applied in that order."""
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def render(
    scene: Scene,
    pose: NDArray[np.float64],
    model: LidarModel,
    seed: int,
    response: SensorResponse | None = None,
    azimuth_limits_deg: tuple[float, float] = (-180.0, 180.0),
) -> tuple[SimulatedScan, NDArray[np.int64]]:
    """Scan a scene from a pose.

    Args:
        pose: (4, 4) world from LiDAR. seed: Of the noise only.
        azimuth_limits_deg: First and last azimuth, counter-clockwise from +x.

    Returns:
        The scan, and for each of its boxes the index of the object in the scene (M,) int64.

    Raises:
        ConfigError: Limits are not ascending or span more than a turn.
    """
    low, high = azimuth_limits_deg
    if not -360.0 <= low < high <= 360.0 or high - low > 360.0:
        raise ConfigError(
            f"azimuth_limits_deg {azimuth_limits_deg} must ascend and span at most 360"
        )
    response = response or SensorResponse(noise=0.0, dropout=0.0)
    step = 2.0 * math.pi / model.num_azimuth
    num_azimuth = min(max(int(round(math.radians(high - low) / step)), 1), model.num_azimuth)
    start = math.radians(low)
    rng = np.random.default_rng([seed, 3])
    # Beams fire one after another, so their azimuths interleave; the encoder adds jitter.
    phase = np.random.default_rng(64).uniform(0.0, 1.0, model.num_beams)
    jitter = rng.random((model.num_beams, num_azimuth), dtype=np.float32)
    azimuth = start + step * (np.arange(num_azimuth) + phase[:, None] + 0.3 * jitter)
    elevation = np.radians(model.elevation_deg)
    position, rotation = np.ascontiguousarray(pose[:3, 3]), np.ascontiguousarray(pose[:3, :3])
    directions = ray_directions(elevation, azimuth, rotation)
    depth = np.full((model.num_beams, num_azimuth), 1e9)
    signal = np.zeros(depth.shape)
    owner = np.full(depth.shape, NO_HIT, np.int32)
    noise_seed = int(rng.integers(1, 2**40))
    cast_parts(
        scene.parts,
        scene.objects,
        scene.planes,
        position,
        rotation,
        elevation,
        model.origin_z,
        directions,
        start,
        step,
        model.num_azimuth,
        model.max_range,
        noise_seed,
        depth,
        signal,
        owner,
    )
    g = scene.ground
    cast_ground(
        g.x_start,
        g.centre,
        g.height,
        g.profile,
        g.zone,
        g.reflectivity,
        g.roughness,
        g.waviness,
        g.crossings,
        g.tile,
        g.tile_offset,
        position,
        rotation,
        model.origin_z,
        directions,
        model.max_range,
        noise_seed,
        depth,
        signal,
        owner,
    )
    azimuth = np.where(azimuth > math.pi, azimuth - 2.0 * math.pi, azimuth)
    beam_gain = np.ones(model.num_beams) if response.beam_gain is None else response.beam_gain
    points, counts = _report(
        depth,
        signal,
        owner,
        azimuth,
        elevation,
        model.origin_z,
        np.radians(np.array(model.ego_mask_deg, dtype=np.float64).reshape(-1, 3)),
        beam_gain,
        response.gain,
        response.half_range,
        response.offset,
        response.noise,
        response.dropout,
        model.range_noise,
        model.signal_threshold,
        model.min_range,
        model.max_range,
        noise_seed,
        len(scene.objects),
    )
    visible = np.array(
        [i for i, name in enumerate(scene.names) if name is not None and counts[i] > 0],
        dtype=np.int64,
    )
    return _label(scene, pose, points, counts, visible), visible


def _label(
    scene: Scene,
    pose: NDArray[np.float64],
    points: NDArray[np.float32],
    counts: NDArray[np.int32],
    visible: NDArray[np.int64],
) -> SimulatedScan:
    """Boxes of the visible objects in the LiDAR frame."""
    objects, sizes = scene.objects[visible], scene.sizes[visible]
    centre = objects[:, :3].copy()
    centre[:, 2] += scene.bottoms[visible] + 0.5 * sizes[:, 2]
    local = (centre - pose[:3, 3]) @ pose[:3, :3]
    heading = np.stack(
        [np.cos(objects[:, 3]), np.sin(objects[:, 3]), np.zeros(len(visible))], axis=1
    )
    heading = heading @ pose[:3, :3]
    yaw = np.arctan2(heading[:, 1], heading[:, 0])
    yaw = np.where(yaw >= np.pi, -np.pi, yaw)
    boxes = np.concatenate([local, sizes, yaw[:, None]], axis=1).astype(np.float32)
    names = [name for i in visible if (name := scene.names[i]) is not None]
    labels = np.array([LABELS.get(name, -1) for name in names], dtype=np.int64)
    return SimulatedScan(points, boxes, labels, names, counts[visible])


def simulate_scan(
    seed: int, lidar: str = "hdl64e", azimuth_limits_deg: tuple[float, float] = (-180.0, 180.0)
) -> SimulatedScan:
    """Draw a street and scan it once. The same arguments give the same scan.

    Args:
        seed: Any non-negative integer.
        lidar: Key of `LIDARS`.
        azimuth_limits_deg: Azimuths to scan, ccw from +x; (-90, 90) is the front half.

    Raises:
        ConfigError: Unknown sensor or impossible limits.
    """
    model = lidar_model(lidar)
    rng = np.random.default_rng([seed, 1])
    behind = 75.0 if max(abs(limit) for limit in azimuth_limits_deg) > 90.0 else 8.0
    street = make_street(rng, -behind, 82.0)
    ground = street.ground
    y = ground.centre_at(0.0) + street.ego_lane + float(rng.normal(0.0, 0.3))
    pitch_of_road = math.atan2(ground.height_at(1.5, y) - ground.height_at(-1.5, y), 3.0)
    # KITTI's vehicle carries its sensor nose down by 0.4 deg on average (robust planes through
    # the road ahead); the other spreads come from the same fits.
    pose = sensor_pose(
        0.0,
        y,
        ground.height_at(0.0, y) + model.height + float(rng.normal(0.0, 0.025)),
        math.radians(float(rng.normal(0.0, 0.6))),
        math.radians(float(rng.normal(0.35, 0.5))) - pitch_of_road,
        ground.heading_at(0.0) + math.radians(float(rng.normal(0.0, 2.0))),
    )
    scene = Scene.from_builder(street.builder, ground)
    return render(scene, pose, model, seed, SensorResponse.sample(rng, model), azimuth_limits_deg)[
        0
    ]
