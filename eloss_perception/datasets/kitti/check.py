# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a split before hours are spent on it: every bad file, and no frame in two splits."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.convert import kitti_to_boxes
from eloss_perception.datasets.kitti.dataset import (
    KittiDataset,
    KittiSequence,
    read_records,
    without_no_returns,
)
from eloss_perception.datasets.kitti.labels import KittiObject, read_labels
from eloss_perception.detection.boxes import points_in_boxes
from eloss_perception.errors import DataError, printable
from eloss_perception.interrupts import check_interrupt

_Read = TypeVar("_Read")
_Name = TypeVar("_Name", Path, str)

# No LiDAR in use on cars reports beyond this [m]; float64 or integer files read as float32 do.
_MAX_COORDINATE = 1000.0

# No labelled object is larger [m], a tram included; a car's height is more in centimetres.
_MAX_SIZE = 100.0

# 2 pi [rad], for sets that count from 0 to 2 pi; degrees go beyond, and so does -10, which
# stands for unknown.
_MAX_ROTATION = 6.3

# A car so near [m] that a scan of the same moment has returns from it unless it is hidden.
_NEAR = 25.0
# So many near cars settle whether labels and scans belong together; on KITTI 97 % hold points.
_MIN_NEAR_CARS = 20
_MIN_HIT_SHARE = 0.5

# What is read of a scan at each of three places, and how many shared frames an error names.
_SAMPLE_BYTES = 4096
_MAX_NAMED = 5


def check_split(
    dataset: KittiDataset,
    max_named: int = 20,
    progress: Callable[[int], None] = lambda done: None,
    ids: Sequence[str] | None = None,
) -> Counter[str]:
    """Reads every frame of a split once: scan, calibration and labels.

    Takes about as long as reading the scans from disk: 2 ms a frame where they are in memory.

    Args:
        dataset: The split.
        max_named: Stop after so many bad files.
        progress: Called with the number of frames done.
        ids: Look at these frames alone.

    Returns:
        How many objects there are of each type, as the labels spell it, regions left out.

    Raises:
        DataError: Names up to `max_named` bad files, one a line; or says that the labelled cars of
            the split are where the scans have no points.
    """
    problems: list[str] = []
    num_near, num_hit = 0, 0
    num_objects: Counter[str] = Counter()
    ids = dataset.ids if ids is None else ids
    for done, frame_id in enumerate(ids, start=1):
        check_interrupt()
        scan_path, _, labels_path = dataset.files(frame_id)
        objects = _collect(check_labels, labels_path, problems)
        calibration = _collect(dataset.calibration, frame_id, problems)
        points = _collect(check_scan, scan_path, problems)
        if len(problems) >= max_named:
            problems = [*problems[:max_named], f"(stopped after {done} of {len(ids)} frames)"]
            break
        num_objects.update(item.type for item in objects or [] if not item.is_dont_care)
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
    return num_objects


def require_objects(num_objects: Mapping[str, int], class_names: Sequence[str], where: str) -> None:
    """Refuses labels without any object of the classes, by which nothing could be measured.

    Raises:
        DataError: If no object is of one of the classes, names compared without case.
    """
    wanted = {name.lower() for name in class_names}
    if any(count and name.lower() in wanted for name, count in num_objects.items()):
        return
    there = ", ".join(f"{count} {printable(name)}" for name, count in num_objects.items() if count)
    raise DataError(
        f"{where}: no labelled object of the classes {', '.join(class_names)}; there are: "
        f"{there or 'none at all'}"
    )


def check_scan(path: Path) -> NDArray[np.float32]:
    """Reads a scan that training can use.

    Raises:
        DataError: If it cannot be read, is empty, not finite, or not metres and [0, 1].
    """
    points = read_records(path)
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
            f"{_what_else(points)}"
        )
    if low[3] < 0.0 or high[3] > 1.0:
        raise DataError(
            f"{path}: intensity from {low[3]:.3g} to {high[3]:.3g}; must be scaled to [0, 1]"
            f"{_what_else(points)}"
        )
    points = without_no_returns(points)
    if not len(points):
        raise DataError(f"{path}: no point of the scan has a return")
    return points


def check_labels(path: Path) -> list[KittiObject]:
    """Reads labels that training can use.

    Raises:
        DataError: If they cannot be read, or an object has a score: then they are results.
    """
    objects = read_labels(path)
    if any(item.score is not None for item in objects):
        raise DataError(
            f"{path}: has a 16th column, a score: these are results, not labels; remove the column "
            "if they are labels"
        )
    for item in objects:
        if not item.is_dont_care and (problem := _impossible(item)):
            raise DataError(f"{path}: a {printable(item.type)} {problem}")
    return objects


