# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision as KITTI's object benchmark defines it, from matched frames.

Precision is read at up to 41 scores whose recalls are about 1/40 apart and is made non-increasing.
R11 averages every fourth of them (Geiger et al., CVPR 2012), R40 all but the first (Simonelli et
al., "Disentangling Monocular 3D Object Detection", ICCV 2019, section 5). Equal to what the
benchmark's own program gives (test/test_devkit_agreement.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.compiled import njit
from eloss_perception.interrupts import check_interrupt

_NUM_SAMPLES = 41


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


class PrecisionRecall(NamedTuple):
    """Precision and recall at each score, highest first; precision is not made monotone.

    Attributes:
        scores: (S,) float64 thresholds, descending.
        recall: (S,) float64 share of the objects that are found.
        precision: (S,) float64 share of the detections that are true.
    """

    scores: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]

    def best_threshold(self) -> float:
        """Return the score of the greatest harmonic mean of both; infinity without detections."""
        if not len(self.scores):
            return float("inf")
        total = self.precision + self.recall
        f1 = np.divide(
            self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0
        )
        return float(self.scores[int(f1.argmax())])


@dataclass(frozen=True, slots=True)
class MatchedFrames:
    """What `matching.count_steps` found, sorted by score, highest first.

    Attributes:
        found_scores: (N,) float64 score that finds each found object.
        found_frames: (N,) int64 its frame.
        step_scores: (S,) float64 threshold at which a frame's counts change.
        step_frames: (S,) int64 the frame.
        true_changes: (S,) int64 change of its true positives.
        false_changes: (S,) int64 change of its false positives.
        objects: (F,) int64 objects that count in each frame.
    """

    found_scores: NDArray[np.float64]
    found_frames: NDArray[np.int64]
    step_scores: NDArray[np.float64]
    step_frames: NDArray[np.int64]
    true_changes: NDArray[np.int64]
    false_changes: NDArray[np.int64]
    objects: NDArray[np.int64]

    def average_precision(self, weights: NDArray[np.int64] | None = None) -> AveragePrecision:
        """Return the score of the frames.

        Args:
            weights: (F,) how often each frame counts; without it, once.
        """
        if weights is None:
            weights = np.ones(len(self.objects), dtype=np.int64)
        num_objects = int(weights @ self.objects)
        if num_objects == 0:
            nan = float("nan")
            return AveragePrecision(nan, nan, nan, nan, nan, nan, 0)
        found = np.repeat(self.found_scores, weights[self.found_frames])
        sampled = np.zeros(_NUM_SAMPLES)
        thresholds = found[_sampled_ranks(len(found), num_objects)]
        sampled[: len(thresholds)] = self._precision_at(thresholds, weights)
        exact = self._precision_at_recalls(found, num_objects, weights)
        perfect = np.zeros(_NUM_SAMPLES)
        perfect[: len(_sampled_ranks(num_objects, num_objects))] = 1.0
        return AveragePrecision(
            ap_r11=_mean_r11(sampled),
            ap_r40=_mean_r40(sampled),
            ap_exact=100.0 * float(exact.mean()),
            ceiling_r11=_mean_r11(perfect),
            ceiling_r40=_mean_r40(perfect),
            max_recall=100.0 * len(found) / num_objects,
            num_objects=num_objects,
        )

    def precision_curve(self) -> NDArray[np.float64]:
        """Return the (40,) non-increasing precision at the recalls 1/40 to 40/40; see `ap_exact`.

        Zero where a recall is not reached; NaN without objects.
        """
        num_objects = int(self.objects.sum())
        if not num_objects:
            return np.full(_NUM_SAMPLES - 1, np.nan)
        weights = np.ones(len(self.objects), dtype=np.int64)
        return self._precision_at_recalls(self.found_scores, num_objects, weights)

    def precision_recall(self) -> PrecisionRecall:
        """Return precision and recall at every score where either changes."""
        num_objects = int(self.objects.sum())
        true, false = self._counts(np.ones(len(self.objects), dtype=np.int64))
        # Of steps with one score the last counts: before it not all detections exist.
        is_last = np.append(np.diff(self.step_scores) != 0.0, True)[: len(self.step_scores)]
        tp, fp = true[1:][is_last], false[1:][is_last]
        # A step between two ignored objects leaves nothing that counts.
        exists = tp + fp > 0
        tp, fp = tp[exists], fp[exists]
        recall = tp / num_objects if num_objects else np.zeros(len(tp))
        return PrecisionRecall(self.step_scores[is_last][exists], recall, tp / (tp + fp))

    def _precision_at_recalls(
        self, found: NDArray[np.float64], num_objects: int, weights: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the (40,) precision at exact recalls, of descending scores of found objects."""
        # The rank of the object whose finding reaches each recall k/40, rounded up in integers.
        ranks = -(-np.arange(1, _NUM_SAMPLES) * num_objects // (_NUM_SAMPLES - 1))
        precision = np.zeros(_NUM_SAMPLES - 1)
        reached = ranks <= len(found)
        precision[reached] = self._precision_at(found[ranks[reached] - 1], weights)
        return precision

    def _precision_at(
        self, thresholds: NDArray[np.float64], weights: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the precision at descending thresholds, made non-increasing."""
        true, false = self._counts(weights)
        # At a threshold exist the detections of at least its score: all steps down to it.
        last = np.searchsorted(-self.step_scores, -thresholds, side="right")
        tp, fp = true[last], false[last]
        precision = np.divide(tp, tp + fp, out=np.zeros(len(tp)), where=tp > 0)
        # At each index the largest value from there on.
        return np.maximum.accumulate(precision[::-1])[::-1]

    def _counts(self, weights: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (S + 1,) true and (S + 1,) false positives after each number of steps."""
        weight = weights[self.step_frames]
        true = np.concatenate([[0], np.cumsum(weight * self.true_changes)]).astype(np.int64)
        false = np.concatenate([[0], np.cumsum(weight * self.false_changes)]).astype(np.int64)
        return true, false


@njit
def _sampled_ranks(num_found: int, num_objects: int) -> NDArray[np.int64]:
    """Pick from objects in the order of their finding those nearest to recall 0, 1/40, 2/40, ..."""
    ranks = np.empty(_NUM_SAMPLES, dtype=np.int64)
    count = 0
    # Summed up as the official program does: where two scores come equally near, which for a
    # multiple of four objects they often do, the rounding of this sum decides.
    recall = 0.0
    for rank in range(num_found):
        here, following = (rank + 1) / num_objects, (rank + 2) / num_objects
        # Skip a score while the next one comes nearer; the last one is always taken.
        if rank < num_found - 1 and following - recall < recall - here:
            continue
        if count == _NUM_SAMPLES:
            break
        ranks[count] = rank
        count += 1
        recall += 1.0 / (_NUM_SAMPLES - 1.0)
    chosen: NDArray[np.int64] = ranks[:count].copy()
    return chosen


def _mean_r11(precision: NDArray[np.float64]) -> float:
    return 100.0 * float(precision[::4].mean())


def _mean_r40(precision: NDArray[np.float64]) -> float:
    return 100.0 * float(precision[1:].mean())


class Interval(NamedTuple):
    """The middle share of a score's resamples; NaN where no resample had an object."""

    low: float
    high: float


def draw_indices(
    num_frames: int, num_resamples: int, block_length: int, seed: int | Sequence[int]
) -> NDArray[np.int64]:
    """Return frames drawn with replacement, in blocks of consecutive ones that wrap around.

    Args:
        num_frames: Frames there are, in order of time where they are a sequence.
        num_resamples: How often to draw as many.
        block_length: Consecutive frames drawn together; the last is followed by the first.
        seed: Equal seeds draw equally.

    Returns:
        (num_resamples, num_frames) int64 frames.
    """
    if not num_frames:
        return np.zeros((num_resamples, 0), np.int64)
    num_blocks = -(-num_frames // block_length)
    starts = np.random.default_rng(seed).integers(num_frames, size=(num_resamples, num_blocks, 1))
    drawn = (starts + np.arange(block_length)).reshape(num_resamples, -1)
    return np.asarray(drawn[:, :num_frames] % num_frames, np.int64)


def draw_counts(draws: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (R, F) how often each frame is in each of (R, F) draws."""
    counts = np.zeros(draws.shape, np.int64)
    for row, drawn in zip(counts, draws, strict=True):
        check_interrupt()
        row[:] = np.bincount(drawn, minlength=draws.shape[1])
    return counts


def ap_intervals(
    matched: MatchedFrames, draws: NDArray[np.int64], confidence: float
) -> dict[str, Interval]:
    """Return the intervals of `ap_r40` and `ap_exact`.

    Args:
        matched: The frames of one class, metric and difficulty.
        draws: (R, F) how often each frame counts in each resample.
        confidence: Share of the resamples within the interval.
    """
    scores = []
    for weights in draws:
        check_interrupt()
        scores.append(matched.average_precision(weights))
    return {
        "ap_r40": _interval([score.ap_r40 for score in scores], confidence),
        "ap_exact": _interval([score.ap_exact for score in scores], confidence),
    }


def _interval(values: list[float], confidence: float) -> Interval:
    finite = np.array(values)[np.isfinite(values)]
    if not len(finite):
        return Interval(float("nan"), float("nan"))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(finite, [tail, 100.0 - tail])
    return Interval(float(low), float(high))
