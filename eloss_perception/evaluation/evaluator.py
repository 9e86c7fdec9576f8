# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which labels and detections count for a class, and their matching.

Follows the rules of the benchmark's own program: objects too small, occluded or truncated for a
difficulty are ignored, as are those of a neighbouring class; a detection lower than the
difficulty's height is ignored whatever its class; `DontCare` regions forgive in the image alone.
Where there is no image, no height is asked for: occlusion and truncation alone decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.errors import DataError
from eloss_perception.evaluation.average_precision import AveragePrecision, MatchedFrames
from eloss_perception.evaluation.criteria import MIN_OVERLAPS
from eloss_perception.evaluation.matching import (
    COUNTED,
    IGNORED,
    METRICS,
    UNSEEN,
    EvaluationFrame,
    MatchingProblem,
    count_steps,
    dont_care_shares,
    frame_overlaps,
)

_NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}


class Difficulty(NamedTuple):
    """Which objects count: higher than this [px], at most so occluded and truncated."""

    min_height: float
    max_occlusion: int
    max_truncation: float


DIFFICULTIES = {
    "easy": Difficulty(40.0, 0, 0.15),
    "moderate": Difficulty(25.0, 1, 0.3),
    "hard": Difficulty(25.0, 2, 0.5),
}


class DistanceBin(NamedTuple):
    """Distances on the ground from the camera, `near` included [m].

    An object belongs to the bin of its own distance; labels in other bins are ignored: they may be
    found, and neither that nor their being missed counts. A detection that finds nothing belongs to
    the bin of its own distance, so that each false one counts in one bin.
    """

    near: float
    far: float

    def holds(self, distance: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of (N,) distances [m] are in the bin."""
        inside: NDArray[np.bool_] = (distance >= self.near) & (distance < self.far)
        return inside


class _Overlaps(NamedTuple):
    """One metric on all frames: the (detections, labels) matrix of each, flattened and joined."""

    values: NDArray[np.float64]
    dont_care: NDArray[np.float64]  # (D,) largest share of a detection in a DontCare region


class PrecisionEvaluator:
    """Evaluates one set of frames; overlaps are measured once a metric.

    Args:
        frames: Labels and detections of each frame.

    Raises:
        DataError: If a detection has no score.
    """

    def __init__(self, frames: Sequence[EvaluationFrame]) -> None:
        self._frames = frames
        self.labels = [item for frame in frames for item in frame.labels]
        self.detections = [item for frame in frames for item in frame.detections]
        scores = [item.score for item in self.detections]
        if any(score is None for score in scores):
            raise DataError("a detection has no score: results need the 16th column")
        self._scores = np.array(scores, dtype=np.float64)
        self._label_types = _types(self.labels)
        self._label_heights = _heights([(frame, frame.labels) for frame in frames])
        self._label_distances = _distances(self.labels)
        self._occlusion = np.array([item.occlusion for item in self.labels], dtype=np.int64)
        self._truncation = np.array([item.truncation for item in self.labels])
        self._detection_types = _types(self.detections)
        self._detection_heights = np.abs(_heights([(frame, frame.detections) for frame in frames]))
        self._detection_distances = _distances(self.detections)
        self.label_starts = _starts([len(frame.labels) for frame in frames])
        self.detection_starts = _starts([len(frame.detections) for frame in frames])
        self._overlaps: dict[str, _Overlaps] = {}

    def average_precision(
        self, class_name: str, metric: str, difficulty: Difficulty, min_overlap: float
    ) -> AveragePrecision:
        """Return the score of a class; see `problem`."""
        return self.match(class_name, metric, difficulty, min_overlap).average_precision()

    def match(
        self,
        class_name: str,
        metric: str,
        difficulty: Difficulty,
        min_overlap: float,
        distances: DistanceBin | None = None,
    ) -> MatchedFrames:
        """Match the frames at all scores; see `problem`."""
        problem = self.problem(class_name, metric, difficulty, min_overlap, distances)
        found, found_frames, steps, step_frames, true, false = count_steps(problem)
        order = np.argsort(-found, kind="stable")
        step_order = np.argsort(-steps, kind="stable")
        counted = np.concatenate([[0], np.cumsum(problem.label_state == COUNTED)])
        return MatchedFrames(
            found[order],
            found_frames[order],
            steps[step_order],
            step_frames[step_order],
            true[step_order],
            false[step_order],
            np.diff(counted[self.label_starts]).astype(np.int64),
        )

    def problem(
        self,
        class_name: str,
        metric: str,
        difficulty: Difficulty,
        min_overlap: float,
        distances: DistanceBin | None = None,
    ) -> MatchingProblem:
        """Return the labels and detections as a class sees them.

        Args:
            class_name: `Car`, `Pedestrian` or `Cyclist`.
            metric: One of `METRICS`.
            difficulty: Which objects count.
            min_overlap: A detection finds an object when their IoU exceeds this.
            distances: Evaluate objects at these distances alone.
        """
        overlaps = self._measured(metric)
        forgiven = overlaps.dont_care > min_overlap
        label_state = self._label_state(class_name.lower(), difficulty)
        if distances is not None:
            elsewhere = ~distances.holds(self._label_distances)
            label_state[elsewhere & (label_state == COUNTED)] = IGNORED
            forgiven |= ~distances.holds(self._detection_distances)
        return MatchingProblem(
            overlaps.values,
            self.label_starts,
            self.detection_starts,
            label_state,
            self._detection_state(class_name.lower(), difficulty),
            self._scores,
            forgiven,
            min_overlap,
        )

    def _label_state(self, class_name: str, difficulty: Difficulty) -> NDArray[np.int8]:
        """Return for each label whether it counts, is ignored or does not exist for a class."""
        own = self._label_types == class_name
        hidden = (
            (self._occlusion > difficulty.max_occlusion)
            | (self._truncation > difficulty.max_truncation)
            # Exactly the least height is too low since the program's version of 2017.
            | (self._label_heights <= difficulty.min_height)
        )
        neighbour = self._label_types == _NEIGHBOURS.get(class_name, "")
        state = np.full(len(own), UNSEEN, dtype=np.int8)
        state[neighbour | (own & hidden)] = IGNORED
        state[own & ~hidden] = COUNTED
        return state

    def _detection_state(self, class_name: str, difficulty: Difficulty) -> NDArray[np.int8]:
        """Return for each detection whether it counts, is ignored or does not exist for a class."""
        state = np.full(len(self._scores), UNSEEN, dtype=np.int8)
        state[self._detection_types == class_name] = COUNTED
        # The official program asks for the height before the class, so that a low detection of
        # any class may cover an object without counting.
        state[self._detection_heights < difficulty.min_height] = IGNORED
        return state

    def _measured(self, metric: str) -> _Overlaps:
        """Return the overlaps by a metric, measured at the first request."""
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}, must be one of {', '.join(METRICS)}")
        if metric not in self._overlaps:
            values = [frame_overlaps(frame, metric).ravel() for frame in self._frames]
            dont_care = [dont_care_shares(frame, metric) for frame in self._frames]
            self._overlaps[metric] = _Overlaps(
                np.concatenate([np.zeros(0), *values]), np.concatenate([np.zeros(0), *dont_care])
            )
        return self._overlaps[metric]


def _starts(lengths: list[int]) -> NDArray[np.int64]:
    """Return where each frame's rows start in the joined arrays, and their end."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _types(objects: Sequence[KittiObject]) -> NDArray[np.str_]:
    """Return the types in lower case: the official program compares without case."""
    return np.array([item.type.lower() for item in objects], dtype=np.str_)


def _heights(
    groups: Sequence[tuple[EvaluationFrame, Sequence[KittiObject]]],
) -> NDArray[np.float64]:
    """Return the heights of the 2D boxes [px]; infinite where there is no image."""
    heights = [
        item.bbox2d[3] - item.bbox2d[1] if frame.has_image else math.inf
        for frame, objects in groups
        for item in objects
    ]
    return np.array(heights, dtype=np.float64)


def _distances(objects: Sequence[KittiObject]) -> NDArray[np.float64]:
    """Return distances on the ground from the camera [m]; far for an object without a 3D box."""
    distances = [
        math.hypot(item.location[0], item.location[2]) if item.has_box else math.inf
        for item in objects
    ]
    return np.array(distances, dtype=np.float64)


def match_cars(frames: Sequence[EvaluationFrame]) -> dict[str, MatchedFrames]:
    """Return moderate cars matched at the loose overlap, from above (`bev`) and in space (`3d`)."""
    evaluator = PrecisionEvaluator(frames)
    overlap = MIN_OVERLAPS["loose"]["Car"]
    return {
        metric: evaluator.match("Car", metric, DIFFICULTIES["moderate"], overlap)
        for metric in ("bev", "3d")
    }
