# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pillars padded to few different numbers, for runtimes to which each number is a new network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES, Pillars


class NetworkInputs(NamedTuple):
    """What the network reads, by the names in its file.

    Attributes:
        points: (R, K, 4) float32.
        features: (R, 6) float32.
        cell_to_pillar: (1, num_y * num_x) int32; R for an empty cell.
    """

    points: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cell_to_pillar: npt.NDArray[np.int32]


class PaddedInputs:
    """Rounds the number of pillars up, in buffers that stay.

    No cell refers to a row of the padding, so the network's outputs do not change by a bit.
    """

    step = 1024

    def __init__(self, grid: PillarGrid) -> None:
        num_rows = self.num_rows(grid.max_pillars)
        self._points = np.zeros(
            (num_rows, grid.max_points_per_pillar, NUM_POINT_FEATURES), np.float32
        )
        self._features = np.zeros((num_rows, NUM_PILLAR_FEATURES), np.float32)
        self._cell_to_pillar = np.empty((1, grid.num_cells), np.int32)

    @classmethod
    def num_rows(cls, num_pillars: int) -> int:
        """Rows that so many pillars are padded to; never none."""
        return max(-(-num_pillars // cls.step), 1) * cls.step

    def __call__(self, pillars: Pillars) -> NetworkInputs:
        """Copies a frame's pillars; valid until the next call."""
        num_pillars = len(pillars.points)
        num_rows = self.num_rows(num_pillars)
        self._points[:num_pillars] = pillars.points
        self._features[:num_pillars] = pillars.features
        # Nothing reads the padding's outcome; but what an earlier frame left may be slow denormals.
        self._points[num_pillars:num_rows] = 0.0
        self._features[num_pillars:num_rows] = 0.0
        # The row past the last one is the empty cell.
        np.copyto(self._cell_to_pillar[0], pillars.cell_to_pillar)
        np.copyto(self._cell_to_pillar[0], num_rows, where=pillars.cell_to_pillar == num_pillars)
        return NetworkInputs(
            self._points[:num_rows], self._features[:num_rows], self._cell_to_pillar
        )
