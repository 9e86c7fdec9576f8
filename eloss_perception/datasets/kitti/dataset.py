# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI folders: the frames of the object set, the sequences of the tracking set, a writer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.labels import (
    KittiObject,
    read_labels,
    read_tracking_labels,
    write_labels,
)
from eloss_perception.datasets.kitti.layout import (
    FRAME_ID,
    find_image,
    find_layout,
    read_calibration,
    read_image_set,
)
from eloss_perception.detection.points import NEAREST_RETURN
from eloss_perception.errors import DataError, printable
from eloss_perception.files import write_file
from eloss_perception.interrupts import check_interrupt

# x, y, z, reflectance as little-endian float32.
_BYTES_PER_POINT = 16

_FRAME_NUMBER = re.compile(r"[0-9]{1,9}")


class KittiFrames(Protocol):
    """What the object set, a tracking sequence and simulated frames have in common."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the frames, in order."""

    def points(self, frame_id: str) -> NDArray[np.float32]:
        """(N, 4) float32 x, y, z [m], reflectance [0, 1]; LiDAR frame."""

    def calibration(self, frame_id: str) -> Calibration:
        """The calibration of the frame."""

    def objects(self, frame_id: str) -> list[KittiObject]:
        """The labels of the frame, `DontCare` regions included."""

    def image_path(self, frame_id: str) -> Path | None:
        """The left colour image, or None where the folder has none for this frame."""


class KittiDataset:
    """The object set, or any folder laid out like it.

    Args:
        root: The folder that holds `training/` and `ImageSets/`, or another layout that
            `find_layout` knows.
        split: Name of a list in `ImageSets/`, such as `val`.

    Attributes:
        ids: Names of the frames, in the order of the list.

    Raises:
        DataError: If a folder or the list is missing, or the list names no or no proper frame.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.root = Path(root)
        self.split = split
        self.layout = find_layout(self.root, split)
        self.ids = read_image_set(self.root, split)
        self._label_extent: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def points(self, frame_id: str) -> NDArray[np.float32]:
        """Reads a scan; see `read_points`."""
        return read_points(self.scan_path(frame_id))

    def calibration(self, frame_id: str) -> Calibration:
        """Reads a calibration and the size of its image.

        The size is that of the frame's image; without images that of KITTI's cameras, and for
        other cameras twice the principal point or what the 2D boxes of the split reach, whichever
        is more.

        Raises:
            DataError: If the calibration or the image's header cannot be read.
        """
        path = self.layout.calibrations / f"{frame_id}.txt"
        return read_calibration(path, self.image_path(frame_id), self._find_label_extent)

    def objects(self, frame_id: str) -> list[KittiObject]:
        """Reads the labels; see `read_labels`."""
        return read_labels(self.layout.labels / f"{frame_id}.txt")

    def scan_path(self, frame_id: str) -> Path:
        """Returns where the scan is."""
        return self.layout.scans / f"{frame_id}.bin"

    def files(self, frame_id: str) -> tuple[Path, Path, Path]:
        """Returns the files that make a frame: scan, calibration and labels."""
        folders = (self.layout.calibrations, self.layout.labels)
        calibration, labels = (folder / f"{frame_id}.txt" for folder in folders)
        return self.scan_path(frame_id), calibration, labels

    def image_path(self, frame_id: str) -> Path | None:
        """Returns the left colour image, None where there is none."""
        return find_image(self.layout.images, frame_id)

    def _find_label_extent(self) -> tuple[float, float]:
        """Returns the right and lower ends [px] of all 2D boxes of the split; read once."""
        if self._label_extent is None:
            width = height = 0.0
            for frame_id in self.ids:
                check_interrupt()
                path = self.layout.labels / f"{frame_id}.txt"
                for item in read_labels(path) if path.is_file() else []:
                    width, height = max(width, item.bbox2d[2]), max(height, item.bbox2d[3])
            self._label_extent = width, height
        return self._label_extent


class KittiSequence:
    """One sequence of the tracking set: consecutive scans at 10 Hz.

    Args:
        root: The folder that holds `training/`.
        sequence: Name of the sequence, such as `0001`.

    Attributes:
        ids: Names of the frames, in order of time.

    Raises:
        DataError: If the scans, the calibration or the labels are missing or malformed.
    """

    PERIOD_NS = 100_000_000
    """Time between two frames [ns]."""

    def __init__(self, root: str | Path, sequence: str) -> None:
        self.root = Path(root)
        self.sequence = sequence
        self._folder = self.root / "training"
        scans = self._folder / "velodyne" / sequence
        self.ids = tuple(sorted(path.stem for path in scans.glob("*.bin")))
        if not self.ids:
            raise DataError(f"{scans}: no scans; expected files such as 000000.bin")
        for frame_id in self.ids:
            if not _FRAME_NUMBER.fullmatch(frame_id):
                raise DataError(
                    f"{scans}: {printable(frame_id)}.bin: a scan is named by its frame number"
                )
        self._labels = read_tracking_labels(self._folder / "label_02" / f"{sequence}.txt")
        images = (self.image_path(frame_id) for frame_id in self.ids)
        self._calibration = read_calibration(
            self._folder / "calib" / f"{sequence}.txt",
            next((path for path in images if path is not None), None),
            self._find_label_extent,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def points(self, frame_id: str) -> NDArray[np.float32]:
        """Reads a scan; see `read_points`."""
        return read_points(self.scan_path(frame_id))

    def scan_path(self, frame_id: str) -> Path:
        """Returns where the scan is."""
        return self._folder / "velodyne" / self.sequence / f"{frame_id}.bin"

    def calibration(self, frame_id: str = "") -> Calibration:
        """Returns the sequence's calibration, the same for every frame."""
        return self._calibration

    def objects(self, frame_id: str) -> list[KittiObject]:
        """Returns the labels of a frame."""
        return [item for _, item in self._labels.get(int(frame_id), [])]

    def track_ids(self, frame_id: str) -> list[int]:
        """Returns the track number of each of `objects`; -1 for a `DontCare` region."""
        return [track for track, _ in self._labels.get(int(frame_id), [])]

    def image_path(self, frame_id: str) -> Path | None:
        """Returns the left colour image, None where there is none."""
        return find_image(self._folder / "image_02" / self.sequence, frame_id)

    def _find_label_extent(self) -> tuple[float, float]:
        """Returns the right and lower ends [px] of all 2D boxes."""
        boxes = [item.bbox2d for items in self._labels.values() for _, item in items]
        return max((b[2] for b in boxes), default=0.0), max((b[3] for b in boxes), default=0.0)


