# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well each score tells corrupted frames from clean ones, and how the scores compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.evaluation.health.conditions import CLEAN, Condition
from eloss_perception.evaluation.health.harm import Harm
from eloss_perception.evaluation.health.protocols import Scored
from eloss_perception.evaluation.health.scores import ALARM
from eloss_perception.evaluation.health.statistics import (
    Estimate,
    auroc,
    auroc_resamples,
    draw_counts,
    estimate,
    fpr_at_tpr,
    fpr_resamples,
    spearman,
)

# Scores clean and corrupted, in the same order.
ScorePair = tuple[NDArray[np.float64], NDArray[np.float64]]

# Scores this close to the best of a condition share the first place.
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Separation:
    """One score on one condition.

    Attributes:
        auroc: Against the same frames, clean.
        fpr: Share of clean frames that alarm where 95 % of the corrupted ones do.
        median: Median score of the corrupted frames.
    """

    auroc: Estimate
    fpr: Estimate
    median: float


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """One score over all conditions.

    Attributes:
        conditions: By condition, clean left out.
        mean_auroc: Over the conditions.
        difference: Mean AUROC of the alarm less this one, on the same resamples.
        gaps: The same difference by condition.
        num_best: On how many conditions no other score has a higher AUROC.
        spearman: Rank correlation over the conditions of the median score with the AP drop.
    """

    conditions: dict[Condition, Separation]
    mean_auroc: Estimate
    difference: Estimate
    gaps: dict[Condition, Estimate]
    num_best: int
    spearman: Estimate


def compare_scores(
    scores: Mapping[str, Scored],
    harms: Mapping[Condition, Harm],
    draws: NDArray[np.int64],
    confidence: float,
) -> dict[str, ScoreResult]:
    """Compare all scores on all conditions.

    Args:
        scores: Of every frame under every condition.
        harms: Of every condition; the first of the draws are those that it was resampled with.
        draws: (R, F) frames of each resample.
        confidence: Share of the resamples in an interval.
    """
    counts = draw_counts(draws)
    conditions = [c for c in harms if c != CLEAN]
    separations: dict[str, dict[Condition, Separation]] = {}
    resamples: dict[str, NDArray[np.float64]] = {}
    for name, scored in scores.items():
        drawn = np.zeros((len(conditions), len(draws)))
        separations[name] = {}
        for row, condition in zip(drawn, conditions, strict=True):
            clean, values = scored.pair(condition)
            row[:] = auroc_resamples(clean, values, counts)
            separations[name][condition] = Separation(
                auroc=estimate(auroc(clean, values), row, confidence),
                fpr=estimate(
                    fpr_at_tpr(clean, values), fpr_resamples(clean, values, draws), confidence
                ),
                median=float(np.median(values)),
            )
        resamples[name] = drawn
    best = {c: max(by[c].auroc.value for by in separations.values()) for c in conditions}
    means = {
        name: float(np.mean([by[c].auroc.value for c in conditions]))
        for name, by in separations.items()
    }
    return {
        name: ScoreResult(
            conditions=by,
            mean_auroc=estimate(means[name], resamples[name].mean(axis=0), confidence),
            difference=estimate(
                means[ALARM] - means[name],
                (resamples[ALARM] - resamples[name]).mean(axis=0),
                confidence,
            ),
            gaps={
                condition: estimate(
                    separations[ALARM][condition].auroc.value - by[condition].auroc.value,
                    resamples[ALARM][row] - resamples[name][row],
                    confidence,
                )
                for row, condition in enumerate(conditions)
            },
            num_best=sum(by[c].auroc.value >= best[c] - _TIE for c in conditions),
            spearman=_score_against_harm(
                scores[name].corrupted, harms, conditions, draws, confidence
            ),
        )
        for name, by in separations.items()
    }


def paired_difference(
    first: Sequence[ScorePair],
    second: Sequence[ScorePair],
    draws: NDArray[np.int64],
    confidence: float,
) -> Estimate:
    """Mean AUROC of one score less that of another, over conditions and on the same frames.

    Args:
        first: Clean and corrupted (F,) scores of each condition.
        second: The same conditions and frames.
        draws: (R, F) frames of each resample.
        confidence: Share of the resamples in the interval.
    """
    counts = draw_counts(draws)
    values, drawn = [], []
    for (clean_a, a), (clean_b, b) in zip(first, second, strict=True):
        values.append(auroc(clean_a, a) - auroc(clean_b, b))
        drawn.append(auroc_resamples(clean_a, a, counts) - auroc_resamples(clean_b, b, counts))
    if not values:
        return estimate(float("nan"), np.zeros(0), confidence)
    return estimate(float(np.mean(values)), np.mean(drawn, axis=0), confidence)


def _score_against_harm(
    scores: Mapping[Condition, NDArray[np.float64]],
    harms: Mapping[Condition, Harm],
    conditions: Sequence[Condition],
    draws: NDArray[np.int64],
    confidence: float,
) -> Estimate:
    """Return Spearman's correlation of the conditions' median scores with their AP drops."""
    table = np.array([scores[c] for c in conditions]).reshape(len(conditions), -1)  # (C, F)
    drops = np.array([harms[c].worst for c in conditions])
    resampled = np.array([harms[c].resamples for c in conditions])  # (C, R)
    drawn = [
        spearman(np.median(table[:, draws[number]], axis=1), resampled[:, number])
        for number in range(resampled.shape[1] if len(conditions) else 0)
    ]
    value = spearman(np.median(table, axis=1), drops) if table.size else float("nan")
    return estimate(value, np.array(drawn), confidence)
