# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Running the detector once on each scan of each condition, resumable condition by condition."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection import decode, decode_anchors, decode_center, pillars
from eloss_perception.errors import BackendError
from eloss_perception.evaluation.health import scan_features
from eloss_perception.evaluation.health.collected import Collected, stack
from eloss_perception.evaluation.health.conditions import (
    Condition,
    apply_condition,
    source_of,
)
from eloss_perception.evaluation.health.frames import FrameSource, SimulatedScans
from eloss_perception.evaluation.health.readout import NetworkTap
from eloss_perception.evaluation.settings import EVALUATION_SCORE
from eloss_perception.health import ground, readings, scan_statistics
from eloss_perception.runtime import detector as detector_module
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import DetectionThresholds, Detector

# What is kept means something else after a change here.
_FORMAT = 1

Advance = Callable[[int], None]


class Collector:
    """A bundle's detector whose answers are kept in files, so that none is computed twice.

    Args:
        bundle: What is measured.
        cache: Folder for the answers; None keeps nothing.
        seed: Of the corruptions.
        backend: Name of the backend.
        num_threads: Of the backend.

    Raises:
        BackendError: If the backend cannot run the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        cache: Path | None,
        seed: int = 0,
        backend: str = "onnxruntime_cpu",
        num_threads: int = 2,
    ) -> None:
        self.bundle = bundle
        self.seed = seed
        self._cache = cache
        thresholds = DetectionThresholds(score=EVALUATION_SCORE)
        self._detector = Detector(
            bundle, backend, BackendSettings(num_threads=num_threads), thresholds
        )
        self._tap = NetworkTap(self._detector.backend)
        self._detector.backend = self._tap
        # What turns a scan into numbers; the scoring of readings is not part of it.
        modules = (
            *(pillars, readings, scan_statistics, ground, decode, decode_anchors, decode_center),
            *(detector_module, scan_features),
        )
        self._code = "".join(inspect.getsource(module) for module in modules)

    def collect(
        self,
        source: FrameSource,
        conditions: Sequence[Condition],
        advance: Advance | None = None,
    ) -> dict[Condition, Collected]:
        """Return what the detector says of a source under each condition.

        Args:
            source: The scans.
            conditions: What is done to them.
            advance: Called with the number of frames that one more step brought, kept ones
                included.
        """
        collected = {}
        for condition in conditions:
            path = self._path(source, condition)
            if path is not None and path.is_file():
                collected[condition] = Collected.load(path)
                if advance is not None:
                    advance(len(source.frames.ids))
                continue
            result = self._run(source, condition, advance)
            if path is not None:
                result.save(path)
            collected[condition] = result
        if isinstance(source.frames, SimulatedScans):
            source.frames.release()
        return collected

    def num_missing(self, source: FrameSource, conditions: Sequence[Condition]) -> int:
        """Return how many frames are yet to be run."""
        paths = [self._path(source, condition) for condition in conditions]
        missing = sum(path is None or not path.is_file() for path in paths)
        return missing * len(source.frames.ids)

    def _run(self, source: FrameSource, condition: Condition, advance: Advance | None) -> Collected:
        frames = []
        previous: NDArray[np.float32] | None = None
        for index, frame_id in enumerate(source.frames.ids):
            points = source.frames.points(frame_id)
            scan = apply_condition(
                condition,
                points,
                self.seed,
                source.name,
                index,
                previous,
                source.is_sequence,
            )
            if source.is_sequence:
                previous = points
            frames.append(self._read(scan))
            if advance is not None:
                advance(1)
        return stack(frames)

    def _read(self, points: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """Return everything that is kept of one scan."""
        detections = self._detector.detect(points)
        outputs = self._tap.outputs
        if outputs is None:
            raise BackendError("the detector did not ask its backend for the frame")
        boxes = detections.boxes
        # The logistic function of the greatest logit is the greatest probability.
        largest = np.asarray(outputs.class_logits.max(axis=0), np.float64)
        probability = np.mean(1.0 / (1.0 + np.exp(-np.clip(largest, -60.0, 60.0))))
        mean_score = float(boxes.scores.mean()) if len(boxes) else 0.0
        return {
            "readings": np.asarray(detections.readings, np.float64),
            "layer_entropy": np.asarray(outputs.layer_entropy, np.float64),
            "layer_log_rms": np.asarray(outputs.layer_log_rms, np.float64),
            "num_points": np.array(float(len(points))),
            "range_histogram": scan_features.range_histogram(points),
            "morans_i": scan_features.morans_i(points),
            "confidence": np.array([mean_score, float(probability)]),
            "boxes": np.asarray(boxes.boxes, np.float32),
            "box_scores": np.asarray(boxes.scores, np.float32),
            "box_labels": np.asarray(boxes.labels, np.int64),
        }

    def _path(self, source: FrameSource, condition: Condition) -> Path | None:
        if self._cache is None:
            return None
        parts = (
            str(_FORMAT),
            self.bundle.facts.onnx_sha256,
            self._detector.backend.description,
            source.description,
            condition.label,
            source_of(condition),
            str(self.seed),
            self._code,
        )
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        name = condition.label.replace(":", "-")
        return self._cache / source.name / f"{name}-{key}.npz"
