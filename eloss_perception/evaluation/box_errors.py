# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far the boxes of found objects are off, parameter by parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.convert import camera_boxes
from eloss_perception.detection.boxes import wrap_angle
from eloss_perception.evaluation.evaluator import Difficulty, PrecisionEvaluator
from eloss_perception.evaluation.matching import COUNTED, match_at

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
