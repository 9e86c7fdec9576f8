# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans of any number of points, and messages that hold them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PointArray = npt.NDArray[np.float32]

_FLOAT32 = 7  # sensor_msgs/PointField
_JITTER_M = 0.05


@dataclass(frozen=True, slots=True)
class PointField:
    """As sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int = _FLOAT32
    count: int = 1


@dataclass(slots=True)
class PointCloud:
    """What is read of a sensor_msgs/PointCloud2, for where there is no ROS."""

    data: array[int]
    width: int
    row_step: int
    height: int = 1
    point_step: int = 16
    is_bigendian: bool = False
    is_dense: bool = True
    fields: list[PointField] = field(
        default_factory=lambda: [
            PointField(name, 4 * i) for i, name in enumerate(("x", "y", "z", "intensity"))
        ]
    )


def cloud_of(points: PointArray) -> PointCloud:
    """Points as a driver sends them: x, y, z, intensity as float32."""
    return PointCloud(array("B", points.tobytes()), len(points), 16 * len(points))


def scan_of(num_points: int, seed: int, *, in_order: bool = False) -> PointArray:
    """A simulated scan of all directions, thinned out to so many points or with points repeated.

    Args:
        num_points: Beyond what the sensor returns, points are repeated nearby.
        seed: Of the street and of the choice.
        in_order: In the sensor's order; else in none, as the share in range must not depend on the
            number of points.

    Returns:
        (num_points, 4) float32.
    """
    from eloss_perception.simulation.drive import simulate_scan

    rng = np.random.default_rng(seed)
    points = simulate_scan(seed).points
    copies, places = np.divmod(np.arange(num_points), len(points))
    rows = rng.permutation(len(points))[places]
    scan: PointArray = points[rows]
    again = np.flatnonzero(copies)
    scan[again, :3] += rng.normal(0.0, _JITTER_M, (len(again), 3)).astype(np.float32)
    return scan[np.lexsort((rows, copies))] if in_order else scan
