# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that a health benchmark found, as one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eloss_perception.errors import DataError
from eloss_perception.evaluation.average_precision import draw_counts
from eloss_perception.evaluation.health.collect import Collected
from eloss_perception.evaluation.health.comparison import (
    ScorePair,
    ScoreResult,
    paired_difference,
)
from eloss_perception.evaluation.health.frames import CLEAN
from eloss_perception.evaluation.health.harm import Harm
from eloss_perception.evaluation.health.protocols import ProtocolScores, confusion, kinds_of
from eloss_perception.evaluation.health.scores import SCORES, UNSEEN_WHAT
from eloss_perception.evaluation.health.sequences import (
    CleanOutcome,
    SequenceOutcome,
    poisson_limit,
)
from eloss_perception.evaluation.health.settings import HealthBenchmarkSettings
from eloss_perception.evaluation.health.statistics import (
    Estimate,
    auroc,
    auroc_resamples,
    draw_blocks,
    estimate,
    fpr_at_tpr,
    interval,
    number,
    numbers,
    share_interval,
)
from eloss_perception.health.reference import Condition
from eloss_perception.simulation.corruptions import CORRUPTIONS

FORMAT_VERSION = 1

# Onsets of one sequence overlap: a quarter of a sequence's onsets is drawn together.
_BLOCKS_PER_SEQUENCE = 4

Document = dict[str, Any]


def harm_section(harms: Mapping[Condition, Harm], settings: HealthBenchmarkSettings) -> Document:
    """Return what each condition costs."""
    return {
        condition.label: {
            "ap": {metric: number(value) for metric, value in harm.ap.items()},
            "drop": {metric: interval(value) for metric, value in harm.drop.items()},
            "worst_drop": number(harm.worst),
            "kind": harm.kind(settings.dangerous_drop, settings.harmless_drop)
            if condition != CLEAN
            else "",
        }
        for condition, harm in harms.items()
    }


def profile_section(layer_names: Sequence[str], frames: Mapping[Condition, Collected]) -> Document:
    """Return layer entropies: mean and spread of clean frames, medians under each condition."""
    clean = frames[CLEAN].layer_entropy
    return {
        "layer_names": list(layer_names),
        "clean": {"mean": numbers(clean.mean(axis=0)), "std": numbers(clean.std(axis=0))},
        "conditions": {
            condition.label: numbers(np.median(collected.layer_entropy, axis=0))
            for condition, collected in frames.items()
            if condition != CLEAN
        },
    }


def protocol_section(results: Mapping[str, ScoreResult], scored: ProtocolScores) -> Document:
    """Return the comparison of scores, and how often single frames pass the alarm's threshold."""
    clean = scored.over_threshold[CLEAN]
    shares = {c.label: number(float(np.mean(v))) for c, v in scored.over_threshold.items()}
    return {
        "threshold": number(scored.threshold),
        "clean_over_threshold": interval(share_interval(int(clean.sum()), len(clean))),
        "over_threshold": shares,
        "scores": {
            name: {
                "what": SCORES[name].what if name in SCORES else UNSEEN_WHAT,
                "is_baseline": name in SCORES and SCORES[name].is_baseline,
                "mean_auroc": interval(result.mean_auroc),
                "alarm_minus_this": interval(result.difference),
                "num_best": result.num_best,
                "alarm_minus_this_by_condition": {
                    condition.label: interval(gap) for condition, gap in result.gaps.items()
                },
                "spearman_with_drop": interval(result.spearman),
                "conditions": {
                    condition.label: {
                        "auroc": interval(separation.auroc),
                        "fpr_at_95_tpr": interval(separation.fpr),
                        "median": number(separation.median),
                    }
                    for condition, separation in result.conditions.items()
                },
            }
            for name, result in results.items()
        },
        "frame_scores": {
            name: {
                "clean": numbers(scores.clean),
                "own_clean": {k: numbers(values) for k, values in scores.own_clean.items()},
                "corrupted": {c.label: numbers(v) for c, v in scores.corrupted.items()},
            }
            for name, scores in scored.scores.items()
        },
    }


