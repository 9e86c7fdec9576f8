# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each frame scores, by which clean frames the scores are allowed to know.

`shipped`: the bundle's reference as it is; baselines know simulated clean scans, as it does.
`recalibrated`: all may move their mean to clean frames of the tested place and sensor that are not
themselves tested: those of another split, or of the other parts of the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.evaluation.health.collect import Collected
from eloss_perception.evaluation.health.frames import CLEAN
from eloss_perception.evaluation.health.readout import without_profiles
from eloss_perception.evaluation.health.scores import (
    SCORES,
    UNSEEN,
    CalibrationSet,
)
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.reference import CLEAN as CLEAN_CAUSE
from eloss_perception.health.reference import Condition, HealthReference
from eloss_perception.interrupts import check_interrupt

SHIPPED, RECALIBRATED = "shipped", "recalibrated"

Recalibrate = Callable[[Collected], HealthReference]


@dataclass(frozen=True, slots=True)
class Scored:
    """One score of F frames.

    Attributes:
        clean: (F,) of the clean frames.
        corrupted: Condition -> (F,) of the same frames.
        own_clean: Corruption -> (F,) of the clean frames, for a score that differs between
            corruptions; empty for one that does not.
    """

    clean: NDArray[np.float64]
    corrupted: dict[Condition, NDArray[np.float64]]
    own_clean: dict[str, NDArray[np.float64]]

    def pair(self, condition: Condition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores of the frames clean and under a condition."""
        return self.own_clean.get(condition.name, self.clean), self.corrupted[condition]


@dataclass(frozen=True, slots=True)
class ProtocolScores:
    """Everything that the frames score under one protocol.

    Attributes:
        scores: By name.
        over_threshold: Condition, clean included, -> (F,) whether the alarm's threshold is passed.
        causes: Condition, clean included, -> F likely causes, empty where it is not passed.
        threshold: Mean of the thresholds.
    """

    scores: dict[str, Scored]
    over_threshold: dict[Condition, NDArray[np.bool_]]
    causes: dict[Condition, list[str]]
    threshold: float


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
) -> ProtocolScores:
    """Score with what the bundle ships.

    Args:
        frames: The tested frames under each condition, clean included.
        reference: The bundle's.
        simulated: Clean simulated frames for the baselines.
    """
    whole = np.arange(len(frames[CLEAN]))
    return _score_parts(frames, [(whole, CalibrationSet(reference, simulated, simulated))])


def recalibrated_scores(
    frames: Mapping[Condition, Collected],
    recalibrate: Recalibrate,
    simulated: Collected,
    lengths: list[int],
    num_folds: int,
    calibration: Collected | None = None,
) -> ProtocolScores:
    """Score with means of clean frames that are not tested.

    Args:
        frames: The tested frames under each condition, clean included.
        recalibrate: Moves the bundle's reference to clean frames.
        simulated: Clean simulated frames whose spread the baselines keep.
        lengths: Frames of each split.
        num_folds: Parts of a split that calibrate for each other.
        calibration: Clean frames of a split that is not tested; without it the other parts of the
            same split calibrate.
    """
    parts = []
    folds = fold_numbers(lengths, num_folds)
    if calibration is not None:
        folds = np.zeros(sum(lengths), np.int64)
    for fold in np.unique(folds):
        centre = calibration
        if centre is None:
            is_same_split = folds // num_folds == fold // num_folds
            centre = frames[CLEAN].take(is_same_split & (folds != fold))
        clean = CalibrationSet(recalibrate(centre), simulated, centre)
        parts.append((np.flatnonzero(folds == fold), clean))
    return _score_parts(frames, parts)


def _score_parts(
    frames: Mapping[Condition, Collected],
    parts: list[tuple[NDArray[np.int64], CalibrationSet]],
) -> ProtocolScores:
    """Score parts of the frames, each by its own clean frames."""
    total = len(frames[CLEAN])
    corruptions = dict.fromkeys(c.name for c in frames if c != CLEAN)

    def empty() -> NDArray[np.float64]:
        return np.zeros(total)

    scores = {
        name: Scored(empty(), {c: empty() for c in frames if c != CLEAN}, {})
        for name in (*SCORES, UNSEEN)
    }
    scores[UNSEEN].own_clean.update({name: empty() for name in corruptions})
    over = {c: np.zeros(total, np.bool_) for c in frames}
    causes = {c: [""] * total for c in frames}
    for tested, clean in parts:
        reference = clean.reference
        scorers = {name: score.fit(clean) for name, score in SCORES.items()}
        judge = HealthJudge(reference)
        unseen = {name: HealthJudge(without_profiles(reference, name)) for name in corruptions}
        for condition, collected in frames.items():
            check_interrupt()
            part = collected.take(tested)
            for name, scorer in scorers.items():
                scored = scores[name]
                kept = scored.clean if condition == CLEAN else scored.corrupted[condition]
                kept[tested] = scorer(part)
            if condition == CLEAN:
                for name, less in unseen.items():
                    scores[UNSEEN].own_clean[name][tested] = less.score(part.readings)
            else:
                kept = scores[UNSEEN].corrupted[condition]
                kept[tested] = unseen[condition.name].score(part.readings)
            passed = judge.score(part.readings) >= reference.threshold
            over[condition][tested] = passed
            for place, odd, cause in zip(
                tested, passed, judge.likely_causes(part.readings), strict=True
            ):
                causes[condition][place] = cause if odd and cause != CLEAN_CAUSE else ""
    threshold = float(np.mean([clean.reference.threshold for _, clean in parts]))
    return ProtocolScores(scores, over, causes, threshold)


#: What stands for no guess, and for a clean frame.
NONE = "none"


class Confusion(NamedTuple):
    """Counts of frames.

    Attributes:
        true_kinds: Names of the rows.
        predicted_kinds: Names of the columns.
        counts: (T, P) int64 frames.
    """

    true_kinds: tuple[str, ...]
    predicted_kinds: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Mean over the true kinds of the share guessed right: each kind counts the same."""
        shares = [
            row[self.predicted_kinds.index(kind)] / row.sum()
            if kind in self.predicted_kinds
            else 0.0
            for kind, row in zip(self.true_kinds, self.counts, strict=True)
            if row.sum()
        ]
        return float(np.mean(shares)) if shares else float("nan")


def confusion(predicted: Sequence[str], true: Sequence[str]) -> Confusion:
    """Count guesses against truth; the empty text counts as `none`.

    Kinds are in alphabetical order with `none` last, a column for each kind that was guessed or is
    true.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} guesses for {len(true)} frames")
    guesses = [kind or NONE for kind in predicted]
    truths = [kind or NONE for kind in true]

    def ordered(kinds: set[str]) -> tuple[str, ...]:
        return tuple(sorted(kinds, key=lambda kind: (kind == NONE, kind)))

    rows, columns = ordered(set(truths)), ordered({*guesses, *truths})
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for guess, truth in zip(guesses, truths, strict=True):
        counts[rows.index(truth), columns.index(guess)] += 1
    return Confusion(rows, columns, counts)


def confusion_lines(matrix: Confusion) -> list[str]:
    """Return the table: a row for each true kind, shares in percent, the number of frames last."""
    width = max(len(kind) for kind in (*matrix.true_kinds, "true")) + 2
    columns = [f"{kind[:10]:>11}" for kind in matrix.predicted_kinds]
    lines = [f"{'true':<{width}}" + "".join(columns) + f"{'frames':>9}"]
    for kind, row in zip(matrix.true_kinds, matrix.counts, strict=True):
        total = int(row.sum())
        cells = "".join(f"{100.0 * count / total:>10.0f}%" for count in row)
        lines.append(f"{kind:<{width}}{cells}{total:>9}")
    lines.append(f"mean share guessed right: {100.0 * matrix.accuracy:.0f} %")
    return lines


def kinds_of(names: Sequence[str], kind_of: Mapping[str, str]) -> list[str]:
    """Return the kind of each cause; one without a kind, such as `unknown`, is its own."""
    return [kind_of.get(name, name) for name in names]
