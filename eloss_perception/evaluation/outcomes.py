# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What became of each object and each detection of a frame: to see where a detector fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.evaluation.evaluator import DIFFICULTIES, PrecisionEvaluator
from eloss_perception.evaluation.matching import COUNTED, match_at
from eloss_perception.evaluation.overlaps import EvaluationFrame
from eloss_perception.evaluation.settings import min_overlaps


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
