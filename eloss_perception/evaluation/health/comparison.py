# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well each score tells corrupted frames from clean ones, and how the scores compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import ConfigError
from eloss_perception.evaluation.average_precision import draw_counts
from eloss_perception.evaluation.health.frames import CLEAN
from eloss_perception.evaluation.health.harm import Harm
from eloss_perception.evaluation.health.protocols import Scored
from eloss_perception.evaluation.health.scores import ALARM
from eloss_perception.evaluation.health.statistics import (
    Estimate,
    auroc,
    auroc_resamples,
    draw_blocks,
    estimate,
    fpr_at_tpr,
    fpr_resamples,
    scores_of,
    spearman,
)
from eloss_perception.health.reference import Condition

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


Document = dict[str, Any]


def check_comparable(first: Document, second: Document) -> None:
    """Refuse results of other frames or other corruptions: nothing in them would be paired.

    Raises:
        ConfigError: If they differ.
    """
    for part, key in (("data", "sources"), ("data", "frame_ids"), ("settings", "seed")):
        if first[part][key] != second[part][key]:
            raise ConfigError(f"the results differ in {part}.{key}: they cannot be compared")


def compare_results(first: Document, second: Document, protocol: str) -> dict[str, Estimate]:
    """Mean AUROC of the second result less that of the first, by score.

    Args:
        first: A result of `eloss health`.
        second: Another of the same frames and corruptions, of another network.
        protocol: One that both have.

    Returns:
        The differences of the scores that both have, over the conditions that both have.

    Raises:
        ConfigError: If the results are not of the same frames, or lack the protocol.
    """
    check_comparable(first, second)
    for document in (first, second):
        if protocol not in document["protocols"]:
            raise ConfigError(f"a result has no protocol {protocol!r}")
    settings = first["settings"]
    draws = draw_blocks(
        first["data"]["num_frames"],
        settings["num_resamples"],
        settings["block_length"],
        settings["seed"],
    )
    a, b = (d["protocols"][protocol]["frame_scores"] for d in (first, second))
    differences = {}
    for name in a:
        if name not in b:
            continue
        labels = [label for label in a[name]["corrupted"] if label in b[name]["corrupted"]]
        pairs = [[_pair(s[name], label) for label in labels] for s in (b, a)]
        differences[name] = paired_difference(pairs[0], pairs[1], draws, settings["confidence"])
    return differences


def comparison_lines(first: Document, second: Document, protocol: str) -> list[str]:
    """Return the table: a row for each score, then the conditions that differ most in entropy."""
    differences = compare_results(first, second, protocol)
    names = [f"{d['bundle']['name']} ({d['bundle']['onnx_sha256'][:8]})" for d in (first, second)]
    lines = [
        f"{protocol}: mean AUROC of {names[1]} less that of {names[0]}, paired by frame",
        f"{'score':<18}{'first':>8}{'second':>8}{'difference':>12}{'interval':>20}",
    ]
    for name, difference in differences.items():
        means = [
            d["protocols"][protocol]["scores"][name]["mean_auroc"]["value"] for d in (first, second)
        ]
        interval = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        lines.append(
            f"{name:<18}{means[0]:>8.3f}{means[1]:>8.3f}{difference.value:>+12.3f}{interval:>20}"
        )
    return [*lines, "", *_condition_lines(first, second, protocol, "entropy")]


def _condition_lines(first: Document, second: Document, protocol: str, score: str) -> list[str]:
    """Return the conditions in which a score differs most."""
    a, b = (d["protocols"][protocol]["frame_scores"][score] for d in (first, second))
    gaps = {
        label: auroc(*_pair(b, label)) - auroc(*_pair(a, label))
        for label in a["corrupted"]
        if label in b["corrupted"]
    }
    order = sorted(gaps, key=lambda label: -abs(gaps[label]))[:8]
    better = int(np.sum(np.array(list(gaps.values())) > 0.0))
    return [
        f"{score}: the second network tells {better} of {len(gaps)} conditions better; largest: "
        + ", ".join(f"{label} {gaps[label]:+.2f}" for label in order)
    ]


def _pair(scored: Document, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of the frames clean and under a condition."""
    name = label.partition(":")[0]
    clean = scored["own_clean"].get(name, scored["clean"])
    return scores_of(clean), scores_of(scored["corrupted"][label])
