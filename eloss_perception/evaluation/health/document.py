# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From what the network said to the result: score, measure harm, compare, play sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import BundleError, DataError
from eloss_perception.evaluation import match_cars
from eloss_perception.evaluation.average_precision import draw_counts
from eloss_perception.evaluation.health.collect import Collected
from eloss_perception.evaluation.health.comparison import ScorePair, compare_scores
from eloss_perception.evaluation.health.frames import CLEAN, FrameSource
from eloss_perception.evaluation.health.harm import (
    Harm,
    evaluation_frames,
    measure_harm,
    num_objects,
)
from eloss_perception.evaluation.health.protocols import (
    RECALIBRATED,
    SHIPPED,
    ProtocolScores,
    recalibrated_scores,
    shipped_scores,
)
from eloss_perception.evaluation.health.readout import (
    Readings,
    columns_of,
    host_checks,
    restricted,
)
from eloss_perception.evaluation.health.report import (
    FORMAT_VERSION,
    cause_section,
    clean_section,
    harm_section,
    part_section,
    profile_section,
    protocol_section,
    sequence_section,
)
from eloss_perception.evaluation.health.sequences import (
    PreparedSequence,
    onset_peaks,
    play_clean,
    play_condition,
)
from eloss_perception.evaluation.health.settings import HealthBenchmarkSettings
from eloss_perception.evaluation.health.statistics import draw_blocks
from eloss_perception.health.fit import move_reference
from eloss_perception.health.reference import Condition, HealthReference
from eloss_perception.runtime.bundle import Bundle, HealthFacts


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """What the bundle is measured on.

    Attributes:
        tested: Labelled frames, each standing for itself.
        calibration: Clean frames of the tested sensor that are not tested; without them the tested
            splits calibrate for themselves, part by part.
        sequences: Consecutive scans that are corrupted.
        clean_drives: Simulated ones for false alarms alone.
    """

    tested: Sequence[FrameSource]
    calibration: FrameSource | None = None
    sequences: Sequence[FrameSource] = ()
    clean_drives: Sequence[FrameSource] = ()


@dataclass(frozen=True, slots=True)
class CollectedData:
    """What the network said of it.

    Attributes:
        tested: All tested frames under each condition, clean included.
        simulated: Clean simulated frames for the baselines.
        simulated_description: Which ones.
        calibration: Of the split that recalibrates, where there is one.
        sequences: Each sequence under the conditions that the network has to see.
        sequence_conditions: All conditions of sequences but clean.
        clean_drives: Of each.
    """

    tested: Mapping[Condition, Collected]
    simulated: Collected
    simulated_description: str
    calibration: Collected | None
    sequences: Sequence[Mapping[Condition, Collected]]
    sequence_conditions: Sequence[Condition]
    clean_drives: Sequence[Collected]


def build_document(
    bundle: Bundle,
    data: BenchmarkData,
    settings: HealthBenchmarkSettings,
    collected: CollectedData,
) -> dict[str, Any]:
    """Return the result of a benchmark, ready for a JSON file.

    Raises:
        BundleError: If the bundle has no health reference.
        DataError: If no labelled car counts.
    """
    stated = bundle.facts.health
    if stated is None:
        raise BundleError(f"bundle {bundle.path} states no false-alarm rate")
    lengths = [len(source.frames.ids) for source in data.tested]
    draws = draw_blocks(sum(lengths), settings.num_resamples, settings.block_length, settings.seed)
    harms, num_cars = _measure_harm(bundle, data, settings, collected, draws)
    by_protocol = _score(bundle.require_health(), stated, settings, collected, lengths)
    facts = bundle.facts
    return {
        "format_version": FORMAT_VERSION,
        "bundle": {
            "name": facts.name,
            "onnx_sha256": facts.onnx_sha256,
            "entropy_measure": facts.entropy_measure,
            "reference": stated.source,
            "false_alarms_per_hour": stated.false_alarms_per_hour,
            "rate_hz": stated.rate_hz,
        },
        "data": {
            "sources": [source.description for source in data.tested],
            "calibration": data.calibration and data.calibration.description,
            "baselines_calibrated_on": collected.simulated_description,
            "sequences": [source.description for source in data.sequences],
            "clean_drives": [source.description for source in data.clean_drives],
            "frame_ids": [i for source in data.tested for i in source.frames.ids],
            "num_frames": sum(lengths),
            "num_objects": num_cars,
        },
        "settings": settings.model_dump(mode="json"),
        "harm": harm_section(harms, settings),
        "profiles": profile_section(facts.layer_names, collected.tested),
        "protocols": {
            protocol: {
                **protocol_section(
                    compare_scores(scored.scores, harms, draws, settings.confidence), scored
                ),
                "causes": cause_section(scored.causes),
            }
            for protocol, scored in by_protocol.items()
        },
        "sequences": _play(bundle.require_health(), stated, settings, collected),
    }


