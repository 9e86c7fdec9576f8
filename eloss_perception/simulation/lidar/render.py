# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans a finished scene from a pose: cast rays, report returns, label what was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.sensors import LidarModel
from eloss_perception.simulation.lidar.ground import Ground, cast_ground
from eloss_perception.simulation.lidar.raycast import cast_parts
from eloss_perception.simulation.lidar.rays import DepthBuffer, RayGrid
from eloss_perception.simulation.lidar.response import SensorResponse, report
from eloss_perception.simulation.objects.builder import LABELS, SceneBuilder


@dataclass(frozen=True)
class SceneArrays:
    """A scene in the world frame: O objects made of P parts, standing on a ground.

    Attributes:
        parts: (P,) `PART` rows. faces: (K,) `FACE` rows of the polyhedra among them.
        objects: (O, 4) world x, y, z, yaw of each object frame.
        names: O KITTI types; None for scenery, which gets no box.
        sizes: (O, 3) length, width, height of each box [m].
        bottoms: (O,) height of each box's bottom over the object frame [m].
        ground: What the objects stand on.
    """

    parts: NDArray[np.void]
    faces: NDArray[np.void]
    objects: NDArray[np.float64]
    names: list[str | None]
    sizes: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    ground: Ground

    @classmethod
    def from_builder(cls, builder: SceneBuilder, ground: Ground) -> SceneArrays:
        """Freezes what a builder collected."""
        return cls(
            parts=builder.part_array(),
            faces=builder.face_array(),
            objects=np.array(builder.poses, dtype=np.float64).reshape(-1, 4),
            names=list(builder.names),
            sizes=np.array(builder.sizes, dtype=np.float64).reshape(-1, 3),
            bottoms=np.array(builder.bottoms, dtype=np.float64),
            ground=ground,
        )


@dataclass(frozen=True)
class SimulatedScan:
    """One revolution and what was in it, in the LiDAR frame (x forward, y left, z up, metres).

    Attributes:
        points: (N, 4) float32 x, y, z, intensity in [0, 1]; ring by ring, azimuth ascending.
        boxes: (M, 7) float32 x, y, z (geometric centre), length, width, height, yaw (ccw from +x).
        labels: (M,) int64: 0 Car, 1 Pedestrian, 2 Cyclist, -1 an object to ignore.
        names: M object types in KITTI's terms ("Car", "Van", "Person_sitting", ...).
        num_points: (M,) int32 returns from each object, at least 1.
    """

    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: list[str]
    num_points: NDArray[np.int32]


def render(
    scene: SceneArrays,
    pose: NDArray[np.float64],
    model: LidarModel,
    seed: int,
    response: SensorResponse | None = None,
    azimuth_limits_deg: tuple[float, float] = (-180.0, 180.0),
) -> tuple[SimulatedScan, NDArray[np.int64]]:
    """Scans a scene from a pose.

    Args:
        pose: (4, 4) world from LiDAR. seed: Of the noise only.
        response: None for a sensor without noise and losses.
        azimuth_limits_deg: First and last azimuth, counter-clockwise from +x.

    Returns:
        The scan, and for each of its boxes the index of the object in the scene (M,) int64.

    Raises:
        ConfigError: Limits are not ascending or span more than 360 degrees.
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
