# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training frames: from the simulator or a KITTI root, and kept on disk ready to use."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eloss_perception.datasets.kitti.calibration import camera_view_mask
from eloss_perception.datasets.kitti.convert import labelled_boxes
from eloss_perception.datasets.kitti.dataset import KittiDataset
from eloss_perception.detection.boxes import CLASS_NAMES
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.files import write_file
from eloss_perception.simulation import SIMULATOR_VERSION
from eloss_perception.simulation.drive import simulate_scan

# Magic and version, numbers of points and boxes, stamp of the source.
_HEADER = struct.Struct("<8sqq16s")
_MAGIC = b"ELFRAME1"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """One labelled scan in the network frame.

    Attributes:
        points: (N, 4) float32 x, y, z [m], intensity.
        boxes: (M, 7) float32.
        labels: (M,) int64 class index, or -1 for an ignored object, which is neither to be found
            nor background (a van, a tram).
    """

    points: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class FrameSource(Protocol):
    """Labelled scans by index; the same index gives the same scan in every process."""

    def frame(self, index: int) -> Frame:
        """The scan of any index >= 0."""


class CountedSource(FrameSource, Protocol):
    """A source that states what its scans depend on, so that they can be kept on disk."""

    @property
    def num_frames(self) -> int | None:
        """Number of different scans, which then repeat; None for an endless source."""

    @property
    def settings(self) -> dict[str, str]:
        """What determines the scans of all indices, apart from the files of `stamp`."""

    def name(self, index: int) -> str:
        """The scan's name, part of a path; unique among those of equal `settings`."""

    def stamp(self, index: int) -> bytes:
        """Changes when a file that the scan is read from changes."""


class SimulatedFrames:
    """Simulated scenes, another one for every index.

    Args:
        seed: Of the run; scene ``index`` is drawn from both.
        lidar: Key of ``LIDARS``.
        num_scans: Begin again after so many scenes; None never does.
        full_turn: Whole sweep instead of the front half, which is all that a detector of the
            camera view has in its range.
    """

    def __init__(
        self,
        seed: int,
        lidar: str = "hdl64e",
        num_scans: int | None = None,
        full_turn: bool = False,
    ) -> None:
        self._seed = seed
        self._lidar = lidar
        self._num_scans = num_scans
        self._limits = (-180.0, 180.0) if full_turn else (-91.0, 91.0)

    def frame(self, index: int) -> Frame:
        """Simulates scene ``index``."""
        place = self._place(index)
        scene_seed = int(np.random.SeedSequence([self._seed, place]).generate_state(1)[0])
        scan = simulate_scan(scene_seed, self._lidar, azimuth_limits_deg=self._limits)
        return Frame(scan.points, scan.boxes, scan.labels)

    @property
    def num_frames(self) -> int | None:
        """Number of scenes."""
        return self._num_scans

    @property
    def settings(self) -> dict[str, str]:
        """Seed, sensor, field of view and the simulator's own code."""
        return {
            "source": "simulation",
            "seed": str(self._seed),
            "lidar": self._lidar,
            "azimuth_limits_deg": str(self._limits),
            "simulator": str(SIMULATOR_VERSION),
        }

    def name(self, index: int) -> str:
        """The number of the scene."""
        return f"{self._place(index):08d}"

    def stamp(self, index: int) -> bytes:
        """Empty: a scene is read from no file."""
        return b""

    def _place(self, index: int) -> int:
        return index if self._num_scans is None else index % self._num_scans


