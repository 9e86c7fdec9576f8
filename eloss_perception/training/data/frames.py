# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where training frames come from: the simulator, or a KITTI root."""

from __future__ import annotations

import hashlib
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
from eloss_perception.errors import DataError
from eloss_perception.simulation import SIMULATOR_VERSION
from eloss_perception.simulation.drive import simulate_scan


@dataclass(frozen=True, slots=True)
class Frame:
    """One labelled scan in the network frame.

    Attributes:
        points: (N, 4) float32 x, y, z [m], intensity.
        boxes: (M, 7) float32.
        labels: (M,) int64 class index, or -1 for an object that is neither to be found nor
            counted as background (a van, a tram).
    """

    points: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class FrameSource(Protocol):
    """Labelled scans by index; the same index gives the same scan in every process."""

    def frame(self, index: int) -> Frame:
        """The scan of any index >= 0."""


class CountedSource(FrameSource, Protocol):
    """A source that can say what its scans depend on, so that they can be kept on disk."""

    @property
    def num_frames(self) -> int | None:
        """Number of different scans, which then repeat; None for an endless source."""

    @property
    def settings(self) -> dict[str, str]:
        """What decides the scans of all indices, the files of `stamp` apart."""

    def name(self, index: int) -> str:
        """The scan's name, part of a path; unique among those of equal `settings`."""

    def stamp(self, index: int) -> bytes:
        """Changes when a file that the scan is read from does."""


class SimulatedFrames:
    """Simulated scenes, another one for every index.

    Args:
        seed: Of the run; scene ``index`` is drawn from both.
        lidar: Key of ``LIDARS``.
        num_scans: Begin again after so many scenes; None never does.
        full_turn: Scan all around, not only the front half, all that a detector of the camera view
            has in its range.
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
        """Nothing: a scene is read from no file."""
        return b""

    def _place(self, index: int) -> int:
        return index if self._num_scans is None else index % self._num_scans


class KittiFrames:
    """The frames of one split of a KITTI root, over and over.

    Args:
        root: The KITTI root.
        split: Name of a list in ``ImageSets/``.
        camera_view: Crop points to the camera view, the only part of a scan that KITTI labels.
            False is for roots that are labelled all around; those without a camera never are.
        class_names: Names whose index is the label, compared without case; every other type is -1.

    Raises:
        DataError: If the split cannot be read, or the whole turn is wanted of reduced scans.
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
                f"{self.dataset.layout.scans} holds the camera view only; the whole turn needs "
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