def read_points(path: str | Path) -> NDArray[np.float32]:
    """Reads the returns of a KITTI scan.

    Returns:
        (N, 4) float32 x, y, z [m], LiDAR frame, and reflectance [0, 1].

    Raises:
        DataError: If the file is missing or its size is no multiple of a point's.
    """
    return without_no_returns(read_records(path))


def read_records(path: str | Path) -> NDArray[np.float32]:
    """Reads a KITTI scan as the file holds it; see `read_points`."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the scan: {error.strerror}") from error
    if len(content) % _BYTES_PER_POINT:
        raise DataError(
            f"{path}: {len(content)} bytes is no multiple of {_BYTES_PER_POINT} "
            "(4 float32 a point); the file is cut off, has other columns, or is no KITTI scan"
        )
    return np.frombuffer(content, dtype="<f4").reshape(-1, 4).astype(np.float32)


def without_no_returns(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leaves out points nearer than `NEAREST_RETURN`, as exporters write what had no return.

    The node takes them for such, and so must whatever trains, calibrates or evaluates for it.
    KITTI's own scans have none.

    Args:
        points: (N, 4) float32 x, y, z [m] in the LiDAR's frame, reflectance.
    """
    x, y, z = points[:, :3].T
    with np.errstate(over="ignore", invalid="ignore"):  # NaN and Inf stay
        is_no_return = x * x + y * y + z * z < np.float32(NEAREST_RETURN**2)
    return points[~is_no_return] if is_no_return.any() else points


def write_kitti_frame(
    root: str | Path,
    frame_id: str,
    points: NDArray[np.float32],
    objects: Sequence[KittiObject],
    calibration: Calibration,
) -> None:
    """Writes one frame below `root/training` in the layout of the object set.

    Args:
        root: Becomes the folder that holds `training/`; `write_image_set` completes it.
        frame_id: Name of the frame, such as `000000`.
        points: (N, 4) float32 x, y, z [m], intensity [0, 1]; LiDAR frame.
        objects: The labels.
        calibration: The frame's calibration.

    Raises:
        ValueError: If the points are not (N, 4) or the name is no frame's.
        DataError: If a file cannot be written.
    """
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"points have the shape {array.shape}, must be (N, 4)")
    if not FRAME_ID.fullmatch(frame_id):
        raise ValueError(f"{frame_id!r} is no frame name")
    folder = Path(root) / "training"
    write_file(folder / "velodyne" / f"{frame_id}.bin", array.astype("<f4").tobytes())
    write_file(folder / "calib" / f"{frame_id}.txt", calibration.to_text().encode())
    write_labels(folder / "label_2" / f"{frame_id}.txt", objects)


def write_image_set(root: str | Path, split: str, ids: Iterable[str]) -> None:
    """Writes the list of frames of a split.

    Raises:
        DataError: If the file cannot be written.
    """
    content = "".join(f"{frame_id}\n" for frame_id in ids)
    write_file(Path(root) / "ImageSets" / f"{split}.txt", content.encode())
