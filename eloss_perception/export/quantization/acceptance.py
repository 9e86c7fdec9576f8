# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a quantised network is good enough: AP loss and drift of the readings on equal frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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
from eloss_perception.export.quantization.writer import QuantizationSettings
from eloss_perception.health.fit import normal_eloss, resolution_of
from eloss_perception.health.readings import NETWORK_CHECKS, check_of, reading_names
from eloss_perception.health.reference import HealthReference
from eloss_perception.interrupts import check_interrupt
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import DetectionThresholds, PillarDetector
from eloss_perception.training.validation import moderate_scores

Points = npt.NDArray[np.float32]
Readings = npt.NDArray[np.float64]
Advance = Callable[[int], None]

_CLASS = "car"


@dataclass(frozen=True)
class Measured:
    """Accuracy, readings and time of one network on the frames of the comparison.

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
    """A detector with another network of a bundle, on ONNX Runtime's CPU kernels.

    They compute what the graph says for every target, also for TensorRT where it is not installed.
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
        advance: Called with the number of scans done.
    """
    ids = dataset.ids
    frames, times = run_detector(detector, dataset, ids, progress=lambda done, _: advance(done))
    scores = moderate_scores(evaluate_detections(frames, detector.class_names))
    scores = {name: value for name, value in scores.items() if not math.isnan(value)}
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


def refusal_of(comparison: Comparison, settings: QuantizationSettings) -> str | None:
    """Why a quantised network is not good enough, in one line; None if it is."""
    if not comparison.car_drop <= settings.max_ap_drop:
        return (
            f"{settings.precision} costs {comparison.car_drop:.2f} points of Car's moderate AP, "
            f"more than {settings.max_ap_drop:g}"
        )
    if not comparison.largest_drift <= settings.max_drift:
        return (
            f"{settings.precision} shifts {comparison.most_drifted} by "
            f"{comparison.largest_drift:.2f} of its calibrated spread, more than "
            f"{settings.max_drift:g}"
        )
    return None


def move_to_quantized(
    reference: HealthReference, before: Readings, after: Readings, source: str
) -> HealthReference:
    """Recalibrates a reference for the quantised network, by the change of the readings.

    The two read the same scans. So differences between streets, hundreds of times what quantisation
    changes, cancel, and a few dozen scans suffice: the mean moves by the mean difference, the
    spread by the ratio of the spreads. Covariances and profiles are in units of that spread; they
    and the threshold, which took ten thousand scans to fit, stay.

    Args:
        reference: Of the float network.
        before: (N, R) readings of clean scans by the float network.
        after: (N, R) readings of the same scans by the quantised one.
        source: What was done, in words; added to the reference's source.
    """
    of_network = np.array([check_of(name) in NETWORK_CHECKS for name in reference.reading_names])
    resolution = resolution_of(reference.reading_names)
    ratio = np.sqrt((after.var(axis=0) + resolution**2) / (before.var(axis=0) + resolution**2))
    # Readings of the scan do not depend on the network.
    moved = np.where(of_network, (after - before).mean(axis=0), 0.0)
    stages = reference.stages
    eloss_change = normal_eloss(after, stages) - normal_eloss(before, stages)
    return replace(
        reference,
        mean=reference.mean + moved,
        std=reference.std * np.where(of_network, ratio, 1.0),
        eloss_normal=max(0.0, reference.eloss_normal + eloss_change),
        source=f"{reference.source}; {source}",
    )
