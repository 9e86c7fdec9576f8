# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where training frames come from: the simulator, or a KITTI root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eloss_perception.kitti.calibration import camera_view_mask
from eloss_perception.kitti.convert import labelled_boxes
from eloss_perception.kitti.dataset import KittiDataset
from eloss_perception.simulation.scene import simulate_scan


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


class SimulatedFrames:
    """An endless source: every index is another simulated scene."""

    def __init__(self, seed: int, lidar: str = "hdl64e") -> None:
        self._seed = seed
        self._lidar = lidar

    def frame(self, index: int) -> Frame:
        """Simulates the front half of scene ``index``, all that the detector's range holds."""
        scene_seed = int(np.random.SeedSequence([self._seed, index]).generate_state(1)[0])
        scan = simulate_scan(scene_seed, self._lidar, azimuth_limits_deg=(-91.0, 91.0))
        return Frame(scan.points, scan.boxes, scan.labels)


class KittiFrames:
    """The frames of one split of a KITTI root, over and over.

    Points are cropped to the camera view, the only part of a scan that KITTI labels.
    """

    def __init__(self, root: Path, split: str) -> None:
        self._dataset = KittiDataset(root, split)

    def frame(self, index: int) -> Frame:
        """Reads frame ``index`` modulo the size of the split."""
        frame_id = self._dataset.ids[index % len(self._dataset.ids)]
        calibration = self._dataset.calibration(frame_id)
        points = self._dataset.points(frame_id)
        points = points[camera_view_mask(points, calibration)]
        labelled = labelled_boxes(self._dataset.objects(frame_id), calibration)
        return Frame(points, labelled.boxes, labelled.labels)