def cause_section(causes: Mapping[Condition, Sequence[str]]) -> Document:
    """Return how often the likely cause of a frame over the threshold is the true one."""
    guessed = [cause for found in causes.values() for cause in found]
    true = [
        "" if condition == CLEAN else condition.name
        for condition, found in causes.items()
        for _ in found
    ]
    kinds = {name: corruption.kind for name, corruption in CORRUPTIONS.items()}
    document = {}
    for name, matrix in (
        ("by_corruption", confusion(guessed, true)),
        ("by_kind", confusion(kinds_of(guessed, kinds), kinds_of(true, kinds))),
    ):
        document[name] = {
            "true": list(matrix.true_kinds),
            "guessed": list(matrix.predicted_kinds),
            "num_frames": matrix.counts.tolist(),
        }
    return document


def clean_section(clean: CleanOutcome) -> Document:
    """Return the false alarms of clean sequences; the rate is null where none was played."""
    rate, limit = math.nan, math.nan
    if clean.hours:
        rate, limit = clean.num_alarms / clean.hours, poisson_limit(clean.num_alarms) / clean.hours
    return {
        "num_alarms": clean.num_alarms,
        "num_frames": clean.num_frames,
        "hours": number(clean.hours),
        "share_ok": number(clean.share_ok),
        "alarms_per_hour": number(rate),
        "alarms_per_hour_at_most": number(limit),
    }


def sequence_section(
    outcomes: Mapping[Condition, SequenceOutcome], settings: HealthBenchmarkSettings
) -> Document:
    """Return what the monitor made of corruptions that begin and end."""
    conditions, drawn, values = {}, [], []
    for condition, outcome in outcomes.items():
        peak = np.array([onset.peak for onset in outcome.onsets])
        clean_peak = np.array([onset.clean_peak for onset in outcome.onsets])
        block = max(1, settings.sequence.num_onsets // _BLOCKS_PER_SEQUENCE)
        draws = draw_blocks(len(peak), settings.num_resamples, block, settings.seed)
        resamples = auroc_resamples(clean_peak, peak, draw_counts(draws))
        value = auroc(clean_peak, peak)
        values.append(value)
        drawn.append(resamples)
        conditions[condition.label] = {
            "auroc": interval(estimate(value, resamples, settings.confidence)),
            "fpr_at_95_tpr": number(fpr_at_tpr(clean_peak, peak)),
            "share_ok": number(outcome.share_ok),
            "frames_to_warn": _delays([o.frames_to_warn for o in outcome.onsets]),
            "frames_to_error": _delays([o.frames_to_error for o in outcome.onsets]),
            "frames_to_ok": _delays([o.frames_to_ok for o in outcome.onsets]),
        }
    mean = Estimate(math.nan, math.nan, math.nan)
    if values:
        mean = estimate(float(np.mean(values)), np.mean(drawn, axis=0), settings.confidence)
    return {"mean_auroc": interval(mean), "conditions": conditions}


def part_section(
    alarm: Sequence[ScorePair],
    parts: Mapping[str, Sequence[ScorePair]],
    settings: HealthBenchmarkSettings,
) -> Document:
    """Return how well monitors of some checks alone see the same onsets.

    Args:
        alarm: Clean and corrupted peaks of the whole alarm, by condition.
        parts: Of the alarm on some checks, by what it looks at, in the same order.
        settings: Of the benchmark.
    """
    if not alarm:
        return {}
    block = max(1, settings.sequence.num_onsets // _BLOCKS_PER_SEQUENCE)
    draws = draw_blocks(len(alarm[0][0]), settings.num_resamples, block, settings.seed)
    nothing = [(np.zeros(clean.shape), np.zeros(clean.shape)) for clean, _ in alarm]
    document = {}
    for name, peaks in parts.items():
        above_half = paired_difference(peaks, nothing, draws, settings.confidence)
        document[name] = {
            "mean_auroc": interval(Estimate(*(value + 0.5 for value in above_half))),
            "alarm_minus_this": interval(
                paired_difference(alarm, peaks, draws, settings.confidence)
            ),
        }
    return document


def load_report(path: Path) -> Document:
    """Read the JSON of an earlier run.

    Raises:
        DataError: If it cannot be read or is no health benchmark's of this version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read the result: {error}") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION or "protocols" not in document:
        raise DataError(
            f"{path}: no result of `eloss health` of format version {FORMAT_VERSION}; run it again"
        )
    result: Document = document
    return result


def _delays(frames: Sequence[float]) -> Document:
    """Return the middle and the slow tenth of counts of frames; null where that never happened."""
    values = np.sort(np.array(frames, np.float64))
    return {
        "median": number(float(values[(len(values) - 1) // 2])),
        "p90": number(float(values[math.ceil(0.9 * len(values)) - 1])),
        "never": number(float(np.mean(~np.isfinite(values)))),
    }
