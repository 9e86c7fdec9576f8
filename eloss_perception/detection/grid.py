# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pillar grid: which part of space the network sees, and how finely."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eloss_perception.errors import ConfigError

# Kernels number cells with 32 bits; a full scan of 100 m around at 5 cm has 16 million.
_MAX_CELLS = 2**26
# 268 MB of points a frame; the largest published networks take 20.
_MAX_POINTS = 2**24


@dataclass(frozen=True, slots=True)
class PillarGrid:
    """A regular bird's-eye grid of vertical pillars in the network frame.

    A BEV map over this grid has shape ``(C, num_y, num_x)``: its row is y, its column is x, and
    row 0 / column 0 lie at ``y_min`` / ``x_min``.

    Attributes:
        point_cloud_range: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` [m]; lower bounds are
            inside, upper bounds outside.
        voxel_size: ``(dx, dy)`` [m], edge lengths of a pillar.
        max_pillars: Most pillars that one frame may fill.
        max_points_per_pillar: Most points that one pillar keeps.

    Raises:
        ConfigError: If the range is empty, is no whole number of cells or of too many, a number is
            not finite, or a limit is not positive.
    """

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float]
    max_pillars: int
    max_points_per_pillar: int

    def __post_init__(self) -> None:
        x_min, y_min, z_min, x_max, y_max, z_max = self.point_cloud_range
        dx, dy = self.voxel_size
        if not all(map(math.isfinite, (*self.point_cloud_range, dx, dy))):
            raise ConfigError(
                f"point_cloud_range {self.point_cloud_range} and voxel_size {self.voxel_size} must"
                " be finite"
            )
        if not (x_min < x_max and y_min < y_max and z_min < z_max):
            raise ConfigError(f"point_cloud_range {self.point_cloud_range}: min must be below max")
        if not (dx > 0 and dy > 0):
            raise ConfigError(f"voxel_size {self.voxel_size}: both edges must be positive metres")
        for extent, size, axis in ((x_max - x_min, dx, "x"), (y_max - y_min, dy, "y")):
            num_cells = extent / size
            if not (0.5 < num_cells <= _MAX_CELLS and abs(num_cells - round(num_cells)) <= 1e-4):
                raise ConfigError(f"range along {axis} ({extent:g} m) is no multiple of {size:g} m")
        if self.num_cells > _MAX_CELLS:
            raise ConfigError(f"{self.num_x} x {self.num_y} cells are more than {_MAX_CELLS}")
        if self.max_pillars < 1 or self.max_points_per_pillar < 1:
            raise ConfigError("max_pillars and max_points_per_pillar must be at least 1")
        if self.max_pillars * self.max_points_per_pillar > _MAX_POINTS:
            raise ConfigError(
                f"{self.max_pillars} pillars of {self.max_points_per_pillar} points: more than "
                f"{_MAX_POINTS} points"
            )

    @property
    def num_x(self) -> int:
        """Number of cells along x (columns of a BEV map)."""
        return round((self.point_cloud_range[3] - self.point_cloud_range[0]) / self.voxel_size[0])

    @property
    def num_y(self) -> int:
        """Number of cells along y (rows of a BEV map)."""
        return round((self.point_cloud_range[4] - self.point_cloud_range[1]) / self.voxel_size[1])

    @property
    def num_cells(self) -> int:
        """Number of cells of the grid."""
        return self.num_x * self.num_y
