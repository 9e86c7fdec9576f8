# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision as KITTI's object benchmark defines it.

Follows the rules of the benchmark's own evaluation program: objects too small, occluded or
truncated for a difficulty are ignored, as are those of a neighbouring class; a detection lower than
the difficulty's height is ignored whatever its class; precision is read at up to 41 scores whose
recalls are about 1/40 apart and is made non-increasing. R11 averages every fourth of them (Geiger
et al., CVPR 2012), R40 all but the first (Simonelli et al., "Disentangling Monocular 3D Object
Detection", ICCV 2019, section 5).

`DontCare` regions forgive detections in the image metric alone: they have no 3D box, so that in the
official program too they overlap nothing in bird's-eye view or in space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.boxes import bev_iou, iou_3d
from eloss_perception.errors import DataError
from eloss_perception.kitti.convert import camera_boxes
from eloss_perception.kitti.objects import DONT_CARE, KittiObject
from eloss_perception.training.matching import COUNTED, IGNORED, UNSEEN, match_detections

METRICS = ("image", "bev", "3d")

_NUM_SAMPLES = 41

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


@dataclass(frozen=True, slots=True)
class EvaluationFrame:
    """What a frame holds and what was found in it.

    Attributes:
        labels: The annotated objects, `DontCare` regions included.
        detections: The results, each with a score.
    """

    labels: Sequence[KittiObject]
    detections: Sequence[KittiObject]


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The score of one class by one metric at one difficulty; all AP in percent.

    Attributes:
        ap_r11: Mean precision over 11 samples; NaN without objects.
        ap_r40: Mean precision over 40 samples; NaN without objects.
        ap_exact: Mean precision at the recalls 1/40 to 40/40, each read at the score that first
            reaches it. Equals `ap_r40` for many objects; for fewer than some 100 the official
            sampling is coarse, and below 40 it cannot reach 100.
        ceiling_r11: The `ap_r11` of a perfect detector on this number of objects.
        ceiling_r40: The `ap_r40` of a perfect detector on this number of objects.
        max_recall: Share of the objects that any detection finds, in percent.
        num_objects: Objects that count at this difficulty.
    """

    ap_r11: float
    ap_r40: float
    ap_exact: float
    ceiling_r11: float
    ceiling_r40: float
    max_recall: float
    num_objects: int


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
        labels = [item for frame in frames for item in frame.labels]
        detections = [item for frame in frames for item in frame.detections]
        if any(item.score is None for item in detections):
            raise DataError("a detection has no score: results need the 16th column")
        self._label_types = np.array([item.type.lower() for item in labels], dtype=np.str_)
        self._label_heights = np.array([item.bbox2d[3] - item.bbox2d[1] for item in labels])
        self._occlusion = np.array([item.occlusion for item in labels], dtype=np.int64)
        self._truncation = np.array([item.truncation for item in labels])
        self._detection_types = np.array([item.type.lower() for item in detections], dtype=np.str_)
        self._detection_heights = np.array(
            [abs(item.bbox2d[3] - item.bbox2d[1]) for item in detections]
        )
        self._scores = np.array([item.score for item in detections], dtype=np.float64)
        self._label_starts = _starts([len(frame.labels) for frame in frames])
        self._detection_starts = _starts([len(frame.detections) for frame in frames])
        self._overlaps: dict[str, _Overlaps] = {}

    def average_precision(
        self, class_name: str, metric: str, difficulty: Difficulty, min_overlap: float
    ) -> AveragePrecision:
        """Return the score of a class.

        Args:
            class_name: A KITTI type.
            metric: `image` (2D boxes), `bev` or `3d`.
            difficulty: Which objects count.
            min_overlap: A detection finds an object when their IoU exceeds this.
        """
        overlaps = self._measured(metric)
        label_state = self._label_state(class_name.lower(), difficulty)
        detection_state = self._detection_state(class_name.lower(), difficulty)
        num_objects = int((label_state == COUNTED).sum())
        if num_objects == 0:
            nan = float("nan")
            return AveragePrecision(nan, nan, nan, nan, nan, nan, 0)

        def match(threshold: float, count_all: bool) -> tuple[int, int, NDArray[np.float64]]:
            tp, fp, scores = match_detections(
                overlaps.values,
                overlaps.dont_care,
                self._label_starts,
                self._detection_starts,
                label_state,
                detection_state,
                self._scores,
                min_overlap,
                threshold,
                count_all,
            )
            return tp, fp, scores

        def precision_at(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
            precision = np.zeros(len(thresholds))
            for i, threshold in enumerate(thresholds):
                tp, fp, _ = match(float(threshold), True)
                precision[i] = tp / (tp + fp) if tp else 0.0
            return _non_increasing(precision)

        _, _, found = match(-np.inf, False)
        found = np.sort(found)[::-1]
        sampled = np.zeros(_NUM_SAMPLES)
        thresholds = _sample_thresholds(found, num_objects)
        sampled[: len(thresholds)] = precision_at(thresholds)
        # The rank of the object whose finding reaches each recall k/40, rounded up in integers.
        ranks = -(-np.arange(1, _NUM_SAMPLES) * num_objects // (_NUM_SAMPLES - 1))
        exact = np.zeros(_NUM_SAMPLES - 1)
        reached = ranks <= len(found)
        exact[reached] = precision_at(found[ranks[reached] - 1])

        perfect = np.zeros(_NUM_SAMPLES)
        perfect[: len(_sample_thresholds(np.arange(num_objects, 0.0, -1.0), num_objects))] = 1.0
        return AveragePrecision(
            ap_r11=_mean_r11(sampled),
            ap_r40=_mean_r40(sampled),
            ap_exact=100.0 * float(exact.mean()),
            ceiling_r11=_mean_r11(perfect),
            ceiling_r40=_mean_r40(perfect),
            max_recall=100.0 * len(found) / num_objects,
            num_objects=num_objects,
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
            values = [_frame_overlaps(frame, metric).ravel() for frame in self._frames]
            dont_care = [_dont_care_shares(frame, metric) for frame in self._frames]
            self._overlaps[metric] = _Overlaps(
                np.concatenate([np.zeros(0), *values]), np.concatenate([np.zeros(0), *dont_care])
            )
        return self._overlaps[metric]


def _starts(lengths: list[int]) -> NDArray[np.int64]:
    """Return where each frame's rows start in the joined arrays, and their end."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _frame_overlaps(frame: EvaluationFrame, metric: str) -> NDArray[np.float64]:
    """Return the (detections, labels) IoU matrix of a frame."""
    if metric == "image":
        intersection, area, label_area = _image_intersections(frame.detections, frame.labels)
        union = area[:, None] + label_area[None] - intersection
        return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0.0)
    measure = bev_iou if metric == "bev" else iou_3d
    return measure(camera_boxes(frame.detections), camera_boxes(frame.labels))


