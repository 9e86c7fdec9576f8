# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each condition costs the detector: average precision, and its drop from clean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.calibration import camera_view_mask
from eloss_perception.datasets.kitti.convert import boxes_to_kitti
from eloss_perception.evaluation import EvaluationFrame
from eloss_perception.evaluation.average_precision import MatchedFrames
from eloss_perception.evaluation.health.collect import Collected
from eloss_perception.evaluation.health.frames import CLEAN, FrameSource
from eloss_perception.evaluation.health.statistics import Estimate, estimate
from eloss_perception.health.reference import Condition


@dataclass(frozen=True, slots=True)
class Harm:
    """What one condition does to the detector; AP R40 of cars at IoU 0.5 in percent.

    Attributes:
        ap: Metric -> AP.
        drop: Metric -> how much less than clean, with its interval.
        worst: The larger of the drops.
        resamples: (R,) the larger of the drops in each resample of the frames.
    """

    ap: dict[str, float]
    drop: dict[str, Estimate]
    worst: float
    resamples: NDArray[np.float64]

    def kind(self, dangerous_drop: float, harmless_drop: float) -> str:
        """`dangerous`, `harmless` (no metric lost more than the limit) or the empty text."""
        if self.worst >= dangerous_drop:
            return "dangerous"
        return "harmless" if self.worst <= harmless_drop else ""


def evaluation_frames(
    sources: Sequence[FrameSource], collected: Collected, class_names: Sequence[str]
) -> list[EvaluationFrame]:
    """Return labels and detections of the frames of all sources.

    The detector looked at whole scans. Boxes whose centre the camera does not see are left out:
    nobody labelled what is there.
    """
    frames = []
    starts = np.concatenate([[0], np.cumsum(collected.num_boxes)])
    index = 0
    for source in sources:
        for frame_id in source.frames.ids:
            part = slice(int(starts[index]), int(starts[index + 1]))
            index += 1
            calibration = source.frames.calibration(frame_id)
            boxes, labels = collected.boxes[part], collected.box_labels[part]
            seen = camera_view_mask(boxes, calibration)
            detections = boxes_to_kitti(
                boxes[seen],
                [class_names[label] for label in labels[seen]],
                calibration,
                scores=collected.box_scores[part][seen],
            )
            frames.append(EvaluationFrame(source.frames.objects(frame_id), detections))
    return frames


def measure_harm(
    matched: Mapping[Condition, Mapping[str, MatchedFrames]],
    draws: NDArray[np.int64],
    confidence: float,
) -> dict[Condition, Harm]:
    """Return what each condition costs.

    Args:
        matched: Matched frames of each condition, clean included, by metric.
        draws: (R, F) how often each frame counts in each resample.
        confidence: Share of the resamples in an interval.
    """
    values = {
        c: {m: f.average_precision().ap_r40 for m, f in by.items()} for c, by in matched.items()
    }
    resampled = {
        c: {m: np.array([f.average_precision(w).ap_r40 for w in draws]) for m, f in by.items()}
        for c, by in matched.items()
    }
    harms = {}
    for condition, ap in values.items():
        drops = {m: values[CLEAN][m] - ap[m] for m in ap}
        drawn = {m: resampled[CLEAN][m] - resampled[condition][m] for m in ap}
        harms[condition] = Harm(
            ap=ap,
            drop={m: estimate(drops[m], drawn[m], confidence) for m in ap},
            worst=max(drops.values()),
            resamples=np.max(list(drawn.values()), axis=0),
        )
    return harms


def num_objects(matched: Mapping[str, MatchedFrames]) -> int:
    """Return how many cars count."""
    return int(matched["bev"].objects.sum())
