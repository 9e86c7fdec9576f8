# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much detections overlap labels, and which detection finds which object by KITTI's rules.

A frame's matching depends on no other frame. So each frame is matched once at each of its own
scores, and what changes there is kept as a step: sums of steps give the counts at any threshold
over any frames, each counted as often as one likes (`average_precision.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.convert import camera_boxes
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.detection.boxes import bev_iou, iou_3d
from eloss_perception.detection.compiled import njit

METRICS = ("image", "bev", "3d")


@dataclass(frozen=True, slots=True)
class EvaluationFrame:
    """What a frame holds and what was found in it.

    Attributes:
        labels: The annotated objects, `DontCare` regions included.
        detections: The results, each with a score.
        has_image: Whether 2D boxes mean something; without a camera 3D boxes alone are judged.
    """

    labels: Sequence[KittiObject]
    detections: Sequence[KittiObject]
    has_image: bool = True


def frame_overlaps(frame: EvaluationFrame, metric: str) -> NDArray[np.float64]:
    """Return the (detections, labels) IoU matrix of a frame by one of `METRICS`."""
    if metric == "image":
        intersection, area, label_area = _image_intersections(frame.detections, frame.labels)
        union = area[:, None] + label_area[None] - intersection
        return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0.0)
    measure = bev_iou if metric == "bev" else iou_3d
    return measure(camera_boxes(frame.detections), camera_boxes(frame.labels))


def dont_care_shares(frame: EvaluationFrame, metric: str) -> NDArray[np.float64]:
    """Return for each detection the largest share of its area in one `DontCare` region.

    Zero but in the image: the regions have no 3D box, so that in the official program too they
    overlap nothing in bird's-eye view or in space.
    """
    shares = np.zeros(len(frame.detections))
    regions = [item for item in frame.labels if item.is_dont_care]
    if metric != "image" or not regions:
        return shares
    intersection, area, _ = _image_intersections(frame.detections, regions)
    largest = intersection.max(axis=1)
    np.divide(largest, area, out=shares, where=area > 0.0)
    return shares


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


# A label or a detection counts, may be matched without counting, or does not exist for the class.
COUNTED, IGNORED, UNSEEN = 0, 1, -1


class MatchingProblem(NamedTuple):
    """The labels and detections of all frames, joined, as one class and difficulty sees them.

    Attributes:
        overlaps: The (detections, labels) IoU matrix of each frame, flattened and joined.
        label_starts: (F + 1,) int64 first label of each of F frames, and the end.
        detection_starts: (F + 1,) int64 first detection of each frame, and the end.
        label_state: (G,) int8 state of each label.
        detection_state: (D,) int8 state of each detection.
        scores: (D,) float64 score of each detection.
        forgiven: (D,) bool; such a detection is not false where it finds nothing.
        min_overlap: A detection fits where its overlap exceeds this.
    """

    overlaps: NDArray[np.float64]
    label_starts: NDArray[np.int64]
    detection_starts: NDArray[np.int64]
    label_state: NDArray[np.int8]
    detection_state: NDArray[np.int8]
    scores: NDArray[np.float64]
    forgiven: NDArray[np.bool_]
    min_overlap: float


@njit
def count_steps(
    problem: MatchingProblem,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
]:
    """Match every frame at each of its scores.

    Returns:
        (N,) scores of the objects found by the highest score, (N,) their frames; and of each step
        (S,) its score, (S,) its frame, (S,) the change of true positives when the threshold falls
        to this score, (S,) that of false positives.
    """
    num_detections = problem.scores.shape[0]
    num_labels = problem.label_state.shape[0]
    partners = np.empty(num_labels, dtype=np.int64)
    taken = np.empty(num_detections, dtype=np.bool_)
    found_scores = np.empty(num_labels)
    found_frames = np.empty(num_labels, dtype=np.int64)
    step_scores = np.empty(num_detections)
    step_frames = np.empty(num_detections, dtype=np.int64)
    true_changes = np.empty(num_detections, dtype=np.int64)
    false_changes = np.empty(num_detections, dtype=np.int64)
    num_found = 0
    num_steps = 0
    offset = 0
    for frame in range(problem.label_starts.shape[0] - 1):
        first, end = problem.detection_starts[frame], problem.detection_starts[frame + 1]
        start, stop = problem.label_starts[frame], problem.label_starts[frame + 1]
        _match_frame(problem, frame, offset, -np.inf, True, partners, taken)
        for label in range(start, stop):
            if _is_true(problem, partners, label):
                found_scores[num_found] = problem.scores[partners[label]]
                found_frames[num_found] = frame
                num_found += 1
        last_true = 0
        last_false = 0
        seen = problem.detection_state[first:end] != UNSEEN
        for threshold in np.unique(problem.scores[first:end][seen])[::-1]:
            _match_frame(problem, frame, offset, threshold, False, partners, taken)
            num_true = 0
            for label in range(start, stop):
                num_true += _is_true(problem, partners, label)
            num_false = 0
            for j in range(first, end):
                num_false += _is_false(problem, taken, j, threshold)
            if num_true != last_true or num_false != last_false:
                step_scores[num_steps] = threshold
                step_frames[num_steps] = frame
                true_changes[num_steps] = num_true - last_true
                false_changes[num_steps] = num_false - last_false
                num_steps += 1
                last_true, last_false = num_true, num_false
        offset += (end - first) * (stop - start)
    return (
        found_scores[:num_found].copy(),
        found_frames[:num_found].copy(),
        step_scores[:num_steps].copy(),
        step_frames[:num_steps].copy(),
        true_changes[:num_steps].copy(),
        false_changes[:num_steps].copy(),
    )


@njit
def match_at(
    problem: MatchingProblem, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Match all frames at one threshold.

    Returns:
        (G,) the detection that finds each label, ignored ones included, or -1; (D,) which
        detections are false.
    """
    partners = np.full(problem.label_state.shape[0], -1, dtype=np.int64)
    taken = np.zeros(problem.scores.shape[0], dtype=np.bool_)
    false = np.zeros(problem.scores.shape[0], dtype=np.bool_)
    offset = 0
    for frame in range(problem.label_starts.shape[0] - 1):
        first, end = problem.detection_starts[frame], problem.detection_starts[frame + 1]
        _match_frame(problem, frame, offset, threshold, False, partners, taken)
        for j in range(first, end):
            false[j] = _is_false(problem, taken, j, threshold)
        num_labels = problem.label_starts[frame + 1] - problem.label_starts[frame]
        offset += (end - first) * num_labels
    return partners, false


@njit
def _match_frame(
    problem: MatchingProblem,
    frame: int,
    offset: int,
    threshold: float,
    by_score: bool,
    partners: NDArray[np.int64],
    taken: NDArray[np.bool_],
) -> None:
    """Assign a frame's detections to its labels, in the labels' order; fills its part of both.

    A label takes the detection that overlaps it most, one that is ignored only where no counted
    one fits; with `by_score` the one of the highest score, which serves to find the scores at
    which precision is read.
    """
    first, end = problem.detection_starts[frame], problem.detection_starts[frame + 1]
    start, stop = problem.label_starts[frame], problem.label_starts[frame + 1]
    partners[start:stop] = -1
    taken[first:end] = False
    for label in range(start, stop):
        if problem.label_state[label] == UNSEEN:
            continue
        best = -1
        best_value = -np.inf
        best_is_ignored = False
        for j in range(first, end):
            state = problem.detection_state[j]
            if state == UNSEEN or taken[j] or problem.scores[j] < threshold:
                continue
            overlap = problem.overlaps[offset + (j - first) * (stop - start) + label - start]
            if not overlap > problem.min_overlap:
                continue
            if by_score:
                if problem.scores[j] > best_value:
                    best, best_value = j, problem.scores[j]
            elif state == COUNTED:
                if best == -1 or best_is_ignored or overlap > best_value:
                    best, best_value, best_is_ignored = j, overlap, False
            elif best == -1:
                best, best_is_ignored = j, True
        if best != -1:
            partners[label] = best
            taken[best] = True


@njit
def _is_true(problem: MatchingProblem, partners: NDArray[np.int64], label: int) -> bool:
    """Return whether a label counts as found by a detection that counts."""
    partner = partners[label]
    if partner == -1 or problem.label_state[label] != COUNTED:
        return False
    counted: bool = problem.detection_state[partner] == COUNTED
    return counted


@njit
def _is_false(problem: MatchingProblem, taken: NDArray[np.bool_], j: int, threshold: float) -> bool:
    """Return whether a detection counts, exists and finds nothing."""
    return not (
        problem.detection_state[j] != COUNTED
        or taken[j]
        or problem.scores[j] < threshold
        or problem.forgiven[j]
    )
