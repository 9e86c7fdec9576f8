# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Running the detector once on each scan of each condition, resumable condition by condition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import BackendError, DataError
from eloss_perception.evaluation.criteria import EVALUATION_SCORE
from eloss_perception.evaluation.health.frames import (
    FrameSource,
    SimulatedScans,
    apply_condition,
)
from eloss_perception.evaluation.health.readout import NetworkTap, morans_i, range_histogram
from eloss_perception.files import new_file
from eloss_perception.health.readings import READINGS_VERSION
from eloss_perception.health.reference import Condition
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import DetectionThresholds, Detector
from eloss_perception.simulation import SIMULATOR_VERSION
from eloss_perception.simulation.corruptions import CORRUPTIONS_VERSION

# To be raised with any change of what is kept, or of what a scan's readings or boxes are.
_FORMAT = 2

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
            "range_histogram": range_histogram(points),
            "morans_i": morans_i(points),
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
            str(READINGS_VERSION),
            self.bundle.facts.onnx_sha256,
            self._detector.backend.description,
            source.description,
            condition.label,
            str(SIMULATOR_VERSION),
            str(CORRUPTIONS_VERSION),
            str(self.seed),
        )
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        name = condition.label.replace(":", "-")
        return self._cache / source.name / f"{name}-{key}.npz"


@dataclass(frozen=True, slots=True)
class Collected:
    """F frames.

    Attributes:
        readings: (F, R) float64 what the health reference judges.
        layer_entropy: (F, L) float64.
        layer_log_rms: (F, L) float64.
        num_points: (F,) float64 points of the scan.
        range_histogram: (F, B) float64 points in each range bin.
        morans_i: (F, 2) float64 autocorrelation of log range and of intensity.
        confidence: (F, 2) float64: mean score of the boxes, and mean over the map of the greatest
            class probability.
        boxes: (M, 7) float32 boxes of all frames, LiDAR frame.
        box_scores: (M,) float32.
        box_labels: (M,) int64.
        num_boxes: (F,) int64 how many of them belong to each frame.
    """

    readings: NDArray[np.float64]
    layer_entropy: NDArray[np.float64]
    layer_log_rms: NDArray[np.float64]
    num_points: NDArray[np.float64]
    range_histogram: NDArray[np.float64]
    morans_i: NDArray[np.float64]
    confidence: NDArray[np.float64]
    boxes: NDArray[np.float32]
    box_scores: NDArray[np.float32]
    box_labels: NDArray[np.int64]
    num_boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.num_boxes)

    def take(self, frames: NDArray[np.int64] | NDArray[np.bool_]) -> Collected:
        """Return some frames without their boxes, which only whole sources are scored by."""
        empty = slice(0, 0)
        return Collected(
            **{
                item.name: getattr(self, item.name)[empty if item.name in _BOXES else frames]
                for item in fields(self)
                if item.name != "num_boxes"
            },
            num_boxes=np.zeros(len(self.num_boxes[frames]), np.int64),
        )

    def save(self, path: Path) -> None:
        """Write the arrays; a crash leaves no half a file under the name.

        Raises:
            DataError: If the file cannot be written.
        """
        with new_file(path) as file:
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Collected:
        """Read what `save` wrote.

        Raises:
            DataError: If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{item.name: arrays[item.name] for item in fields(cls)})
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(f"{path}: cannot be read, delete it: {error}") from error


_BOXES = frozenset({"boxes", "box_scores", "box_labels"})


def join(parts: Sequence[Collected]) -> Collected:
    """Return the frames of several sources, one after the other."""
    return Collected(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(Collected)
        }
    )


def stack(frames: Iterable[dict[str, NDArray[np.generic]]]) -> Collected:
    """Return single frames, each an array a field without the first axis, as one."""
    rows = list(frames)
    stacked = {}
    for item in fields(Collected):
        if item.name == "num_boxes":
            continue
        values = [row[item.name] for row in rows]
        stacked[item.name] = np.concatenate(values) if item.name in _BOXES else np.stack(values)
    lengths = np.array([len(row["boxes"]) for row in rows], np.int64)
    return Collected(**stacked, num_boxes=lengths)
