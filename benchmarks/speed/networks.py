# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several networks or backends on the same scans, in turns, so that all see the same machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.speed.row import Progress
from benchmarks.speed.scans import PointArray
from eloss_perception.runtime.detector import Detector

# The first frames of a turn find the caches filled by the network before, and wait for the threads
# of its runtime to go to sleep.
_NUM_UNTIMED = 1
_BLOCK = 4
_PAUSE_S = 0.03


@dataclass(slots=True)
class NetworkTimes:
    """Milliseconds of every timed frame: the network alone, and the detector in all."""

    network_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)

    @property
    def network(self) -> float:
        """Median of the network [ms]."""
        return float(np.median(self.network_ms))

    @property
    def total(self) -> float:
        """Median of the detector, from points to boxes and readings [ms]."""
        return float(np.median(self.total_ms))

    def stage(self, name: str) -> float:
        """Median of a stage of `StageTimings` [ms]."""
        return float(np.median(self.stages_ms[name]))


def time_in_turns(
    detectors: Mapping[str, Detector],
    scans: list[PointArray],
    num_frames: int,
    progress: Progress,
) -> dict[str, NetworkTimes]:
    """Runs blocks of frames on each detector in turns, another one first in each round.

    Args:
        detectors: By name.
        scans: Used one after the other.
        num_frames: Timed frames of each detector, at least.
        progress: Told the round.
    """
    times = {name: NetworkTimes() for name in detectors}
    names = list(detectors)
    for detector in detectors.values():
        detector.warm_up()
    num_rounds = -(-num_frames // _BLOCK)
    for i in range(num_rounds):
        progress(f"round {i + 1} of {num_rounds}")
        first = i % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_PAUSE_S)
            for k in range(-_NUM_UNTIMED, _BLOCK):
                points = scans[(i * _BLOCK + k) % len(scans)]
                start = time.perf_counter()
                timings = detectors[name].detect(points).timings
                total_ms = (time.perf_counter() - start) * 1e3
                if k < 0:
                    continue
                found = times[name]
                found.network_ms.append(timings.inference_ms)
                found.total_ms.append(total_ms)
                for stage in type(timings).__dataclass_fields__:
                    found.stages_ms.setdefault(stage, []).append(getattr(timings, stage))
    return times
