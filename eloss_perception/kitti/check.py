# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Going over a whole split before hours are spent on it: every bad file, with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.boxes import points_in_boxes
from eloss_perception.errors import DataError
from eloss_perception.kitti.calibration import Calibration
from eloss_perception.kitti.convert import kitti_to_boxes
from eloss_perception.kitti.dataset import KittiDataset, read_points
from eloss_perception.kitti.labels import read_labels
from eloss_perception.kitti.objects import KittiObject

_Read = TypeVar("_Read")

# No LiDAR in use on cars reports beyond this [m]; float64 or integer files read as float32 do.
_MAX_COORDINATE = 1000.0

# A car so near [m] that a scan of the same moment has returns from it unless it is hidden.
_NEAR = 25.0
# So many near cars settle whether labels and scans belong together; on KITTI 97 % hold points.
_MIN_NEAR_CARS = 20
_MIN_HIT_SHARE = 0.5


def check_split(
    dataset: KittiDataset,
    max_named: int = 20,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Read every frame of a split once: scan, calibration and labels.

    Takes about as long as reading the scans from disk: 2 ms a frame where they are in memory.

    Args:
        dataset: The split.
        max_named: Stop after so many bad files.
        progress: Called with the number of frames done.

    Raises:
        DataError: Names up to `max_named` bad files, one a line; or says that the labelled cars of
            the split are where the scans have no points.
    """
    problems: list[str] = []
    num_near, num_hit = 0, 0
    for done, frame_id in enumerate(dataset.ids, start=1):
        scan_path, calibration_path, labels_path = dataset.files(frame_id)
        points = _collect(check_scan, scan_path, problems)
        calibration = _collect(Calibration.from_file, calibration_path, problems)
        objects = _collect(check_labels, labels_path, problems)
        if len(problems) >= max_named:
            problems = [*problems[:max_named], f"(stopped after {done} of {len(dataset)} frames)"]
            break
        if points is not None and calibration is not None and objects is not None:
            near, hit = _near_cars(points, calibration, objects)
            num_near, num_hit = num_near + near, num_hit + hit
        progress(done)
    if problems:
        raise DataError(
            f"{dataset.root}: split {dataset.split!r} has bad files:\n  " + "\n  ".join(problems)
        )
    if num_near >= _MIN_NEAR_CARS and num_hit < _MIN_HIT_SHARE * num_near:
        raise DataError(
            f"{dataset.root}: only {num_hit} of the {num_near} cars within {_NEAR:.0f} m in split "
            f"{dataset.split!r} hold a point: scans, calibration and labels do not fit together"
        )


def check_scan(path: Path) -> NDArray[np.float32]:
    """Read a scan that training can use.

    Raises:
        DataError: If it cannot be read, is empty, not finite, or not metres and [0, 1].
    """
    points = read_points(path)
    if not len(points):
        raise DataError(f"{path}: the scan is empty")
    columns = np.ascontiguousarray(points.T)  # (4, N): numpy is ten times as fast along memory
    low, high = columns.min(axis=1), columns.max(axis=1)
    if not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(points).all(axis=1)).sum())
        raise DataError(f"{path}: {bad} of {len(points)} points are not finite; remove them")
    farthest = float(max(-low[:3].min(), high[:3].max()))
    if farthest > _MAX_COORDINATE:
        raise DataError(
            f"{path}: coordinates up to {farthest:.3g} m; must be float32 x, y, z [m], intensity"
        )
    if low[3] < 0.0 or high[3] > 1.0:
        raise DataError(
            f"{path}: intensity from {low[3]:.3g} to {high[3]:.3g}; must be scaled to [0, 1]"
        )
    return points


def check_labels(path: Path) -> list[KittiObject]:
    """Read labels that training can use.

    Raises:
        DataError: If they cannot be read, or an object has a score: then they are results.
    """
    objects = read_labels(path)
    if any(item.score is not None for item in objects):
        raise DataError(f"{path}: has a 16th column, a score: these are results, not labels")
    return objects


def _collect(read: Callable[[Path], _Read], path: Path, problems: list[str]) -> _Read | None:
    """Return what `read` returns, or None after its error went to the list."""
    try:
        return read(path)
    except DataError as error:
        problems.append(str(error))
        return None


def _near_cars(
    points: NDArray[np.float32], calibration: Calibration, objects: list[KittiObject]
) -> tuple[int, int]:
    """Return how many unhidden cars are near, and how many of them hold a point."""
    cars = [
        item
        for item in objects
        if item.type == "Car" and item.has_box and item.location[2] < _NEAR and item.occlusion <= 1
    ]
    if not cars:
        return 0, 0
    ahead = points[(points[:, 0] > 0.0) & (points[:, 0] < _NEAR + 5.0)]
    owners = points_in_boxes(ahead, kitti_to_boxes(cars, calibration))
    return len(cars), len(np.unique(owners[owners >= 0]))
