# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each frame has found, missed and false, and how far found boxes are off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.convert import camera_boxes
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.detection.boxes import wrap_angle
from eloss_perception.evaluation.criteria import min_overlaps
from eloss_perception.evaluation.evaluator import DIFFICULTIES, Difficulty, PrecisionEvaluator
from eloss_perception.evaluation.matching import COUNTED, EvaluationFrame, match_at


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """One frame at the detector's best threshold of each class.

    Attributes:
        found: Detections of objects that count.
        false: Detections of nothing.
        missed: Labels that count and were not found.
        ignored: Labels of the classes that do not count, found or not.
    """

    found: list[KittiObject] = field(default_factory=list)
    false: list[KittiObject] = field(default_factory=list)
    missed: list[KittiObject] = field(default_factory=list)
    ignored: list[KittiObject] = field(default_factory=list)

    @property
    def num_errors(self) -> int:
        """Misses and false detections."""
        return len(self.missed) + len(self.false)


def frame_outcomes(
    frames: Sequence[EvaluationFrame], class_names: Sequence[str], difficulty: str = "moderate"
) -> tuple[list[FrameOutcome], dict[str, float]]:
    """Return what became of each frame, seen from above at the loose overlap.

    Args:
        frames: Labels and scored detections.
        class_names: Classes to evaluate.
        difficulty: Which objects count: a key of `DIFFICULTIES`.

    Returns:
        The outcome of each frame, and of each class the threshold of the greatest F1 over all
        frames, at which detections are taken for such; infinite for a class never detected.
    """
    evaluator = PrecisionEvaluator(frames)
    outcomes = [FrameOutcome() for _ in frames]
    label_frames = _frames_of(evaluator.label_starts)
    detection_frames = _frames_of(evaluator.detection_starts)
    thresholds = {}
    for class_name in class_names:
        asked = (class_name, "bev", DIFFICULTIES[difficulty], min_overlaps(class_name)["loose"])
        threshold = evaluator.match(*asked).precision_recall().best_threshold()
        thresholds[class_name] = threshold
        problem = evaluator.problem(*asked)
        partners, false = match_at(problem, threshold)
        own = [item.type.lower() == class_name.lower() for item in evaluator.labels]
        for i in np.flatnonzero(own):
            outcome, label = outcomes[label_frames[i]], evaluator.labels[i]
            partner = partners[i]
            if problem.label_state[i] != COUNTED:
                outcome.ignored.append(label)
            elif partner >= 0 and problem.detection_state[partner] == COUNTED:
                outcome.found.append(evaluator.detections[partner])
            else:
                outcome.missed.append(label)
        for j in np.flatnonzero(false):
            outcomes[detection_frames[j]].false.append(evaluator.detections[j])
    return outcomes, thresholds


def _frames_of(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the frame of each row of the joined arrays."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


PARAMETERS = ("x", "y", "z", "length", "width", "height", "yaw")


@dataclass(frozen=True, slots=True)
class BoxErrors:
    """Errors of the true positives of a class, detected minus labelled [m, rad].

    In the camera's place with x forward, y left and z up; z is that of the box's centre. Yaw is
    that of the box's axis, in [-pi/2, pi/2): a box the wrong way round has no error in it.

    Attributes:
        num_objects: True positives.
        median: Signed, by parameter: what is systematically off.
        mae: Mean of the absolute value, by parameter.
        reversed_heading: Share of the boxes that point the other way.
    """

    num_objects: int
    median: dict[str, float]
    mae: dict[str, float]
    reversed_heading: float


def box_errors(
    evaluator: PrecisionEvaluator, class_name: str, difficulty: Difficulty, min_overlap: float
) -> BoxErrors:
    """Return the errors of all objects that are found, whatever the score.

    Args:
        evaluator: The frames.
        class_name: `Car`, `Pedestrian` or `Cyclist`.
        difficulty: Which objects count.
        min_overlap: Least IoU seen from above; a low one lets the bad boxes be seen.
    """
    problem = evaluator.problem(class_name, "bev", difficulty, min_overlap)
    partners, _ = match_at(problem, -np.inf)
    is_true = (partners >= 0) & (problem.label_state == COUNTED)
    # A detection too low to count finds nothing that counts.
    is_true[is_true] = problem.detection_state[partners[is_true]] == COUNTED
    if not is_true.any():
        nan = dict.fromkeys(PARAMETERS, float("nan"))
        return BoxErrors(0, nan, dict(nan), float("nan"))
    labels = camera_boxes([evaluator.labels[i] for i in np.flatnonzero(is_true)])
    detections = camera_boxes([evaluator.detections[j] for j in partners[is_true]])
    return _errors(labels, detections)


def _errors(labels: NDArray[np.float64], detections: NDArray[np.float64]) -> BoxErrors:
    """Return the errors of (N, 7) detections of (N, 7) labels, N > 0."""
    errors = detections - labels
    turned = wrap_angle(errors[:, 6])
    errors[:, 6] = np.mod(turned + 0.5 * math.pi, math.pi) - 0.5 * math.pi
    return BoxErrors(
        num_objects=len(labels),
        median=dict(zip(PARAMETERS, np.median(errors, axis=0).tolist(), strict=True)),
        mae=dict(zip(PARAMETERS, np.abs(errors).mean(axis=0).tolist(), strict=True)),
        reversed_heading=float((np.abs(turned) > 0.5 * math.pi).mean()),
    )
