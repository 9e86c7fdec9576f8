# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Full PointPillars on the CPU: quantised against float32, network time, in turns.

`time_in_turns` times several networks or backends on the same scans, so that all see the same
state of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.speed.rows import (
    Benchmark,
    BenchmarkSettings,
    NotMeasuredError,
    Progress,
    Row,
    Value,
    existing_bundle,
    milliseconds,
    ratio,
)
from benchmarks.speed.scans import PointArray
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector

_BAR = 2.5
_AP_LOSS = 0.5
_NUM_SCANS = 4
_BASE = "ONNX Runtime float32"
# Name -> whether of the quantised bundle, and the backend.
_CASES = {
    _BASE: (False, "onnxruntime_cpu"),
    "OpenVINO int8": (True, "openvino"),
    "ONNX Runtime int8": (True, "onnxruntime_cpu"),
    "OpenVINO float32": (False, "openvino"),
}
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


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Runs what can be run here and compares medians."""
    from eloss_perception.simulation.drive import simulate_scan

    folders = (
        existing_bundle(settings.full_bundle, "full float32 bundle"),
        existing_bundle(settings.full_int8_bundle, "full bundle quantised for CPUs"),
    )
    detectors, missing = load_detectors(folders, settings.num_threads)
    if _BASE not in detectors or not any(_CASES[name][0] for name in detectors):
        raise NotMeasuredError("; ".join(missing))
    progress("simulating scans")
    scans = [simulate_scan(seed).points for seed in range(_NUM_SCANS)]
    try:
        times = time_in_turns(detectors, scans, settings.num_frames, progress)
    finally:
        for detector in detectors.values():
            detector.backend.close()
    changes = ap_changes(Bundle.load(folders[0]), Bundle.load(folders[1]))
    return row_of(times, changes, settings.num_threads, missing)


def load_detectors(
    folders: tuple[Path, Path], num_threads: int
) -> tuple[dict[str, Detector], list[str]]:
    """Returns what can be loaded here by name, and why the rest cannot."""
    detectors: dict[str, Detector] = {}
    missing = []
    for name, (is_int8, backend) in _CASES.items():
        bundle = Bundle.load(folders[is_int8])
        try:
            detectors[name] = Detector(bundle, backend, BackendSettings(num_threads=num_threads))
        except (BackendError, ConfigError) as error:
            missing.append(f"{name}: {error}")
    return detectors, missing


def ap_changes(full: Bundle, quantized: Bundle) -> dict[str, float]:
    """What `eloss quantize` measured on labelled frames: AP after minus before, by metric [points].

    Empty where the quantised bundle does not say, or was made from another network.
    """
    facts = quantized.facts.quantization
    if facts is None or facts.source_sha256 != full.facts.onnx_sha256:
        return {}
    return {name: after - before for name, (before, after) in facts.average_precision.items()}


def row_of(
    times: dict[str, NetworkTimes],
    changes: dict[str, float],
    num_threads: int,
    missing: list[str],
) -> Row:
    """The row of all that was timed."""
    base = times[_BASE].network
    quantised = {name: found for name, found in times.items() if _CASES[name][0]}
    best = min(quantised, key=lambda name: quantised[name].network)
    speedup = base / quantised[best].network
    values = [Value("threads", num_threads)]
    for name, found in times.items():
        values += [
            milliseconds(f"{name}, network", found.network),
            milliseconds(f"{name}, detector in all", found.total),
        ]
        if name != _BASE:
            values.append(ratio(f"{name}, times faster", base / found.network))
    notes = list(missing)
    met: bool | None = speedup >= _BAR
    values += [
        Value(f"{name} after minus before", round(change, 2), "points")
        for name, change in changes.items()
    ]
    # The rule by which `eloss quantize` accepts a network.
    car = [change for name, change in changes.items() if name.startswith("Car_")]
    if car:
        met = met and float(np.mean(car)) >= -_AP_LOSS
        ap_text = f", AP of Car {np.mean(car):+.2f}"
    else:
        notes.append("what quantisation costs in AP was not measured on this float32 bundle")
        met = None if met else False
        ap_text = ""
    return Row(
        measured=(
            f"{speedup:.2f} x faster: {base:.0f} ms to {quantised[best].network:.0f} ms"
            f" ({best}){ap_text}"
        ),
        values=tuple(values),
        met=met,
        note="; ".join(notes),
    )


BENCHMARKS = {
    "full_network": Benchmark(
        what="full PointPillars int8 on the CPU, network time",
        against="ONNX Runtime float32 of the same network",
        bar=f">= {_BAR:g} x faster, AP within {_AP_LOSS:g}",
        measure=measure,
    )
}