def _dont_care_shares(frame: EvaluationFrame, metric: str) -> NDArray[np.float64]:
    """Return for each detection the largest share of its area in one `DontCare` region."""
    shares = np.zeros(len(frame.detections))
    regions = [item for item in frame.labels if item.type.lower() == DONT_CARE.lower()]
    if metric != "image" or not regions:
        return shares
    intersection, area, _ = _image_intersections(frame.detections, regions)
    largest = intersection.max(axis=1)
    return np.divide(largest, area, out=shares, where=area > 0.0)


def _image_intersections(
    a: Sequence[KittiObject], b: Sequence[KittiObject]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the (A, B) intersection areas of 2D boxes [px^2], and the areas (A,) and (B,)."""
    first = np.array([item.bbox2d for item in a]).reshape(-1, 4)
    second = np.array([item.bbox2d for item in b]).reshape(-1, 4)
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.prod(np.clip(end - start, 0.0, None), axis=2)
    first_area: NDArray[np.float64] = np.prod(first[:, 2:] - first[:, :2], axis=1)
    second_area: NDArray[np.float64] = np.prod(second[:, 2:] - second[:, :2], axis=1)
    return intersection, first_area, second_area


def _sample_thresholds(found: NDArray[np.float64], num_objects: int) -> NDArray[np.float64]:
    """Pick from descending scores those whose recalls come nearest to 0, 1/40, 2/40, ..."""
    thresholds: list[float] = []
    last = len(found) - 1
    # Summed up as the official program does: where two scores come equally near, which for a
    # multiple of four objects they often do, the rounding of this sum decides.
    recall = 0.0
    for rank, score in enumerate(found):
        here, following = (rank + 1) / num_objects, (rank + 2) / num_objects
        # Skip a score while the next one comes nearer; the last one is always taken.
        if rank < last and following - recall < recall - here:
            continue
        thresholds.append(float(score))
        recall += 1.0 / (_NUM_SAMPLES - 1.0)
    return np.array(thresholds[:_NUM_SAMPLES])


def _non_increasing(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at each index the largest value from there on."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def _mean_r11(precision: NDArray[np.float64]) -> float:
    return 100.0 * float(precision[::4].mean())


def _mean_r40(precision: NDArray[np.float64]) -> float:
    return 100.0 * float(precision[1:].mean())
