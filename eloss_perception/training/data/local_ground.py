# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The height of the ground around a box, from the scan alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit

# Side of a cell [m] whose low returns are taken for ground, and how far cells reach.
_CELL = 1.0
_REACH = 100.0

# Around a box this far beyond its corners [m], farther away more: rings of a scan lie apart there.
_MARGIN = 1.5
_MARGIN_PER_METRE = 0.08

# So many cells must hold returns, and this share of them lies below the ground that is reported:
# cells on the object itself and on walls are higher, cells on the road are not.
_MIN_CELLS = 3
_QUANTILE = 0.25


def local_ground(
    points: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Height of the ground around each box.

    Args:
        points: (N, 4) float32 of the scan.
        boxes: (M, 7) float32.

    Returns:
        (M,) float32 z [m]; NaN where too few returns are near.
    """
    ground: npt.NDArray[np.float32] = _around(_low_returns(points), boxes)
    return ground


@njit
def _low_returns(points):  # type: ignore[no-untyped-def]
    """The second lowest z of each cell, because the lowest may be a reflection below the road."""
    size = int(2 * _REACH / _CELL)
    lowest = np.full((size, size), np.inf, np.float32)
    second = np.full((size, size), np.inf, np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if not (abs(x) < _REACH and abs(y) < _REACH):
            continue
        row = min(int((x + _REACH) / _CELL), size - 1)
        column = min(int((y + _REACH) / _CELL), size - 1)
        if z < lowest[row, column]:
            second[row, column] = lowest[row, column]
            lowest[row, column] = z
        elif z < second[row, column]:
            second[row, column] = z
    for row in range(size):
        for column in range(size):
            if second[row, column] == np.inf:
                second[row, column] = lowest[row, column]
    return second


@njit
def _around(low, boxes):  # type: ignore[no-untyped-def]
    size = len(low)
    ground = np.full(len(boxes), np.nan, np.float32)
    for k in range(len(boxes)):
        x, y = boxes[k, 0], boxes[k, 1]
        reach = 0.5 * np.hypot(boxes[k, 3], boxes[k, 4]) + max(
            _MARGIN, _MARGIN_PER_METRE * np.hypot(x, y)
        )
        if not (abs(x) + abs(y) + reach < 1e6):  # too far for any cell, or not finite
            continue
        first_row = max(int((x - reach + _REACH) / _CELL), 0)
        last_row = min(int((x + reach + _REACH) / _CELL), size - 1)
        first_column = max(int((y - reach + _REACH) / _CELL), 0)
        last_column = min(int((y + reach + _REACH) / _CELL), size - 1)
        if last_row < first_row or last_column < first_column:
            continue
        found = np.empty((last_row - first_row + 1) * (last_column - first_column + 1), np.float32)
        count = 0
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                dx = (row + 0.5) * _CELL - _REACH - x
                dy = (column + 0.5) * _CELL - _REACH - y
                if dx * dx + dy * dy <= reach * reach and low[row, column] < np.inf:
                    found[count] = low[row, column]
                    count += 1
        if count >= _MIN_CELLS:
            ground[k] = np.sort(found[:count])[int(_QUANTILE * (count - 1))]
    return ground
