# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector: points in, boxes and health readings out. Read `PillarDetector.detect` first."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.decode import decode
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import HeadConfig
from eloss_perception.detection.pillars import PointCounts
from eloss_perception.detection.points import Sampler
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.health.fingerprints import Fingerprints, sector_fingerprints
from eloss_perception.health.readings import make_readings
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import (
    OUTPUT_NAMES,
    Backend,
    BackendSettings,
    NetworkOutputs,
)
from eloss_perception.runtime.bundle import Bundle


class DetectionThresholds(BaseModel):
    """What counts as a detection; may change between frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float = Field(0.5, ge=0, le=1, description="least score of a box")
    class_score: dict[str, float] = Field(
        default_factory=dict, description="least score of single classes, by name"
    )
    nms_iou: float = Field(0.1, ge=0, le=1, description="BEV IoU above which the weaker box goes")
    max_boxes: int = Field(200, ge=1, le=1000)


@dataclass(frozen=True, slots=True)
class StageTimings:
    """Wall time of the stages of one frame [ms]."""

    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    readings_ms: float


@dataclass(frozen=True, slots=True)
class Detections:
    """What the detector says of one frame.

    Attributes:
        boxes: Boxes in the network frame, by descending score; labels index ``class_names``.
        readings: (R,) float64, what the frame's health is judged by; see ``health/readings.py``.
        fingerprints: (16,) uint64 of the scan's sectors; see ``health/fingerprints.py``.
        counts: What became of the points.
        timings: Where the time went.
    """

    boxes: Boxes3D
    readings: npt.NDArray[np.float64]
    fingerprints: Fingerprints
    counts: PointCounts
    timings: StageTimings


class PillarDetector:
    """A network, wherever it runs, with what comes before and after it.

    Attributes:
        thresholds: Used from the next frame on when changed.
        class_names: Name of each label.
    """

    def __init__(
        self,
        backend: Backend,
        grid: PillarGrid,
        head: HeadConfig,
        class_names: tuple[str, ...],
        thresholds: DetectionThresholds | None = None,
    ) -> None:
        """Takes a network that is ready to run.

        Raises:
            ConfigError: If a class of the thresholds is unknown.
        """
        self.backend = backend
        self.grid = grid
        self.head = head
        self.class_names = class_names
        self._sample = Sampler()
        self._output_shapes: list[tuple[int, ...]] | None = None  # of a bundle, where there is one
        self.thresholds = thresholds or DetectionThresholds()

    @property
    def thresholds(self) -> DetectionThresholds:
        """What counts as a detection."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, thresholds: DetectionThresholds) -> None:
        unknown = set(thresholds.class_score) - set(self.class_names)
        if unknown:
            raise ConfigError(
                f"class_score names {sorted(unknown)}; the network's classes are "
                f"{', '.join(self.class_names)}"
            )
        scores = [thresholds.class_score.get(name, thresholds.score) for name in self.class_names]
        self._thresholds = thresholds
        self._score_thresholds = np.array(scores, np.float32)

    def detect(self, points: npt.NDArray[np.float32]) -> Detections:
        """Detects objects in one scan.

        Args:
            points: (N, 4) float32 x, y, z [m] in the network frame, intensity in [0, 1].

        Returns:
            Boxes, readings, counts and timings; equal input gives equal output, bit for bit.

        Raises:
            CloudError: If ``points`` has another shape or dtype.
            BackendError: If the backend fails on the frame.
        """
        start = time.perf_counter()
        pillars = self.backend.pillarize(points)
        pillarized = time.perf_counter()
        outputs = self.backend.run(pillars)
        self._check_shapes(outputs)
        inferred = time.perf_counter()
        boxes = decode(
            outputs.class_logits,
            outputs.box_regression,
            self.head,
            self.grid,
            self._score_thresholds,
            self._thresholds.nms_iou,
            self._thresholds.max_boxes,
        )
        decoded = time.perf_counter()
        sample = self._sample(points)
        readings = make_readings(
            outputs.layer_entropy, outputs.layer_log_rms, sample, pillars.counts
        )
        fingerprints = sector_fingerprints(sample)
        read = time.perf_counter()
        timings = StageTimings(
            preprocess_ms=(pillarized - start) * 1e3,
            inference_ms=(inferred - pillarized) * 1e3,
            postprocess_ms=(decoded - inferred) * 1e3,
            readings_ms=(read - decoded) * 1e3,
        )
        return Detections(boxes, readings, fingerprints, pillars.counts, timings)

    def _check_shapes(self, outputs: NetworkOutputs) -> None:
        """Some files do not say what the network gives; what does not fit must not be decoded."""
        found = [getattr(outputs, name).shape for name in OUTPUT_NAMES]
        if self._output_shapes is not None and found != self._output_shapes:
            raise BackendError(
                f"the network's outputs have the shapes {found}, by its bundle's facts "
                f"{self._output_shapes}; export the bundle again"
            )

    def warm_up(self, num_frames: int = 3) -> None:
        """Runs synthetic frames, so that the first real one finds code compiled and memory taken.

        Raises:
            BackendError: If the backend fails on them.
        """
        points = full_scan(self.grid)
        for _ in range(num_frames):
            self.detect(points)

    def close(self) -> None:
        """Frees the network; nothing else may be called afterwards."""
        self.backend.close()


def full_scan(grid: PillarGrid) -> npt.NDArray[np.float32]:
    """A synthetic scan that fills every pillar the grid allows: no later one makes a buffer grow.

    Returns:
        (N, 4) float32 points; always the same.
    """
    limits = grid.point_cloud_range
    rng = np.random.default_rng(0)
    positions = rng.uniform(limits[:3], limits[3:], (4 * grid.max_pillars, 3))
    intensity = np.full(len(positions), 0.3)
    return np.column_stack([positions, intensity]).astype(np.float32)


class Detector(PillarDetector):
    """A bundle's network on a backend."""

    def __init__(
        self,
        bundle: Bundle,
        backend: str | Backend = "onnxruntime_cpu",
        settings: BackendSettings | None = None,
        thresholds: DetectionThresholds | None = None,
    ) -> None:
        """Loads the network.

        Args:
            bundle: The network and its facts.
            backend: Name of the backend to load it on, or one that has loaded it.
            settings: How a backend given by name runs.
            thresholds: What counts as a detection.

        Raises:
            ConfigError: If the backend or a class of the thresholds is unknown.
            BackendError: If the backend cannot run the bundle, or would run it wrongly because it
                was quantized for another.
        """
        if isinstance(backend, str):
            backend = load_backend(
                backend,
                bundle.onnx,
                bundle.grid,
                settings or BackendSettings(),
                bundle.facts.quantization,
            )
        super().__init__(backend, bundle.grid, bundle.facts.head, bundle.class_names, thresholds)
        self.bundle = bundle
        self._output_shapes = [bundle.output_shapes[name] for name in OUTPUT_NAMES]
