# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark, from scans to the document: collect, score, measure harm, compare, play."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eloss_perception.core.health_reference import HealthReference
from eloss_perception.errors import BundleError, DataError
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.training.health_benchmark.collect import Collector
from eloss_perception.training.health_benchmark.collected import Collected, join
from eloss_perception.training.health_benchmark.comparison import compare_scores
from eloss_perception.training.health_benchmark.conditions import (
    CLEAN,
    Condition,
    is_repetition,
    list_conditions,
)
from eloss_perception.training.health_benchmark.frames import FrameSource, calibration_frames
from eloss_perception.training.health_benchmark.harm import (
    evaluation_frames,
    match_cars,
    measure_harm,
    num_objects,
)
from eloss_perception.training.health_benchmark.protocols import (
    RECALIBRATED,
    SHIPPED,
    recalibrated_scores,
    shipped_scores,
)
from eloss_perception.training.health_benchmark.report import (
    FORMAT_VERSION,
    cause_section,
    harm_section,
    profile_section,
    protocol_section,
    sequence_section,
)
from eloss_perception.training.health_benchmark.sequences import (
    PreparedSequence,
    play_clean,
    play_condition,
)
from eloss_perception.training.health_benchmark.settings import HealthBenchmarkSettings
from eloss_perception.training.health_benchmark.statistics import draw_counts, draw_indices
from eloss_perception.training.health_fit import move_reference

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """What the bundle is measured on.

    Attributes:
        tested: Labelled frames, each standing for itself.
        calibration: Clean frames of the tested sensor that are not tested; without them the tested
            splits calibrate for themselves, part by part.
        sequences: Consecutive scans that are corrupted.
        clean_sequences: More of them for false alarms alone.
    """

    tested: Sequence[FrameSource]
    calibration: FrameSource | None = None
    sequences: Sequence[FrameSource] = ()
    clean_sequences: Sequence[FrameSource] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """Frames that the network has to run.

    Attributes:
        num_frames: All of them.
        num_missing: Those that no earlier run left behind.
        num_conditions: What is done to each tested frame, clean included.
    """

    num_frames: int
    num_missing: int
    num_conditions: int


