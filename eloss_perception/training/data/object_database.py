# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The labelled objects of a training split with their points, cut out once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import IGNORED, points_in_boxes
from eloss_perception.detection.compiled import njit
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.files import new_folder
from eloss_perception.training.data.frames import CountedSource

# Fewer returns than this and nobody can tell what the object is; not worth keeping.
MIN_STORED_POINTS = 5

_FORMAT = "1"
_ARRAYS = ("points", "starts", "boxes", "labels", "ground")

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


class ObjectDatabase:
    """Objects that ground-truth sampling pastes into other scans (SECOND, Yan et al. 2018, 3.2).

    Args:
        folder: Where ``build_object_database`` left it. Points are mapped, not read, so that
            processes share them.

    Attributes:
        points: (N, 4) float32 of all objects, one after the other, where they were in their scan.
        starts: (K + 1,) int64; object k has the points from ``starts[k]`` to ``starts[k + 1]``.
        boxes: (K, 7) float32 in their scan.
        labels: (K,) int64 class index, never -1.
        ground: (K,) float32 height of the ground around the object in its scan [m].

    Raises:
        DataError: If the folder is no database.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.points = np.load(folder / "points.npy", mmap_mode="r")
            self.starts, self.boxes, self.labels, self.ground = (
                np.load(folder / f"{name}.npy") for name in _ARRAYS[1:]
            )
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: no object database: {error}; delete the folder") from error
        num_objects = len(self.boxes)
        lengths = (len(self.starts) - 1, len(self.labels), len(self.ground))
        if lengths != (num_objects,) * 3 or len(self.points) != self.starts[-1]:
            raise DataError(f"{folder}: the object database is damaged; delete the folder")
        self.num_points: npt.NDArray[np.int64] = np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.boxes)

    def __reduce__(self) -> tuple[type[ObjectDatabase], tuple[Path]]:
        # A spawned worker maps the points itself instead of receiving a copy of them.
        return ObjectDatabase, (self.folder,)

    def points_of(self, index: int) -> npt.NDArray[np.float32]:
        """The (n, 4) float32 points of an object; a view, not to be written to."""
        return self.points[self.starts[index] : self.starts[index + 1]]

    def of_class(self, label: int, min_points: int) -> npt.NDArray[np.int64]:
        """Indices of the objects of a class that have at least so many points."""
        return np.flatnonzero((self.labels == label) & (self.num_points >= min_points))


def build_object_database(
    source: CountedSource, cache: Path, progress: Callable[[int], None] = lambda done: None
) -> ObjectDatabase:
    """The objects of every frame of a source, which must be the training split and nothing else.

    The folder's name is a digest of what decides the frames, the stamps of their files included:
    when a file changes, another database is built.

    Args:
        source: A finite source.
        cache: Folder of all caches.
        progress: Called with the number of frames done while it is built.

    Raises:
        ConfigError: If the source is endless.
        DataError: If a frame or the database cannot be read or written.
    """
    num_frames = source.num_frames
    if num_frames is None:
        raise ConfigError("ground-truth sampling needs a finite number of scans: set num_scans")
    folder = cache / f"objects-{source.settings['source']}-{_content_digest(source, num_frames)}"
    if not folder.is_dir():
        try:
            with new_folder(folder) as partial:
                for name, array in _cut_out(source, num_frames, progress).items():
                    np.save(partial / f"{name}.npy", array)
        except DataError:
            # Another process may have been faster; it built the same.
            if not folder.is_dir():
                raise
    return ObjectDatabase(folder)


def _content_digest(source: CountedSource, num_frames: int) -> str:
    digest = hashlib.blake2b(_FORMAT.encode(), digest_size=8)
    digest.update(json.dumps(source.settings, sort_keys=True).encode())
    for index in range(num_frames):
        digest.update(source.name(index).encode() + b"\0" + source.stamp(index))
    return digest.hexdigest()


def _cut_out(
    source: CountedSource, num_frames: int, progress: Callable[[int], None]
) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of the database by name."""
    points: list[npt.NDArray[np.float32]] = [np.zeros((0, 4), np.float32)]
    boxes: list[npt.NDArray[np.float32]] = [np.zeros((0, 7), np.float32)]
    labels: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    ground: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)]
    counts: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
    for index in range(num_frames):
        frame = source.frame(index)
        owners = points_in_boxes(frame.points, frame.boxes)
        num_points = np.bincount(owners[owners >= 0], minlength=len(frame.boxes))
        kept = np.flatnonzero((frame.labels != IGNORED) & (num_points >= MIN_STORED_POINTS))
        order = np.argsort(owners, kind="stable")
        order = order[np.isin(owners[order], kept)]
        points.append(frame.points[order])
        counts.append(num_points[kept])
        boxes.append(frame.boxes[kept])
        labels.append(frame.labels[kept])
        heights = local_ground(frame.points, frame.boxes[kept])
        bottoms = frame.boxes[kept, 2] - 0.5 * frame.boxes[kept, 5]
        ground.append(np.where(np.isnan(heights), bottoms, heights).astype(np.float32))
        progress(index + 1)
    arrays = (
        np.concatenate(points),
        np.cumsum(np.concatenate(counts)),
        np.concatenate(boxes),
        np.concatenate(labels),
        np.concatenate(ground),
    )
    return dict(zip(_ARRAYS, arrays, strict=True))


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
