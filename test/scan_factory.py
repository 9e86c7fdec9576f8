# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans whose every point is known: an HDL-64E in a large, low room with a level floor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.simulation.corruptions.sensor import HDL64E_ELEVATION


def make_scan(num_columns: int = 400, seed: int = 0) -> npt.NDArray[np.float32]:
    """An HDL-64E in a room, line by line, each starting straight ahead: (64 * columns, 4)."""
    azimuth = np.tile(np.linspace(0.0, 2.0 * np.pi, num_columns, endpoint=False) + 1e-3, 64)
    elevation = np.repeat(HDL64E_ELEVATION, num_columns)
    direction = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=1,
    )
    walls = np.where(direction > 0, [70.0, 35.0, 3.0], [70.0, 35.0, 1.73])
    distance = (walls / np.maximum(np.abs(direction), 1e-9)).min(axis=1)
    intensity = np.random.default_rng(seed).uniform(0.0, 1.0, len(azimuth))
    points: npt.NDArray[np.float32] = np.column_stack([direction * distance[:, None], intensity])
    return points.astype(np.float32)
