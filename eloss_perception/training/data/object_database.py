# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The labelled objects of a training split with their points, cut out once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import IGNORED, points_in_boxes
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.training.data.frames import CountedSource
from eloss_perception.training.data.local_ground import local_ground

# Fewer returns than this and nobody can tell what the object is; not worth keeping.
MIN_STORED_POINTS = 5

_FORMAT = "1"
_ARRAYS = ("points", "starts", "boxes", "labels", "ground")


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
            self.starts = np.load(folder / "starts.npy")
            self.boxes = np.load(folder / "boxes.npy")
            self.labels = np.load(folder / "labels.npy")
            self.ground = np.load(folder / "ground.npy")
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
    if folder.is_dir():
        return ObjectDatabase(folder)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        partial.mkdir(parents=True)
        for name, array in _cut_out(source, num_frames, progress).items():
            np.save(partial / f"{name}.npy", array)
        try:
            partial.rename(folder)
        except OSError:
            # Another process was faster; it built the same.
            if not folder.is_dir():
                raise
    except OSError as error:
        raise DataError(f"{folder}: cannot write the object database: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
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
