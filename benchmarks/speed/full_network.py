# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Full PointPillars on the CPU: quantised against float32, network time, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.speed.bundles import existing_bundle
from benchmarks.speed.networks import NetworkTimes, time_in_turns
from benchmarks.speed.row import (
    Benchmark,
    NotMeasuredError,
    Progress,
    Row,
    Value,
    milliseconds,
    ratio,
)
from benchmarks.speed.settings import BenchmarkSettings
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


BENCHMARK = Benchmark(
    what="full PointPillars int8 on the CPU, network time",
    against="ONNX Runtime float32 of the same network",
    bar=f">= {_BAR:g} x faster, AP within {_AP_LOSS:g}",
    measure=measure,
)
