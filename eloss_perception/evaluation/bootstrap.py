# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much a score depends on which frames were drawn: percentile bootstrap over frames.

Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. Frames of a sequence are
not independent, and resampling them singly makes intervals too narrow: blocks of consecutive frames
(Politis & Romano, "A circular block-resampling procedure", 1992) keep what they have in common. A
block should be longer than objects stay in view, which leaves few blocks in a short sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.evaluation.average_precision import MatchedFrames
from eloss_perception.interrupts import check_interrupt


class Interval(NamedTuple):
    """The middle share of a score's resamples; NaN where no resample had an object."""

    low: float
    high: float


def draw_frames(
    num_frames: int, num_resamples: int, block_length: int, seed: int
) -> NDArray[np.int64]:
    """Draw frames with replacement.

    Args:
        num_frames: Frames there are, in order of time where they are a sequence.
        num_resamples: How often to draw as many.
        block_length: Consecutive frames drawn together; the last is followed by the first.
        seed: Equal seeds draw equally.

    Returns:
        (num_resamples, num_frames) how often each frame was drawn; rows sum to `num_frames`.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((num_resamples, num_frames), dtype=np.int64)
    if not num_frames:
        return counts
    num_blocks = -(-num_frames // block_length)
    for row in counts:
        starts = rng.integers(num_frames, size=num_blocks)
        drawn = (starts[:, None] + np.arange(block_length)).ravel()[:num_frames] % num_frames
        row[:] = np.bincount(drawn, minlength=num_frames)
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
