# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Corrupting one scan: the checks that all corruptions share, and what is no return."""

from __future__ import annotations

import numpy as np

from eloss_perception.errors import CloudError, ConfigError
from eloss_perception.simulation.corruptions.scan import PointArray, is_return
from eloss_perception.simulation.corruptions.table import CORRUPTIONS, SEVERITIES


def corrupt(
    points: PointArray, name: str, severity: int, seed: int, previous: PointArray | None = None
) -> PointArray:
    """Returns the scan as a degraded sensor would have delivered it.

    Rows that are no returns (not finite, or kilometres away) are passed on as they are, behind the
    others: they were not measured, so nothing can have become of them.

    Args:
        points: (N, 4) float32 x, y, z [m, LiDAR frame] and intensity in [0, 1]; columns behind
            these, such as the row of a message, go with their point. Not modified.
        name: One of ``CORRUPTIONS``.
        severity: 1 (barely visible) to 5 (severe).
        seed: The same seed gives the same result.
        previous: (K, 4) the clean scan before this one, if there was one; with the same further
            columns. Not modified.

    Returns:
        (M, 4) float32, or as many columns as there were.

    Raises:
        ConfigError: Unknown name or severity out of range.
        CloudError: Points of another shape.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(
            f"unknown corruption {name!r}; valid are {', '.join(sorted(CORRUPTIONS))}"
        )
    if severity not in SEVERITIES:
        raise ConfigError(f"severity of {name} is {severity!r}; valid are 1, 2, 3, 4, 5")
    points = _checked(points)
    if previous is not None:
        previous = _checked(previous)
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng(seed)
    if corruption.needs_previous:  # Repeats a scan as a whole.
        return corruption.apply(points, severity, rng, previous)
    measured = is_return(points)
    if measured.all():
        return corruption.apply(points, severity, rng, previous)
    corrupted = corruption.apply(points[measured], severity, rng, previous)
    return np.concatenate([corrupted, points[~measured]])


def _checked(points: PointArray) -> PointArray:
    if points.ndim != 2 or points.shape[1] < 4:
        raise CloudError(f"points have shape {points.shape}; (N, 4) expected")
    return np.ascontiguousarray(points, dtype=np.float32)