class KittiSplit:
    """The frames of one split of a KITTI root, over and over.

    Args:
        root: The KITTI root.
        split: Name of a list in ``ImageSets/``.
        camera_view: Crop points to the camera view, the only part of a scan that KITTI labels.
            False is for roots that are labelled all around; those without a camera never are.
        class_names: Names whose index is the label, compared without case; every other type is -1.

    Raises:
        DataError: If the split cannot be read, or the whole sweep is wanted of reduced scans.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        camera_view: bool = True,
        class_names: Sequence[str] = CLASS_NAMES,
    ) -> None:
        self.dataset = KittiDataset(root, split)
        self._camera_view = camera_view
        self._class_names = tuple(class_names)
        if self.dataset.layout.is_reduced and not camera_view:
            raise DataError(
                f"{self.dataset.layout.scans} holds the camera view only; the whole sweep needs "
                "velodyne/"
            )

    def frame(self, index: int) -> Frame:
        """Reads frame ``index`` modulo the size of the split."""
        frame_id = self.name(index)
        calibration = self.dataset.calibration(frame_id)
        points = self.dataset.points(frame_id)
        if self._camera_view:
            points = points[camera_view_mask(points, calibration)]
        labelled = labelled_boxes(self.dataset.objects(frame_id), calibration, self._class_names)
        return Frame(points, labelled.boxes, labelled.labels)

    @property
    def num_frames(self) -> int:
        """Size of the split."""
        return len(self.dataset)

    @property
    def settings(self) -> dict[str, str]:
        """Folders, crop and classes; not the split, whose frames may be shared by another.

        Raises:
            DataError: If the first frame's calibration cannot be read.
        """
        return {
            "source": "kitti",
            "scans": str(self.dataset.layout.scans.resolve()),
            "camera_view": str(self._camera_view),
            "view": self.dataset.calibration(self.dataset.ids[0]).view,
            "class_names": ", ".join(self._class_names),
        }

    def name(self, index: int) -> str:
        """The frame's name in the split."""
        return self.dataset.ids[index % len(self.dataset.ids)]

    def stamp(self, index: int) -> bytes:
        """Size and time of change of the frame's three files and of its image.

        Raises:
            DataError: If one is missing.
        """
        digest = hashlib.blake2b(digest_size=16)
        image = self.dataset.image_path(self.name(index))
        for path in [*self.dataset.files(self.name(index)), *([] if image is None else [image])]:
            try:
                status = path.stat()
            except OSError as error:
                raise DataError(f"{path}: cannot read: {error.strerror}") from error
            digest.update(f"{status.st_size} {status.st_mtime_ns};".encode())
        return digest.digest()


class StoredFrames:
    """A source whose frames are written to a folder when they are first asked for.

    The folder below ``cache`` is named by what determines all frames; a frame's header holds what
    determines that one, so that it is made again when its files change. Any number of processes may
    read and write at the same time: a file appears whole or not at all.

    Args:
        source: Makes the frames.
        cache: Folder of all caches.

    Raises:
        ConfigError: If the source is endless.
        DataError: If the folder cannot be written.
    """

    def __init__(self, source: CountedSource, cache: Path) -> None:
        if source.num_frames is None:
            raise ConfigError("an endless source cannot be stored: set num_scans")
        self._source = source
        self._is_full = False
        self.num_frames, self.settings = source.num_frames, source.settings
        self.name, self.stamp = source.name, source.stamp
        text = json.dumps(self.settings, indent=2, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = cache / f"frames-{self.settings['source']}-{digest}"
        if not (self.folder / "settings.json").exists():
            write_file(self.folder / "settings.json", text.encode())

    def frame(self, index: int) -> Frame:
        """Reads the frame, after writing it where it is missing or no longer true."""
        path = self.folder / f"{self.name(index)}.frame"
        stamp = self.stamp(index)
        frame = _read(path, stamp)
        if frame is None:
            frame = self._source.frame(index)
            try:
                write_file(path, _encode(frame, stamp))
            except DataError as error:  # A full disk costs time, not the run.
                if not self._is_full:
                    _LOG.warning("scans are made again each time they are needed: %s", error)
                self._is_full = True
        return frame


def _encode(frame: Frame, stamp: bytes) -> bytes:
    """The header, then points, labels and boxes: each aligned to its own item size."""
    header = _HEADER.pack(_MAGIC, len(frame.points), len(frame.boxes), stamp)
    arrays = frame.points.astype("<f4"), frame.labels.astype("<i8"), frame.boxes.astype("<f4")
    return header + b"".join(array.tobytes() for array in arrays)


def _read(path: Path, stamp: bytes) -> Frame | None:
    """The frame, its arrays read-only, or None where there is none of this stamp."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, num_points, num_boxes, written = _HEADER.unpack_from(content)
    size = _HEADER.size + 16 * num_points + (8 + 28) * num_boxes
    if magic != _MAGIC or written != stamp.ljust(16, b"\0") or len(content) != size:
        return None
    start = _HEADER.size
    points = np.frombuffer(content, "<f4", 4 * num_points, start).reshape(-1, 4)  # (N, 4)
    labels = np.frombuffer(content, "<i8", num_boxes, start + 16 * num_points)
    start += 16 * num_points + 8 * num_boxes
    boxes = np.frombuffer(content, "<f4", 7 * num_boxes, start).reshape(-1, 7)  # (M, 7)
    return Frame(points, boxes, labels)