def _impossible(item: KittiObject) -> str | None:
    """Returns what cannot be true of a labelled object, and what to do; None for a proper one."""
    size = "height {:g}, width {:g}, length {:g}".format(*item.dimensions)
    if min(item.dimensions) <= 0.0:
        return f"has {size}; must be more than 0 m (where there is no 3D box, call it DontCare)"
    if max(item.dimensions) > _MAX_SIZE:
        return f"has {size}; must be metres, not centimetres or millimetres"
    if max(map(abs, item.location)) > _MAX_COORDINATE:
        place = ", ".join(f"{value:g}" for value in item.location)
        return f"is at ({place}); must be metres in the camera's frame"
    if abs(item.rotation_y) > _MAX_ROTATION:
        return f"has rotation_y {item.rotation_y:g}; must be radians in [-pi, pi]"
    return None


def _what_else(points: NDArray[np.float32]) -> str:
    """Returns a guess, as the end of a sentence, at how a scan came to hold such values."""
    values = points.ravel()
    steps = {4: _median_step(points)}
    for columns in (3, 5, 6, 7, 8):
        if values.size % columns == 0:
            steps[columns] = _median_step(values.reshape(-1, columns))
    best = min(steps, key=steps.__getitem__)
    if best != 4 and steps[best] < 0.5 * steps[4]:
        return f" (the file seems to have {best} columns; write these 4)"
    low, high = float(points[:, 3].min()), float(points[:, 3].max())
    for scale in (255.0, 65535.0):
        if low >= 0.0 and high <= scale:
            return f" (divide it by {scale:.0f})"
    return ""


def _median_step(rows: NDArray[np.float32]) -> float:
    """Returns how far a point typically is from the next one: little, where columns are right."""
    if len(rows) < 2:
        return math.inf
    return float(np.median(np.abs(np.diff(rows[:, :3], axis=0)).max(axis=1)))


def _collect(read: Callable[[_Name], _Read], path: _Name, problems: list[str]) -> _Read | None:
    """Returns what `read` returns, or None after its error went to the list."""
    try:
        return read(path)
    except DataError as error:
        problems.append(str(error))
        return None


def _near_cars(
    points: NDArray[np.float32], calibration: Calibration, objects: list[KittiObject]
) -> tuple[int, int]:
    """Returns how many unhidden cars are near, and how many of them hold a point."""
    cars = [
        item
        for item in objects
        if item.type.lower() == "car"
        and math.hypot(item.location[0], item.location[2]) < _NEAR
        and item.occlusion <= 1
    ]
    if not cars:
        return 0, 0
    near = points[(np.abs(points[:, :2]) < _NEAR + 5.0).all(axis=1)]
    owners = points_in_boxes(near, kitti_to_boxes(cars, calibration))
    return len(cars), len(np.unique(owners[owners >= 0]))


def refuse_shared_frames(training: KittiDataset, validation: KittiDataset | KittiSequence) -> None:
    """Makes sure that no frame is in both sets, by name in one root and by content anywhere.

    Costs three small reads a scan. A frame of the same drive as another passes: KITTI's own lists
    are what keeps drives apart.

    Raises:
        DataError: If the sets share frames; names some of them.
    """
    shared: list[str] = []
    if isinstance(validation, KittiDataset) and _same_frames(training, validation):
        names = set(validation.ids)
        shared = [frame_id for frame_id in training.ids if frame_id in names]
    if not shared:
        known = {scan_fingerprint(validation.scan_path(name)): name for name in validation.ids}
        for frame_id in training.ids:
            twin = known.get(scan_fingerprint(training.scan_path(frame_id)))
            if twin is not None:
                shared.append(frame_id if twin == frame_id else f"{frame_id} (there {twin})")
    if shared:
        listed = ", ".join(shared[:_MAX_NAMED]) + (", ..." if len(shared) > _MAX_NAMED else "")
        other = (
            f"split {validation.split!r}"
            if isinstance(validation, KittiDataset)
            else f"sequence {validation.sequence}"
        )
        raise DataError(
            f"{training.root}: {len(shared)} of the {len(training)} frames of split "
            f"{training.split!r} are in the validation {other} as well: {listed}; "
            "train on a split that shares none"
        )


def scan_fingerprint(path: Path) -> bytes:
    """Returns a digest of a scan's size and of its first, middle and last 4096 bytes.

    Raises:
        DataError: If the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "little"))
            for start in (0, max(0, size - _SAMPLE_BYTES) // 2, max(0, size - _SAMPLE_BYTES)):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise DataError(f"{path}: cannot read the scan: {error.strerror}") from error
    return digest.digest()


def _same_frames(a: KittiDataset, b: KittiDataset) -> bool:
    """Whether equal names are equal frames: one folder, or the whole and the reduced scans of it.

    `test` frames lie in a folder of their own and bear the numbers of training frames.
    """
    return a.layout.scans.parent.resolve() == b.layout.scans.parent.resolve()
