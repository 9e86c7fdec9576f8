# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles of known disturbances: simulated drives, corrupted in every way, read by a network.

Also the other way round: clean drives, read by damaged copies of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from eloss_perception.calibration.network_faults import profile_faults, write_damaged
from eloss_perception.datasets.kitti.calibration import Calibration, camera_view_mask
from eloss_perception.datasets.kitti.convert import boxes_to_kitti
from eloss_perception.evaluation import EvaluationFrame, match_cars
from eloss_perception.evaluation.criteria import EVALUATION_SCORE
from eloss_perception.health.fit import Condition, ProfileReadings
from eloss_perception.health.words import NETWORK_FAULT
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import ONNX_NAME, Bundle
from eloss_perception.runtime.detector import Detections, DetectionThresholds, Detector
from eloss_perception.simulation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from eloss_perception.simulation.drive import DriveFrame, kitti_labels, simulate_drive

Points = npt.NDArray[np.float32]
Readings = npt.NDArray[np.float64]

# Streets that neither training nor export parity uses.
_DRIVE_SEED = 780_000
# Clean frames before the last one, which is corrupted.
NUM_BEFORE = 6


def profile_conditions() -> list[Condition]:
    """Every corruption and severity that a single scan can show."""
    return [
        (name, severity)
        for name, corruption in CORRUPTIONS.items()
        if not corruption.needs_previous
        for severity in (SEVERITIES if corruption.has_degree else SEVERITIES[-1:])
    ]


def num_profile_scans(num_layers: int, num_drives: int) -> int:
    """Scans that :func:`collect_profiles` reads."""
    num_conditions = len(profile_conditions()) + len(profile_faults(num_layers))
    return num_drives * (NUM_BEFORE + 1 + num_conditions)


def collect_profiles(
    bundle: Bundle,
    num_drives: int,
    backend: str = "onnxruntime_cpu",
    num_threads: int = 2,
    progress: Callable[[int], None] = lambda num_scans: None,
) -> ProfileReadings:
    """Reads the last frame of short simulated drives, clean, corrupted, and by damaged networks.

    Args:
        bundle: The network.
        num_drives: D drives, each down another street.
        backend: What runs the network.
        num_threads: Its CPU threads.
        progress: Called with the number of scans read so far, of :func:`num_profile_scans`.
    """
    reader = _Reader(bundle, backend, num_threads, progress)
    before: list[Readings] = []
    last_frames: list[DriveFrame] = []
    for index in range(num_drives):
        *history, last = simulate_drive(_DRIVE_SEED + index, NUM_BEFORE + 1)
        before.append(np.mean([reader.detect(f.scan.points).readings for f in history], axis=0))
        last_frames.append(last)
    clean, precision = reader.read(last_frames, lambda points, index: points)
    corrupted: dict[Condition, Readings] = {}
    harm: dict[Condition, float] = {}

    def add(condition: Condition, readings: Readings, found: Readings) -> None:
        # A damaged network may answer NaN, which needs no profile.
        if np.isfinite(readings).all():
            corrupted[condition] = readings
            harm[condition] = float(np.max(precision - found))

    for name, severity in profile_conditions():
        disturbed = partial(_corrupted, name=name, severity=severity)
        add((name, severity), *reader.read(last_frames, disturbed))
    with TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_NAME
        for number, fault in enumerate(profile_faults(len(bundle.facts.layer_names)), 1):
            write_damaged(bundle.onnx_path, fault, path)
            reader.use(path)
            add((NETWORK_FAULT, number), *reader.read(last_frames, lambda points, index: points))
    return ProfileReadings(np.array(before), clean, corrupted, harm)


def _corrupted(points: Points, index: int, name: str, severity: int) -> Points:
    return corrupt(points, name, severity, seed=index)


class _Reader:
    """A network that counts the scans it reads."""

    def __init__(
        self, bundle: Bundle, backend: str, num_threads: int, progress: Callable[[int], None]
    ) -> None:
        self._backend = backend
        self._settings = BackendSettings(num_threads=num_threads)
        # As AP is judged: with the weak boxes.
        thresholds = DetectionThresholds(score=EVALUATION_SCORE)
        self._detector = Detector(bundle, backend, self._settings, thresholds)
        self._progress = progress
        self._num_scans = 0

    def use(self, onnx_path: Path) -> None:
        """Goes on with another network of the same shape."""
        self._detector.backend = load_backend(
            self._backend, onnx_path, self._detector.grid, self._settings
        )

    def detect(self, points: Points) -> Detections:
        """Reads one scan."""
        detections = self._detector.detect(points)
        self._num_scans += 1
        self._progress(self._num_scans)
        return detections

    def read(
        self, frames: list[DriveFrame], disturbed: Callable[[Points, int], Points]
    ) -> tuple[Readings, Readings]:
        """Readings (D, R) of disturbed frames, and (2,) their AP, see :func:`_precision`."""
        calibration = Calibration.synthetic()
        rows, judged = [], []
        for index, frame in enumerate(frames):
            detections = self.detect(disturbed(frame.scan.points, index))
            rows.append(detections.readings)
            class_names = self._detector.class_names
            judged.append(_labelled(frame, detections, class_names, calibration))
        return np.array(rows), _precision(judged)


def _labelled(
    frame: DriveFrame,
    detections: Detections,
    class_names: tuple[str, ...],
    calibration: Calibration,
) -> EvaluationFrame:
    """A frame's labels and detections, as far as the simulated camera sees them."""
    boxes = detections.boxes
    seen = camera_view_mask(boxes.boxes, calibration)
    results = boxes_to_kitti(
        boxes.boxes[seen],
        [class_names[label] for label in boxes.labels[seen]],
        calibration,
        scores=boxes.scores[seen],
    )
    return EvaluationFrame(kitti_labels(frame.scan, calibration), results)


def _precision(frames: list[EvaluationFrame]) -> npt.NDArray[np.float64]:
    """(2,) AP R40 of cars in bird's-eye view and in space, in percent."""
    matched = match_cars(frames)
    return np.array([matched[metric].average_precision().ap_r40 for metric in ("bev", "3d")])
