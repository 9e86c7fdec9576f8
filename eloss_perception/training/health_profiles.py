# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles of known disturbances: simulated drives, corrupted in every way, read by a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eloss_perception.kitti.calibration import Calibration, camera_view_mask
from eloss_perception.kitti.convert import boxes_to_kitti
from eloss_perception.runtime.detector import Detections, Detector
from eloss_perception.simulation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from eloss_perception.simulation.drive import DriveFrame, simulate_drive
from eloss_perception.simulation.kitti_labels import kitti_labels
from eloss_perception.training.evaluation import EvaluationFrame
from eloss_perception.training.health_benchmark.harm import match_cars
from eloss_perception.training.health_fit import Condition, ProfileReadings

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


def collect_profiles(
    detector: Detector,
    num_drives: int,
    progress: Callable[[int, int], None] | None = None,
) -> ProfileReadings:
    """Reads the last frame of short simulated drives, clean and under every corruption.

    Args:
        detector: The network, with its grid.
        num_drives: D drives, each down another street.
        progress: Called with the number of drives done and of all.
    """
    conditions = profile_conditions()
    calibration = Calibration.synthetic()
    before: list[npt.NDArray[np.float64]] = []
    clean: list[npt.NDArray[np.float64]] = []
    corrupted: dict[Condition, list[npt.NDArray[np.float64]]] = {c: [] for c in conditions}
    found: dict[Condition | None, list[EvaluationFrame]] = {c: [] for c in (None, *conditions)}
    for index in range(num_drives):
        frames = list(simulate_drive(_DRIVE_SEED + index, NUM_BEFORE + 1))
        history = [detector.detect(frame.scan.points).readings for frame in frames[:-1]]
        before.append(np.mean(history, axis=0))
        last, previous = frames[-1], frames[-2].scan.points
        detections = detector.detect(last.scan.points)
        clean.append(detections.readings)
        found[None].append(_labelled(last, detections, detector.class_names, calibration))
        for condition in conditions:
            name, severity = condition
            points = corrupt(last.scan.points, name, severity, index, previous)
            detections = detector.detect(points)
            corrupted[condition].append(detections.readings)
            found[condition].append(_labelled(last, detections, detector.class_names, calibration))
        if progress is not None:
            progress(index + 1, num_drives)
    precision = {condition: _precision(frames) for condition, frames in found.items()}
    return ProfileReadings(
        before=np.array(before),
        clean=np.array(clean),
        corrupted={condition: np.array(rows) for condition, rows in corrupted.items()},
        harm={c: float(np.max(precision[None] - precision[c])) for c in conditions},
    )


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
