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
from eloss_perception.errors import BackendError, BundleError, ConfigError, printable
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.readings import make_readings, reading_names
from eloss_perception.health.recent_frames import Fingerprints, sector_fingerprints
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import (
    OUTPUT_NAMES,
    Backend,
    BackendSettings,
    NetworkOutputs,
)
from eloss_perception.runtime.bundle import Bundle


class DetectionThresholds(BaseModel):
    """Which boxes are kept; may change between frames."""

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
    """The results of one frame.

    Attributes:
        boxes: Boxes in the network frame, by descending score; labels index ``class_names``.
        readings: (R,) float64 that the frame's health is judged by; see ``health/readings.py``.
        fingerprints: (16,) uint64 of the scan's sectors; see ``health/recent_frames.py``.
        counts: What became of the points.
        timings: Where the time went.
    """

    boxes: Boxes3D
    readings: npt.NDArray[np.float64]
    fingerprints: Fingerprints
    counts: PointCounts
    timings: StageTimings


class PillarDetector:
    """A network on any backend, with pillars before it and decoding and readings after it.

    Attributes:
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
        """Takes a backend that has loaded the network.

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
        """Which boxes are kept; a change takes effect with the next frame."""
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
        # 1. Points to pillars, and pillars to maps of logits and boxes, where the network runs.
        pillars = self.backend.pillarize(points)
        pillarized = time.perf_counter()
        outputs = self.backend.run(pillars)
        self._check_shapes(outputs)
        inferred = time.perf_counter()
        # 2. Maps to boxes: score threshold and non-maximum suppression.
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
        # 3. Layers, scan and counts to the readings that the frame's health is judged by.
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
        """Refuses outputs that do not fit the bundle: not every file states their shapes."""
        found = [getattr(outputs, name).shape for name in OUTPUT_NAMES]
        if self._output_shapes is not None and found != self._output_shapes:
            raise BackendError(
                f"the network's outputs have the shapes {found}, by its bundle's facts "
                f"{self._output_shapes}; export the bundle again"
            )

    def warm_up(self, num_frames: int = 3) -> None:
        """Runs synthetic frames, so that code is compiled and memory allocated before a real one.

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
    """Returns a synthetic scan that fills every pillar, so that no later one makes a buffer grow.

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
            thresholds: Which boxes are kept.

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

    def check_health_reference(self) -> None:
        """Judges a synthetic frame, so that a reference that does not fit is refused at the start.

        Raises:
            BundleError: If there is no reference, or its readings are not those of the network.
            BackendError: If the backend fails on the frame.
        """
        bundle, reference = self.bundle, self.bundle.require_health()
        layer_names = bundle.facts.layer_names
        if reference.reading_names != reading_names(layer_names):
            raise BundleError(
                f"{bundle.path}: the health reference is not one of this network's layers"
                f" ({printable(', '.join(layer_names), 200)}); run `eloss calibrate` on it"
            )
        readings = self.detect(full_scan(self.grid)).readings
        if readings.shape != reference.mean.shape:
            raise BundleError(
                f"{bundle.path}: the network gives {len(readings)} readings, its health reference"
                f" is of {len(reference.mean)}; run `eloss calibrate` on it"
            )
        HealthMonitor(reference).update(readings)
