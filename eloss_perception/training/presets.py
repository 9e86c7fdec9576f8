# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that belong together, by name: what they leave out keeps its default."""

from __future__ import annotations

from typing import Any

from eloss_perception.model.network import POINTPILLARS

PRESETS: dict[str, dict[str, Any]] = {
    # The defaults: two CPU cores, under an hour, simulated scans.
    "light": {},
    # The same network on KITTI.
    "light_kitti": {"data": "data/kitti", "reuse": 1},
    # PointPillars as published on KITTI (Lang et al., CVPR 2019, sections 3 and 4), for a GPU: 80
    # epochs of 3,712 frames, 16 at a time.
    "pointpillars": {
        "data": "data/kitti",
        "reuse": 1,
        "steps": 18_560,
        "batch_size": 16,
        "num_workers": 12,
        "training_half_width": None,
        "grid": {"voxel_size": (0.16, 0.16), "max_points_per_pillar": 32},
        "network": POINTPILLARS.model_dump(),
    },
}
