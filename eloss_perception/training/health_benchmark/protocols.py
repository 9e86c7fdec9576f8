# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each frame scores, by which clean frames the scores are allowed to know.

`shipped`: the bundle's reference as it is; baselines know simulated clean scans, as it does.
`recalibrated`: all may move their mean to clean frames of the tested place and sensor that are not
themselves tested: those of another split, or of the other parts of the same one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.health import HealthReference
from eloss_perception.training.health_benchmark.collected import Collected
from eloss_perception.training.health_benchmark.conditions import CLEAN, Condition
from eloss_perception.training.health_benchmark.readout import recentred
from eloss_perception.training.health_benchmark.scores import (
    SCORES,
    CalibrationSet,
    available_scores,
)

SHIPPED, RECALIBRATED = "shipped", "recalibrated"

# score name -> condition -> (F,) score of each frame
FrameScores = dict[str, dict[Condition, NDArray[np.float64]]]


def fold_numbers(lengths: list[int], num_folds: int) -> NDArray[np.int64]:
    """Number the parts of consecutive frames of splits, each split cut apart for itself.

    Neighbours of a sequence look alike: cut into blocks, few of them calibrate for each other.

    Returns:
        (F,) int64, distinct between splits.
    """
    numbers = [
        split * num_folds + (np.arange(length) * num_folds) // max(1, length)
        for split, length in enumerate(lengths)
    ]
    return np.concatenate([np.zeros(0, np.int64), *numbers]).astype(np.int64)


def shipped_scores(
    frames: Mapping[Condition, Collected], reference: HealthReference, simulated: Collected
) -> FrameScores:
    """Score with what the bundle ships.

    Args:
        frames: The tested frames under each condition, clean included.
        reference: The bundle's.
        simulated: Clean simulated frames for the baselines.
    """
    clean = CalibrationSet(reference, simulated, simulated)
    return {
        name: {c: SCORES[name].compute(f, clean) for c, f in frames.items()}
        for name in available_scores(frames[CLEAN])
    }


def recalibrated_scores(
    frames: Mapping[Condition, Collected],
    reference: HealthReference,
    simulated: Collected,
    lengths: list[int],
    num_folds: int,
    calibration: Collected | None = None,
) -> FrameScores:
    """Score with means of clean frames that are not tested.

    Args:
        frames: The tested frames under each condition, clean included.
        reference: The bundle's, whose spread stays.
        simulated: Clean simulated frames whose spread the baselines keep.
        lengths: Frames of each split.
        num_folds: Parts of a split that calibrate for each other.
        calibration: Clean frames of a split that is not tested; without it the other parts of the
            same split calibrate.
    """
    total = sum(lengths)
    names = available_scores(frames[CLEAN])
    scores: FrameScores = {n: {c: np.zeros(total) for c in frames} for n in names}
    folds = fold_numbers(lengths, num_folds)
    if calibration is not None:
        folds = np.zeros(total, np.int64)
    for fold in np.unique(folds):
        tested = np.flatnonzero(folds == fold)
        centre = calibration
        if centre is None:
            is_same_split = folds // num_folds == fold // num_folds
            centre = frames[CLEAN].take(is_same_split & (folds != fold))
        clean = CalibrationSet(recentred(reference, centre.readings), simulated, centre)
        for condition, collected in frames.items():
            part = collected.take(tested)
            for name in names:
                scores[name][condition][tested] = SCORES[name].compute(part, clean)
    return scores