class HealthBenchmark:
    """One bundle on one set of data.

    Args:
        bundle: What is measured.
        data: On what.
        settings: How.
        cache: Folder that keeps what the network said, so that an interrupted run goes on where it
            stopped; None keeps nothing.
        backend: Name of the backend.
        num_threads: Of the backend.

    Raises:
        BundleError: If the bundle has no health reference.
        BackendError: If the backend cannot run it.
    """

    def __init__(
        self,
        bundle: Bundle,
        data: BenchmarkData,
        settings: HealthBenchmarkSettings,
        cache: Path | None = None,
        backend: str = "onnxruntime_cpu",
        num_threads: int = 2,
    ) -> None:
        self.bundle = bundle
        self.reference = bundle.require_health()
        stated = bundle.facts.health
        if stated is None:
            raise BundleError(f"bundle {bundle.path} states no false-alarm rate")
        self._stated = stated
        self.data = data
        self.settings = settings
        self._collector = Collector(bundle, cache, settings.seed, backend, num_threads)
        names, severities = settings.corruptions, settings.severities
        self._conditions = list_conditions(names, severities)
        self._sequence_conditions = list_conditions(names, severities, in_sequence=True)
        # The network need not see a scan twice to repeat its readings.
        self._run_in_sequence = [c for c in self._sequence_conditions if not is_repetition(c)]
        self._simulated = calibration_frames(settings.num_calibration, settings.seed)

    def workload(self) -> Workload:
        """Return how much there is to do."""
        pairs = self._pairs()
        return Workload(
            num_frames=sum(len(s.frames.ids) * len(conditions) for s, conditions in pairs),
            num_missing=sum(self._collector.num_missing(s, c) for s, c in pairs),
            num_conditions=len(self._conditions),
        )

    def run(self, progress: Progress | None = None) -> dict[str, Any]:
        """Return the document; see `report`.

        Args:
            progress: Called after each frame with the number done and the number of all.

        Raises:
            DataError: If the data cannot be read, or no labelled car counts.
        """
        total, done = self.workload().num_frames, 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        collect = self._collector.collect
        simulated = collect(self._simulated, [CLEAN], advance)[CLEAN]
        calibration = None
        if self.data.calibration is not None:
            calibration = collect(self.data.calibration, [CLEAN], advance)[CLEAN]
        parts = [collect(source, self._conditions, advance) for source in self.data.tested]
        frames = {c: join([part[c] for part in parts]) for c in self._conditions}
        sequences = [
            collect(source, self._run_in_sequence, advance) for source in self.data.sequences
        ]
        more_clean = [
            collect(source, [CLEAN], advance)[CLEAN] for source in self.data.clean_sequences
        ]
        return self._document(frames, simulated, calibration, sequences, more_clean)

    def _recalibrated(self, clean: Collected) -> HealthReference:
        """Return the bundle's reference moved to clean frames, for the rate that it states."""
        return move_reference(
            self.reference,
            clean.readings,
            f"{len(clean)} clean frames",
            self._stated.false_alarms_per_hour,
            self._stated.rate_hz,
            self.settings.frames_apart_s,
        )

    def _pairs(self) -> list[tuple[FrameSource, list[Condition]]]:
        pairs = [(self._simulated, [CLEAN])]
        if self.data.calibration is not None:
            pairs.append((self.data.calibration, [CLEAN]))
        pairs += [(source, self._conditions) for source in self.data.tested]
        pairs += [(source, self._run_in_sequence) for source in self.data.sequences]
        return pairs + [(source, [CLEAN]) for source in self.data.clean_sequences]

    def _document(
        self,
        frames: Mapping[Condition, Collected],
        simulated: Collected,
        calibration: Collected | None,
        sequences: Sequence[Mapping[Condition, Collected]],
        more_clean: Sequence[Collected],
    ) -> dict[str, Any]:
        settings, reference = self.settings, self.reference
        lengths = [len(source.frames.ids) for source in self.data.tested]
        draws = draw_indices(
            sum(lengths), settings.num_resamples, settings.block_length, settings.seed
        )
        matched = {
            condition: match_cars(
                evaluation_frames(self.data.tested, collected, self.bundle.class_names)
            )
            for condition, collected in frames.items()
        }
        if num_objects(matched[CLEAN]) == 0:
            raise DataError("no labelled car counts at moderate difficulty: no harm to measure")
        counts = draw_counts(draws[: settings.num_precision_resamples]).astype(np.int64)
        harms = measure_harm(matched, counts, settings.confidence)
        by_protocol = {SHIPPED: shipped_scores(frames, reference, simulated)}
        if calibration is not None or min(lengths) >= settings.num_folds:
            by_protocol[RECALIBRATED] = recalibrated_scores(
                frames, self._recalibrated, simulated, lengths, settings.num_folds, calibration
            )
        references = {SHIPPED: reference}
        if calibration is not None:
            references[RECALIBRATED] = self._recalibrated(calibration)
        played: dict[str, Any] = {}
        for protocol, used in references.items():
            if not sequences and not more_clean:
                break
            readings = [{c: f.readings for c, f in by.items()} for by in sequences]
            clean = [by[CLEAN] for by in readings] + [each.readings for each in more_clean]
            prepared = [PreparedSequence(used, by, settings.sequence) for by in readings]
            outcomes = {
                condition: play_condition(prepared, condition)
                for condition in (self._sequence_conditions if prepared else [])
                if condition != CLEAN
            }
            outcome = play_clean(used, clean, settings.sequence.rate_hz)
            played[protocol] = sequence_section(outcome, outcomes, settings)
        facts = self.bundle.facts
        return {
            "format_version": FORMAT_VERSION,
            "bundle": {
                "name": facts.name,
                "onnx_sha256": facts.onnx_sha256,
                "entropy_measure": facts.entropy_measure,
                "reference": reference.source,
                "false_alarms_per_hour": self._stated.false_alarms_per_hour,
                "rate_hz": self._stated.rate_hz,
            },
            "data": {
                "sources": [source.description for source in self.data.tested],
                "calibration": self.data.calibration and self.data.calibration.description,
                "baselines_calibrated_on": self._simulated.description,
                "sequences": [s.description for s in self.data.sequences],
                "clean_sequences": [s.description for s in self.data.clean_sequences],
                "frame_ids": [i for source in self.data.tested for i in source.frames.ids],
                "num_frames": sum(lengths),
                "num_objects": num_objects(matched[CLEAN]),
            },
            "settings": settings.model_dump(mode="json"),
            "harm": harm_section(harms, settings),
            "profiles": profile_section(facts.layer_names, frames),
            "protocols": {
                protocol: {
                    **protocol_section(
                        compare_scores(scored.scores, harms, draws, settings.confidence), scored
                    ),
                    "causes": cause_section(scored.causes),
                }
                for protocol, scored in by_protocol.items()
            },
            "sequences": played,
        }
