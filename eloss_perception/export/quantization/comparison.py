# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A quantised network beside the float one: average precision and readings on the same frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.datasets.kitti.dataset import KittiFrames
from eloss_perception.errors import DataError
from eloss_perception.evaluation import (
    EVALUATION_SCORE,
    evaluate_detections,
    run_detector,
)
from eloss_perception.health.fit import resolution_of
from eloss_perception.health.readings import NETWORK_CHECKS, check_of, reading_names
from eloss_perception.interrupts import check_interrupt
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import DetectionThresholds, PillarDetector

Points = npt.NDArray[np.float32]
Readings = npt.NDArray[np.float64]
Advance = Callable[[int], None]

_CLASS = "car"


@dataclass(frozen=True)
class Measured:
    """What one network does on the frames that both are compared on.

    Attributes:
        average_precision: ``Car_bev_0.7`` and the like -> AP R40 [%] at moderate difficulty.
        readings: (N, R) of clean scans.
        inference_ms: Median time of the network.
    """

    average_precision: dict[str, float]
    readings: Readings
    inference_ms: float


@dataclass(frozen=True)
class Comparison:
    """Float against quantised.

    Attributes:
        average_precision: Metric -> before, after [%].
        car_drop: Mean loss of the metrics of Car [points]; of all classes where Car is none.
        drift: Reading of a layer -> root mean square of its paired difference, in spreads.
    """

    average_precision: dict[str, tuple[float, float]]
    car_drop: float
    drift: dict[str, float]

    @property
    def largest_drift(self) -> float:
        """Of all readings of layers."""
        return max(self.drift.values())

    @property
    def most_drifted(self) -> str:
        """The reading that drifts most."""
        return max(self.drift, key=self.drift.__getitem__)


def network_on(bundle: Bundle, onnx_path: Path, num_threads: int) -> PillarDetector:
    """A network in a bundle's place, on ONNX Runtime's CPU kernels.

    They compute what the graph says, which is what the networks for every target are: of TensorRT
    too, where it is not installed.
    """
    backend = load_backend(
        "onnxruntime_cpu", onnx_path, bundle.grid, BackendSettings(num_threads=num_threads)
    )
    thresholds = DetectionThresholds(score=EVALUATION_SCORE)
    return PillarDetector(backend, bundle.grid, bundle.facts.head, bundle.class_names, thresholds)


def measure(
    detector: PillarDetector, dataset: KittiFrames, scans: Iterable[Points], advance: Advance
) -> Measured:
    """Runs a network on labelled frames and on clean scans.

    Args:
        detector: The network.
        dataset: Labelled frames.
        scans: Clean (N, 4) scans in the network frame.
        advance: Told how many scans have been read.
    """
    ids = dataset.ids
    frames, times = run_detector(detector, dataset, ids, progress=lambda done, _: advance(done))
    result = evaluate_detections(frames, detector.class_names)
    scores = {}
    for class_name, metrics in result.ap.items():
        for metric in ("bev", "3d"):
            for kind, by_level in metrics[metric].items():
                value = by_level["moderate"].ap_r40
                if not math.isnan(value):
                    overlap = result.min_overlap[class_name][kind]
                    scores[f"{class_name}_{metric}_{overlap:g}"] = value
    rows = []
    for number, points in enumerate(scans, 1):
        check_interrupt()
        rows.append(detector.detect(points).readings)
        advance(len(ids) + number)
    return Measured(scores, np.array(rows), times["inference"]["p50"])


def judged_metrics(bundle: Bundle, measured: Measured) -> list[str]:
    """The metrics that accuracy is judged by: Car's, or of all classes where Car is none.

    Raises:
        DataError: If the frames hold no such object, or the network finds none: then nothing is
            measured that quantisation could cost.
    """
    judged = [name for name in bundle.class_names if name.lower() == _CLASS] or bundle.class_names
    starts = tuple(f"{name}_" for name in judged)
    found = measured.average_precision
    metrics = [metric for metric in found if metric.startswith(starts)]
    if not any(found[metric] > 0.0 for metric in metrics):
        what = "the float32 network finds no" if metrics else "the labelled frames hold no"
        raise DataError(
            f"{what} {' or '.join(judged)} of moderate difficulty: what quantisation costs cannot "
            "be measured; choose other frames (--data, --val-split)"
        )
    return metrics


def compare(bundle: Bundle, before: Measured, after: Measured) -> Comparison:
    """Compares a quantised network with the float one of a bundle.

    The drop is the mean over Car's metrics (bird's eye view and 3D, strict and loose overlap):
    on a few dozen frames a single one moves by a point whenever two scores change places.

    Raises:
        DataError: If the frames hold no object that accuracy could be judged on.
    """
    precision = {
        metric: (value, after.average_precision[metric])
        for metric, value in before.average_precision.items()
    }
    metrics = judged_metrics(bundle, before)
    drops = [precision[metric][0] - precision[metric][1] for metric in metrics]
    names = reading_names(bundle.facts.layer_names)
    if bundle.health is None:
        spread = np.sqrt(before.readings.var(axis=0) + resolution_of(names) ** 2)
    else:
        spread = bundle.health.std
    difference = (after.readings - before.readings) / spread
    rms = np.sqrt(np.mean(difference**2, axis=0))
    drift = {
        name: float(value)
        for name, value in zip(names, rms, strict=True)
        if check_of(name) in NETWORK_CHECKS
    }
    return Comparison(precision, float(np.mean(drops)), drift)
