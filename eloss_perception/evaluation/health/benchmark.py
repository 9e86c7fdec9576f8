# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of one bundle: what has to be shown to the network, and then the document of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eloss_perception.evaluation.health.collect import Collector, join
from eloss_perception.evaluation.health.document import (
    BenchmarkData,
    CollectedData,
    build_document,
)
from eloss_perception.evaluation.health.frames import (
    CLEAN,
    FrameSource,
    calibration_frames,
    is_repetition,
    list_conditions,
)
from eloss_perception.evaluation.health.settings import HealthBenchmarkSettings
from eloss_perception.health.reference import Condition
from eloss_perception.runtime.bundle import Bundle

Progress = Callable[[int, int], None]


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
        bundle.require_health()
        self.bundle = bundle
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
        """Return the document; see `document`.

        Args:
            progress: Called after each frame with the number done and the number of all.

        Raises:
            DataError: If the data cannot be read, or no labelled car counts.
        """
        return build_document(self.bundle, self.data, self.settings, self.collect(progress))

    def collect(self, progress: Progress | None = None) -> CollectedData:
        """Return what the network says of everything, from files where it was asked before."""
        total, done = self.workload().num_frames, 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        collect = self._collector.collect
        data, only_clean = self.data, [CLEAN]
        simulated = collect(self._simulated, only_clean, advance)[CLEAN]
        calibration = None
        if data.calibration is not None:
            calibration = collect(data.calibration, only_clean, advance)[CLEAN]
        parts = [collect(source, self._conditions, advance) for source in data.tested]
        return CollectedData(
            tested={c: join([part[c] for part in parts]) for c in self._conditions},
            simulated=simulated,
            simulated_description=self._simulated.description,
            calibration=calibration,
            sequences=[collect(s, self._run_in_sequence, advance) for s in data.sequences],
            sequence_conditions=[c for c in self._sequence_conditions if c != CLEAN],
            clean_drives=[collect(s, only_clean, advance)[CLEAN] for s in data.clean_drives],
        )

    def _pairs(self) -> list[tuple[FrameSource, list[Condition]]]:
        pairs = [(self._simulated, [CLEAN])]
        if self.data.calibration is not None:
            pairs.append((self.data.calibration, [CLEAN]))
        pairs += [(source, self._conditions) for source in self.data.tested]
        pairs += [(source, self._run_in_sequence) for source in self.data.sequences]
        return pairs + [(source, [CLEAN]) for source in self.data.clean_drives]
