# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans a finished scene from a pose: cast rays, report returns, label what was seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eloss_perception.simulation.builder import LABELS
from eloss_perception.simulation.depth_buffer import DepthBuffer
from eloss_perception.simulation.ground import cast_ground
from eloss_perception.simulation.lidar import LidarModel, SimulatedScan
from eloss_perception.simulation.raycast import cast_parts
from eloss_perception.simulation.rays import RayGrid
from eloss_perception.simulation.scene_arrays import SceneArrays
from eloss_perception.simulation.sensor_response import SensorResponse, report


def render(
    scene: SceneArrays,
    pose: NDArray[np.float64],
    model: LidarModel,
    seed: int,
    response: SensorResponse | None = None,
    azimuth_limits_deg: tuple[float, float] = (-180.0, 180.0),
) -> tuple[SimulatedScan, NDArray[np.int64]]:
    """Scan a scene from a pose.

    Args:
        pose: (4, 4) world from LiDAR. seed: Of the noise only.
        response: None for a sensor without noise and losses.
        azimuth_limits_deg: First and last azimuth, counter-clockwise from +x.

    Returns:
        The scan, and for each of its boxes the index of the object in the scene (M,) int64.

    Raises:
        ConfigError: Limits are not ascending or span more than a turn.
    """
    rng = np.random.default_rng([seed, 3])
    rays = RayGrid.fire(model, pose, azimuth_limits_deg, rng)
    noise_seed = int(rng.integers(1, 2**40))
    buffer = DepthBuffer.clear(rays.azimuth.shape)
    cast_parts(scene.parts, scene.faces, scene.objects, rays, model.max_range, noise_seed, buffer)
    # After the parts: the march over the ground ends early where something stands in the way.
    cast_ground(scene.ground, rays, model.max_range, noise_seed, buffer)
    points, num_returns = report(
        buffer,
        rays,
        model,
        response or SensorResponse(noise=0.0, dropout=0.0),
        noise_seed,
        len(scene.objects),
    )
    visible = np.array(
        [i for i, name in enumerate(scene.names) if name is not None and num_returns[i] > 0],
        dtype=np.int64,
    )
    names = [name for i in visible if (name := scene.names[i]) is not None]
    labels = np.array([LABELS.get(name, -1) for name in names], dtype=np.int64)
    boxes = _boxes(scene, visible, pose)
    return SimulatedScan(points, boxes, labels, names, num_returns[visible]), visible


def _boxes(
    scene: SceneArrays, indices: NDArray[np.int64], pose: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(M, 7) boxes of some objects in the LiDAR frame."""
    objects, sizes = scene.objects[indices], scene.sizes[indices]
    centre = objects[:, :3].copy()
    centre[:, 2] += scene.bottoms[indices] + 0.5 * sizes[:, 2]
    local = (centre - pose[:3, 3]) @ pose[:3, :3]
    heading = np.stack(
        [np.cos(objects[:, 3]), np.sin(objects[:, 3]), np.zeros(len(indices))], axis=1
    )
    heading = heading @ pose[:3, :3]
    yaw = np.arctan2(heading[:, 1], heading[:, 0])
    yaw = np.where(yaw >= np.pi, -np.pi, yaw)
    return np.concatenate([local, sizes, yaw[:, None]], axis=1).astype(np.float32)
