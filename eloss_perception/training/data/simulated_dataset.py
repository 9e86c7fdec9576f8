# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Simulated scans that look like a KITTI root to the evaluation, without files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.objects import KittiObject
from eloss_perception.simulation.drive import kitti_labels, simulate_scan
from eloss_perception.simulation.lidar import SimulatedScan

# Scenes of this stream are neither a training run's nor those of `eloss simulate`.
_SEED_STREAM = 2

# Somewhat more than the camera's field of view, which the evaluation crops to.
_AZIMUTH_LIMITS_DEG = (-46.0, 46.0)


class SimulatedDataset:
    """Scenes that no training run sees, with labels in the simulator's camera frame.

    Args:
        num_frames: Number of scenes.
        seed: Same seed, same scenes.
        lidar: Key of ``LIDARS``.
    """

    def __init__(self, num_frames: int, seed: int = 0, lidar: str = "hdl64e") -> None:
        self.ids = tuple(f"{index:06d}" for index in range(num_frames))
        self._seed = seed
        self._lidar = lidar
        self._calibration = Calibration.synthetic()
        self._scan = lru_cache(maxsize=1)(self._simulate)

    def points(self, frame_id: str) -> npt.NDArray[np.float32]:
        """(N, 4) float32 x, y, z [m], intensity of the front of the scan."""
        return self._scan(frame_id).points

    def calibration(self, frame_id: str) -> Calibration:
        """The simulator's camera, the same for every frame."""
        return self._calibration

    def objects(self, frame_id: str) -> list[KittiObject]:
        """Labels of the objects in the image; one with too few returns has no difficulty."""
        return kitti_labels(self._scan(frame_id), self._calibration)

    def image_path(self, frame_id: str) -> Path | None:
        """None: there are no images."""
        return None

    def _simulate(self, frame_id: str) -> SimulatedScan:
        sequence = np.random.SeedSequence(self._seed, spawn_key=(_SEED_STREAM, int(frame_id)))
        scene_seed = int(sequence.generate_state(1)[0])
        return simulate_scan(scene_seed, self._lidar, azimuth_limits_deg=_AZIMUTH_LIMITS_DEG)
