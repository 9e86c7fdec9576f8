# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What anyone could compute of a scan without a network: the cheap baselines' input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Horizontal range [m]: the last bin is open.
RANGE_EDGES = (*range(0, 85, 5), np.inf)

# Directions in which neighbouring returns are looked for [deg]: about those between which a sensor
# of 64 beams still has a return in most cells.
_AZIMUTH_STEP_DEG = 0.4
_ELEVATION_STEP_DEG = 0.45
_ELEVATIONS_DEG = (-30.0, 15.0)


def range_histogram(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how many points lie in each bin of `RANGE_EDGES`, as float64."""
    distance = np.hypot(points[:, 0], points[:, 1])
    counts, _ = np.histogram(distance[np.isfinite(distance)], RANGE_EDGES)
    return counts.astype(np.float64)


def morans_i(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spatial autocorrelation of a scan: how alike neighbouring returns are.

    Moran's I (Moran, *Notes on continuous stochastic phenomena*, 1950) over a grid of directions,
    with equal weights between cells that share an edge: training-free point-cloud quality after
    Zhang et al., *Detecting the Anomalies in LiDAR Pointcloud* (arXiv 2308.00187).

    Args:
        points: (N, 4) float32 x, y, z [m], intensity.

    Returns:
        (2,) float64 of log range and of intensity; near 1 for a smooth field, 0 for noise or where
        nothing varies.
    """
    values = np.asarray(points[np.isfinite(points).all(axis=1)], np.float64)
    ground = np.hypot(values[:, 0], values[:, 1])
    distance = np.hypot(ground, values[:, 2])
    elevation = np.degrees(np.arctan2(values[:, 2], ground))
    azimuth = np.degrees(np.arctan2(values[:, 1], values[:, 0])) + 180.0
    low, high = _ELEVATIONS_DEG
    seen = (distance > 0.1) & (elevation >= low) & (elevation < high)
    num_rows = round((high - low) / _ELEVATION_STEP_DEG)
    num_columns = round(360.0 / _AZIMUTH_STEP_DEG)
    row = ((elevation[seen] - low) / _ELEVATION_STEP_DEG).astype(np.int64)
    row = np.minimum(row, num_rows - 1)  # the quotient may round up
    column = (azimuth[seen] / _AZIMUTH_STEP_DEG).astype(np.int64) % num_columns
    cell = row * num_columns + column
    num_cells = num_rows * num_columns
    shape = (num_rows, num_columns)
    count = np.bincount(cell, minlength=num_cells).astype(np.float64).reshape(shape)
    attributes = (np.log(distance[seen]), values[seen, 3])
    totals = [np.bincount(cell, weights=a, minlength=num_cells) for a in attributes]
    return np.array(
        [_autocorrelation(np.asarray(t, np.float64).reshape(shape), count) for t in totals]
    )


def _autocorrelation(total: NDArray[np.float64], count: NDArray[np.float64]) -> float:
    """Return Moran's I of the cells' means; columns wrap around."""
    occupied = count > 0
    if not occupied.any():
        return 0.0
    mean = np.divide(total, count, out=np.zeros_like(total), where=occupied)
    deviation = np.where(occupied, mean - mean[occupied].mean(), 0.0)
    variance = np.sum(deviation**2) / occupied.sum()
    right = np.roll(deviation, -1, axis=1)
    beside = (occupied & np.roll(occupied, -1, axis=1)).sum()
    above = (occupied[1:] & occupied[:-1]).sum()
    num_pairs = beside + above
    if variance <= 1e-12 or num_pairs == 0:
        return 0.0
    products = np.sum(deviation * right) + np.sum(deviation[1:] * deviation[:-1])
    return float(products / num_pairs / variance)
