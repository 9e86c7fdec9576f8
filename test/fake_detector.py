# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A detector without a network, for tests of what is around it: same methods, known answers."""

from __future__ import annotations

import threading
import time
import zlib
from pathlib import Path

import numpy as np
from health_reference_factory import clean_readings, disturbed_readings, make_reference
from numpy.typing import NDArray

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import PointCounts, pillarize
from eloss_perception.health.recent_frames import sector_fingerprints
from eloss_perception.health.reference import HealthReference
from eloss_perception.runtime.detector import Detections, DetectionThresholds, StageTimings

GRID = PillarGrid(
    point_cloud_range=(0.0, -40.96, -3.0, 81.92, 40.96, 1.0),
    voxel_size=(0.32, 0.32),
    max_pillars=12000,
    max_points_per_pillar=20,
)
REFERENCE = make_reference()


class FakeBundle:
    """What the node reads of a bundle."""

    path = Path("/nowhere/fake")
    grid = GRID
    class_names = ("Car", "Pedestrian", "Cyclist")

    def require_health(self) -> HealthReference:
        """The reference above."""
        return REFERENCE


class FakeBackend:
    """What the node reads of a backend."""

    description = "no network"

    def close(self) -> None:
        """Nothing to free."""


class FakeDetector:
    """Puts a car at the first point in range, if there is one.

    Attributes:
        delay_s: How long a frame takes.
        error: Raised by the next frames, where set.
        num_frames: Frames given.
        started: Set when a frame begins.
        gate: Where cleared, a frame takes until it is set again.
        disturbance: What the readings look like, one of those that the reference knows; empty for
            clean ones.
    """

    def __init__(self, thresholds: DetectionThresholds | None = None) -> None:
        self.bundle = FakeBundle()
        self.grid = GRID
        self.class_names = self.bundle.class_names
        self.backend = FakeBackend()
        self.thresholds = thresholds or DetectionThresholds()
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.num_frames = 0
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.disturbance = ""

    def detect(self, points: NDArray[np.float32]) -> Detections:
        """Counts with the real pillarizer; the rest is a function of the first point."""
        self.num_frames += 1
        self.started.set()
        if self.delay_s:
            time.sleep(self.delay_s)
        self.gate.wait(60.0)
        if self.error is not None:
            raise self.error
        pillars = pillarize(points, GRID)
        return Detections(
            self._boxes(points, pillars.counts),
            self._readings(points),
            sector_fingerprints(points),
            pillars.counts,
            StageTimings(1.0, 2.0, 0.5, 0.25),
        )

    def close(self) -> None:
        """Frees the backend."""
        self.backend.close()

    def _readings(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same for the same points, and for no others, as those of a real detector."""
        seed = zlib.crc32(np.ascontiguousarray(points).tobytes())
        if self.disturbance:
            return disturbed_readings(REFERENCE, self.disturbance, seed)
        return clean_readings(REFERENCE, seed)

    def _boxes(self, points: NDArray[np.float32], counts: PointCounts) -> Boxes3D:
        if counts.num_points == 0 or self.thresholds.class_score.get("Car", 0.0) > 0.9:
            return Boxes3D.empty()
        low, high = np.array(GRID.point_cloud_range[:3]), np.array(GRID.point_cloud_range[3:])
        with np.errstate(invalid="ignore"):
            inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)
        first = points[np.flatnonzero(inside)[0]]
        box = np.array([[*first[:3], 3.9, 1.6, 1.5, 0.5]], np.float32)
        return Boxes3D(box, np.array([0.9], np.float32), np.array([0]))
