# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training runs small enough for a test: a tiny network, scans that cost nothing to make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eloss_perception.training.data import loading
from eloss_perception.training.data.frames import Frame
from eloss_perception.training.data.loading import TrainingData
from eloss_perception.training.settings import TrainingSettings

TINY = {
    "grid": {
        "point_cloud_range": (0.0, -10.24, -3.0, 20.48, 10.24, 1.0),
        "voxel_size": (0.32, 0.32),
        "max_pillars": 4000,
        "max_points_per_pillar": 8,
    },
    "network": {
        "encoder_channels": 8,
        "stage_channels": (8, 16),
        "stage_layers": (3, 3),
        "neck_channels": 8,
        "head_channels": 16,
    },
    "training_half_width": None,
    "steps": 6,
    "batch_size": 2,
    "num_workers": 0,
    "num_threads": 1,
    "device": "cpu",
    "precision": "float32",
    "tensorboard": False,
}

STILL = {
    "rotation_deg": 0,
    "flip_probability": 0,
    "scaling": 0,
    "height_jitter": 0,
    "intensity_gain": 0,
    "dropout_probability": 0,
    "camera_crop_probability": 0,
}


def settings(folder: Path, **changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate(TINY | {"output": folder} | changes)


class CarFrames:
    """A car on flat ground, seen from one side; another place for every index, or always one."""

    def __init__(self, still: bool = False) -> None:
        self._still = still

    def frame(self, index: int) -> Frame:
        rng = np.random.default_rng(0 if self._still else index)
        ground = rng.uniform((0, -10, -1.75, 0.1), (20, 10, -1.7, 0.3), (3000, 4))
        car = np.array([12.0, 2.0, -1.0, 4.0, 1.7, 1.5, 0.3])
        if not self._still:
            car[:2] += rng.uniform(-4, 4, 2)
        side = rng.uniform((-2, -0.85, -0.7, 0.3), (2, -0.75, 0.7, 0.9), (300, 4))
        cos, sin = np.cos(car[6]), np.sin(car[6])
        side[:, :2] = side[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        side[:, :3] += car[:3]
        points = np.concatenate([ground, side]).astype(np.float32)
        return Frame(points, car[None].astype(np.float32), np.zeros(1, np.int64))


class EmptyFrames:
    """Ground and nothing on it."""

    def frame(self, index: int) -> Frame:
        frame = CarFrames().frame(index)
        return Frame(frame.points[:3000], frame.boxes[:0], frame.labels[:0])


def use_frames(source: object) -> None:
    """Trains on a source instead of what the settings say; for a process of its own."""
    loading.open_data = lambda settings: TrainingData(source, None)
