# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that belong together, by name: what they leave out keeps its default."""

from __future__ import annotations

from typing import Any

from eloss_perception.network.network import POINTPILLARS

PRESETS: dict[str, dict[str, Any]] = {
    # The defaults: two CPU cores, under an hour, simulated scans.
    "light": {},
    # The same network on KITTI, filled up with objects cut from its other scans.
    "light_kitti": {
        "data": "data/kitti",
        "reuse": 1,
        "augmentation": {"camera_crop_probability": 0.0, "sampled_objects": (15, 10, 10)},
    },
    # PointPillars on KITTI for a GPU. Network and augmentation as published (Lang et al., CVPR
    # 2019, sections 2, 3.4 and 4.2; rotation and scaling from SECOND, section 3.2); 80 epochs of
    # 3,712 frames, 16 at a time, under one cycle in place of the paper's steps.
    "pointpillars": {
        "data": "data/kitti",
        "reuse": 1,
        "steps": 18_560,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "num_workers": 12,
        "training_half_width": None,
        "grid": {"voxel_size": (0.16, 0.16), "max_points_per_pillar": 32},
        "network": POINTPILLARS.model_dump(),
        "augmentation": {
            "rotation_deg": 45.0,
            "scaling": 0.05,
            "translation": 0.2,
            "height_jitter": 0.2,
            "intensity_gain": 0.0,
            "dropout_probability": 0.0,
            "camera_crop_probability": 0.0,
            "sampled_objects": (15, 0, 8),
            "object_rotation_deg": 9.0,
            "object_translation": (0.25, 0.25, 0.25),
        },
    },
}
