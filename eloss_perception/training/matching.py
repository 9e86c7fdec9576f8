# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which detection finds which object, by the rules of KITTI's evaluation program."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

# A label or a detection counts, may be matched without counting, or does not exist for the class.
COUNTED, IGNORED, UNSEEN = 0, 1, -1


@numba.njit(nogil=True, cache=True)
def match_detections(
    overlaps: NDArray[np.float64],
    dont_care: NDArray[np.float64],
    label_starts: NDArray[np.int64],
    detection_starts: NDArray[np.int64],
    label_state: NDArray[np.int8],
    detection_state: NDArray[np.int8],
    scores: NDArray[np.float64],
    min_overlap: float,
    threshold: float,
    count_all: bool,
) -> tuple[int, int, NDArray[np.float64]]:
    """Assign detections to labels in the labels' order.

    With `count_all` a label takes the detection that overlaps it most, an ignored one only where no
    counted one fits, and false positives are counted. Without, it takes the one of the highest
    score, which serves to find the scores to sample.

    Args:
        overlaps: The (detections, labels) IoU matrix of each frame, flattened and joined.
        dont_care: (D,) largest share of a detection inside one region to ignore.
        label_starts: (F + 1,) first label of each of F frames, and the end.
        detection_starts: (F + 1,) first detection of each frame, and the end.
        label_state: (G,) state of each label.
        detection_state: (D,) state of each detection.
        scores: (D,) score of each detection.
        min_overlap: A detection fits where its overlap exceeds this.
        threshold: With `count_all`, detections below this score do not exist.
        count_all: Which of the two matchings.

    Returns:
        True positives, false positives and the scores of the true positives.
    """
    assigned = np.zeros(scores.shape[0], dtype=np.bool_)
    found = np.empty(label_state.shape[0])
    tp = 0
    fp = 0
    frame_start = 0
    for frame in range(label_starts.shape[0] - 1):
        first_label, end_label = label_starts[frame], label_starts[frame + 1]
        first, end = detection_starts[frame], detection_starts[frame + 1]
        num_labels = end_label - first_label
        for label in range(first_label, end_label):
            if label_state[label] == UNSEEN:
                continue
            best = -1
            best_value = -np.inf
            best_is_ignored = False
            for j in range(first, end):
                if detection_state[j] == UNSEEN or assigned[j]:
                    continue
                if count_all and scores[j] < threshold:
                    continue
                overlap = overlaps[frame_start + (j - first) * num_labels + label - first_label]
                if not overlap > min_overlap:
                    continue
                if not count_all:
                    if scores[j] > best_value:
                        best, best_value = j, scores[j]
                        best_is_ignored = detection_state[j] == IGNORED
                elif detection_state[j] == COUNTED:
                    if best == -1 or best_is_ignored or overlap > best_value:
                        best, best_value, best_is_ignored = j, overlap, False
                elif best == -1:
                    best, best_is_ignored = j, True
            if best == -1:
                continue
            assigned[best] = True
            if label_state[label] == COUNTED and not best_is_ignored:
                found[tp] = scores[best]
                tp += 1
        if count_all:
            for j in range(first, end):
                if (
                    detection_state[j] == COUNTED
                    and not assigned[j]
                    and scores[j] >= threshold
                    and not dont_care[j] > min_overlap
                ):
                    fp += 1
        frame_start += (end - first) * num_labels
    return tp, fp, found[:tp].copy()
