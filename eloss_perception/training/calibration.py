# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Health reference of a bundle from clean scans."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.core.entropy import eloss
from eloss_perception.core.health import HealthReference, make_readings
from eloss_perception.errors import DataError
from eloss_perception.kitti.dataset import KittiDataset
from eloss_perception.runtime.bundle import Bundle, health_facts, write_facts
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.scene import simulate_scan

# With fewer frames than this a 13-reading covariance is mostly noise.
MIN_FRAMES = 30

_CALIBRATION_SEED = 770_000  # scenes that neither training nor export parity uses


def simulated_scans(num_frames: int) -> Iterable[npt.NDArray[np.float32]]:
    """Clean full-turn simulated scans, the shipped bundles' source."""
    for index in range(num_frames):
        yield simulate_scan(_CALIBRATION_SEED + index).points


def kitti_scans(root: Path, split: str) -> Iterable[npt.NDArray[np.float32]]:
    """The scans of one split of a KITTI root."""
    dataset = KittiDataset(root, split)
    for frame_id in dataset.ids:
        yield dataset.points(frame_id)


def calibrate_bundle(
    path: Path,
    scans: Iterable[npt.NDArray[np.float32]],
    source: str,
    false_alarm_rate: float = 0.01,
    keep_covariance: bool = False,
    progress: Callable[[int], None] | None = None,
) -> HealthReference:
    """Computes a bundle's health reference from clean scans and stores it in the bundle.

    Args:
        path: The bundle.
        scans: Clean (N, 4) scans in the network frame.
        source: What the scans are, in words; stored with the reference.
        false_alarm_rate: Share of clean frames whose score may exceed the threshold, before
            hysteresis.
        keep_covariance: Keep the bundle's covariance and threshold and move only the mean: for a
            few frames from the vehicle's own sensor, too few to estimate a covariance.
        progress: Called with the number of frames read so far.

    Raises:
        BundleError: If the bundle cannot be read, or has no covariance to keep.
        DataError: If there are too few scans, or their readings do not vary or are not finite.
    """
    bundle = Bundle.load(path)
    detector = Detector(bundle)
    rows = []
    for number, points in enumerate(scans, 1):
        detections = detector.detect(points)
        counts = detections.counts
        rows.append(
            make_readings(detections.layer_entropy, counts.num_in_range, counts.num_occupied)
        )
        if progress is not None:
            progress(number)
    readings = np.array(rows)
    if len(readings) < MIN_FRAMES and not keep_covariance:
        raise DataError(
            f"{len(readings)} scans are too few to calibrate on; {MIN_FRAMES} are needed"
        )
    if len(readings) == 0 or not np.isfinite(readings).all():
        raise DataError("no scans, or a reading is not finite: the data cannot serve as clean")
    stages = bundle.facts.layer_stages
    normal = float(np.median([eloss(row[: len(stages)], stages) for row in readings]))
    if keep_covariance:
        old = bundle.require_health()
        reference = HealthReference(
            layer_names=old.layer_names,
            stages=old.stages,
            mean=np.median(readings, axis=0),
            covariance=old.covariance,
            threshold=old.threshold,
            eloss_normal=normal,
            num_frames=len(readings),
            source=f"mean from {source}; covariance and threshold from {old.source}",
        )
    else:
        reference = _estimate(bundle, readings, source, false_alarm_rate, normal)
    write_facts(path, bundle.facts.model_copy(update={"health": health_facts(reference)}))
    return reference


def _estimate(
    bundle: Bundle,
    readings: npt.NDArray[np.float64],
    source: str,
    false_alarm_rate: float,
    eloss_normal: float,
) -> HealthReference:
    """Mean, shrunk covariance and threshold.

    The threshold is taken on frames that the covariance has not seen (two halves, each scored by
    the other), since in-sample distances are too small.
    """
    if (readings.std(axis=0) < 1e-9).any():
        raise DataError("a reading is the same in every scan: the data is degenerate")

    def reference(rows: npt.NDArray[np.float64], threshold: float) -> HealthReference:
        return HealthReference(
            layer_names=bundle.facts.layer_names,
            stages=bundle.facts.layer_stages,
            mean=rows.mean(axis=0),
            covariance=_shrunk_covariance(rows),
            threshold=threshold,
            eloss_normal=eloss_normal,
            num_frames=len(rows),
            source=source,
        )

    halves = (readings[0::2], readings[1::2])
    held_out = [
        reference(fit, 1.0).score(row) for fit, scored in (halves, halves[::-1]) for row in scored
    ]
    return reference(readings, float(np.quantile(held_out, 1.0 - false_alarm_rate)))


def _shrunk_covariance(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Covariance shrunk towards independence of the readings.

    The correlation matrix is shrunk by the Oracle Approximating Shrinkage of Chen, Wiesel, Eldar
    and Hero (2010), towards the identity; working on correlations keeps readings of different
    spread apart.
    """
    std = rows.std(axis=0, ddof=1)
    correlation = np.corrcoef(rows, rowvar=False)
    n, p = rows.shape
    trace_squared = np.sum(correlation * correlation)
    numerator = (1.0 - 2.0 / p) * trace_squared + p * p
    denominator = (n + 1.0 - 2.0 / p) * (trace_squared - p)
    shrinkage = 1.0 if denominator <= 0 else min(1.0, numerator / denominator)
    shrunk = (1.0 - shrinkage) * correlation + shrinkage * np.eye(p)
    return np.asarray(shrunk * np.outer(std, std))