def _measure_harm(
    bundle: Bundle,
    data: BenchmarkData,
    settings: HealthBenchmarkSettings,
    collected: CollectedData,
    draws: NDArray[np.int64],
) -> tuple[dict[Condition, Harm], int]:
    """Return what each condition costs, and on how many cars that was measured."""
    matched = {
        condition: match_cars(evaluation_frames(data.tested, frames, bundle.class_names))
        for condition, frames in collected.tested.items()
    }
    num_cars = num_objects(matched[CLEAN])
    if num_cars == 0:
        raise DataError("no labelled car counts at moderate difficulty: no harm to measure")
    counts = draw_counts(draws[: settings.num_precision_resamples])
    return measure_harm(matched, counts, settings.confidence), num_cars


def _score(
    reference: HealthReference,
    stated: HealthFacts,
    settings: HealthBenchmarkSettings,
    collected: CollectedData,
    lengths: list[int],
) -> dict[str, ProtocolScores]:
    """Return the scores under each protocol that the data allows."""
    frames, simulated = collected.tested, collected.simulated
    scores = {SHIPPED: shipped_scores(frames, reference, simulated)}
    if collected.calibration is not None or min(lengths) >= settings.num_folds:
        scores[RECALIBRATED] = recalibrated_scores(
            frames,
            lambda clean: _moved(reference, stated, settings, clean),
            simulated,
            lengths,
            settings.num_folds,
            collected.calibration,
        )
    return scores


def _play(
    reference: HealthReference,
    stated: HealthFacts,
    settings: HealthBenchmarkSettings,
    collected: CollectedData,
) -> dict[str, Any]:
    """Return what the monitor makes of sequences under each protocol.

    A reference that was moved to a real sensor is not played simulated drives: to it they are odd.
    """
    references = {SHIPPED: reference}
    if collected.calibration is not None:
        references[RECALIBRATED] = _moved(reference, stated, settings, collected.calibration)
    rate_hz = settings.sequence.rate_hz
    sections: dict[str, Any] = {}
    for protocol, used in references.items():
        readings = [{c: f.readings for c, f in by.items()} for by in collected.sequences]
        prepared = [PreparedSequence(used, by, settings.sequence) for by in readings]
        outcomes = {
            condition: play_condition(prepared, condition)
            for condition in (collected.sequence_conditions if prepared else [])
        }
        drives = collected.clean_drives if protocol == SHIPPED else []
        parts = {
            name: _part_peaks(used, checks, readings, settings, collected)
            for name, checks in _parts_of(used).items()
        }
        alarm = [
            (
                np.array([onset.clean_peak for onset in outcome.onsets]),
                np.array([onset.peak for onset in outcome.onsets]),
            )
            for outcome in outcomes.values()
        ]
        if prepared or drives:
            sections[protocol] = {
                "parts": part_section(alarm, parts, settings),
                "clean": clean_section(play_clean(used, [by[CLEAN] for by in readings], rate_hz)),
                "clean_drives": clean_section(
                    play_clean(used, [each.readings for each in drives], rate_hz)
                ),
                **sequence_section(outcomes, settings),
            }
    return sections


def _parts_of(reference: HealthReference) -> dict[str, tuple[str, ...]]:
    """Return which checks to try without the others."""
    return {
        "without_entropy": tuple(check for check in reference.checks if check != "entropy"),
        "input_statistics": host_checks(reference),
        "entropy": ("entropy",),
    }


def _part_peaks(
    reference: HealthReference,
    checks: tuple[str, ...],
    readings: Sequence[Mapping[Condition, Readings]],
    settings: HealthBenchmarkSettings,
    collected: CollectedData,
) -> list[ScorePair]:
    """Return the peaks of a monitor that looks at some checks alone, by condition."""
    if not readings:
        return []
    columns = columns_of(reference, checks)
    part = restricted(reference, checks, collected.simulated.readings)
    prepared = [
        PreparedSequence(part, {c: rows[:, columns] for c, rows in by.items()}, settings.sequence)
        for by in readings
    ]
    return [onset_peaks(prepared, condition) for condition in collected.sequence_conditions]


def _moved(
    reference: HealthReference,
    stated: HealthFacts,
    settings: HealthBenchmarkSettings,
    clean: Collected,
) -> HealthReference:
    """Return the bundle's reference moved to clean frames, for the rate that it states."""
    return move_reference(
        reference,
        clean.readings,
        f"{len(clean)} clean frames",
        stated.false_alarms_per_hour,
        settings.frames_apart_s,
    )
