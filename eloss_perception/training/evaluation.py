# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well a bundle detects: KITTI's metrics on a labelled folder, and the time each frame took."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eloss_perception.core.classes import CLASS_NAMES
from eloss_perception.errors import DataError
from eloss_perception.kitti.calibration import camera_view_mask
from eloss_perception.kitti.convert import boxes_to_kitti
from eloss_perception.kitti.dataset import KittiDataset, KittiFrames
from eloss_perception.training.average_precision import (
    DIFFICULTIES,
    METRICS,
    AveragePrecision,
    EvaluationFrame,
    PrecisionEvaluator,
)

# The least overlaps of the benchmark, and the looser ones that model zoos report beside them.
MIN_OVERLAPS = {
    "strict": {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5},
    "loose": {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25},
}

# AP integrates over the score: a threshold cuts the curve off, so that evaluation uses a low one.
EVALUATION_SCORE = 0.05

_SHORT_LEVELS = {"easy": "easy", "moderate": "mod.", "hard": "hard"}


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The scores of one set of frames.

    Attributes:
        num_frames: Frames evaluated.
        num_labels: Annotated objects of each KITTI type, whatever their difficulty.
        num_detections: Detections of each class that were evaluated.
        ap: class -> metric -> `strict` or `loose` -> difficulty -> scores.
        min_overlap: class -> `strict` or `loose` -> IoU that a detection must exceed.
        latency_ms: stage -> p50, p95, p99, max [ms]; empty when nothing was timed.
        provenance: What was evaluated on what, as far as the caller said.
    """

    num_frames: int
    num_labels: dict[str, int]
    num_detections: dict[str, int]
    ap: dict[str, dict[str, dict[str, dict[str, AveragePrecision]]]]
    min_overlap: dict[str, dict[str, float]]
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the result as JSON; a score that does not exist for want of objects is null."""
        return json.dumps(_without_nan(asdict(self)), indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """Return the result as text for a terminal: counts first, then AP in percent."""
        lines = [f"{name}: {value}" for name, value in self.provenance.items()]
        labels = ", ".join(f"{count} {name}" for name, count in self.num_labels.items()) or "none"
        detections = ", ".join(f"{count} {name}" for name, count in self.num_detections.items())
        lines += [
            f"frames: {self.num_frames}",
            f"labelled objects: {labels}",
            f"detections in view: {detections or 'none'}",
            "",
        ]
        levels = [_SHORT_LEVELS[level] for level in DIFFICULTIES]
        header = "".join(f"{level:>7}" for level in levels)
        lines.append(
            f"{'AP [%]':<22}{'R40':^21} |{'R11':^21} |{'exact recall':^21} |{'objects':^21}"
        )
        lines.append(f"{'class, metric, IoU':<22}" + " |".join([header] * 4))
        for class_name, metrics in self.ap.items():
            lines += self._class_rows(class_name, metrics)
        lines += ["", *self._ceiling_notes()]
        for stage, values in self.latency_ms.items():
            text = "  ".join(f"{name} {value:.1f}" for name, value in values.items())
            lines.append(f"{stage} [ms]: {text}")
        return "\n".join(lines).rstrip() + "\n"

    def _class_rows(
        self, class_name: str, metrics: dict[str, dict[str, dict[str, AveragePrecision]]]
    ) -> list[str]:
        """Return the table's rows of a class, one a metric and overlap."""
        rows = []
        for metric, overlaps in metrics.items():
            for kind, by_level in overlaps.items():
                scores = list(by_level.values())
                if not any(score.num_objects for score in scores):
                    return [f"{class_name}: no objects"]
                label = f"{class_name} {metric} {self.min_overlap[class_name][kind]:.2f}"
                cells = [
                    "".join(_percent(score.ap_r40) for score in scores),
                    "".join(_percent(score.ap_r11) for score in scores),
                    "".join(_percent(score.ap_exact) for score in scores),
                    "".join(f"{score.num_objects:>7d}" for score in scores),
                ]
                rows.append(f"{label:<22}" + " |".join(cells))
        return rows

    def _ceiling_notes(self) -> list[str]:
        """Return a line for each class on which even a perfect detector stays below 100."""
        notes = []
        for class_name, metrics in self.ap.items():
            scores = next(iter(next(iter(metrics.values())).values()))
            low = [
                f"{_SHORT_LEVELS[level]} {score.ceiling_r40:.1f}"
                for level, score in scores.items()
                if score.num_objects and score.ceiling_r40 < 99.99
            ]
            if low:
                notes.append(
                    f"{class_name}: so few objects that KITTI's sampling allows at most R40 "
                    f"{', '.join(low)}; see the exact recall"
                )
        return notes


def evaluate_detections(
    frames: Sequence[EvaluationFrame],
    class_names: Sequence[str] = CLASS_NAMES,
    latency_ms: dict[str, dict[str, float]] | None = None,
    provenance: dict[str, Any] | None = None,
) -> EvaluationResult:
    """Evaluate results against labels.

    Args:
        frames: Labels and scored detections of each frame, in KITTI's camera frame.
        class_names: Classes to evaluate, each one of KITTI's three.
        latency_ms: Kept in the result.
        provenance: Kept in the result.

    Raises:
        DataError: If a detection has no score or a class is not one of KITTI's three.
    """
    unknown = [name for name in class_names if name not in MIN_OVERLAPS["strict"]]
    if unknown:
        known = ", ".join(MIN_OVERLAPS["strict"])
        raise DataError(f"KITTI evaluates no class {', '.join(unknown)}; it evaluates {known}")
    evaluator = PrecisionEvaluator(frames)
    labels = Counter(item.type for frame in frames for item in frame.labels)
    detections = Counter(item.type for frame in frames for item in frame.detections)
    return EvaluationResult(
        num_frames=len(frames),
        num_labels=dict(labels.most_common()),
        num_detections={name: detections[name] for name in class_names},
        ap={
            class_name: {
                metric: {
                    # The image metric has no loose variant anywhere.
                    kind: {
                        level: evaluator.average_precision(
                            class_name, metric, difficulty, overlap[class_name]
                        )
                        for level, difficulty in DIFFICULTIES.items()
                    }
                    for kind, overlap in MIN_OVERLAPS.items()
                    if kind == "strict" or metric != "image"
                }
                for metric in METRICS
            }
            for class_name in class_names
        },
        min_overlap={
            name: {kind: overlap[name] for kind, overlap in MIN_OVERLAPS.items()}
            for name in class_names
        },
        latency_ms=latency_ms or {},
        provenance=provenance or {},
    )


def evaluate_bundle(
    bundle_path: str | Path,
    data_root: str | Path,
    split: str = "val",
    backend: str = "onnxruntime_cpu",
    num_threads: int = 2,
    camera_view: bool = True,
    ids: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Run a bundle on the frames of a KITTI root and evaluate what it finds.

    Args:
        bundle_path: Folder of the bundle.
        data_root: The folder that holds `training/` and `ImageSets/`.
        split: Name of a list in `ImageSets/`.
        backend: Name of an inference backend.
        num_threads: Threads of the backend.
        camera_view: Give the network only the part of a scan that the camera sees and KITTI labels.
        ids: Evaluate these frames of the split alone.
        progress: Called after each frame with the number done and the number of all.

    Raises:
        DataError: If the data is missing or malformed, or a frame of `ids` is not in the split.
        BundleError: If the bundle is missing, incomplete or altered.
        BackendError: If the backend cannot run it.
    """
    # Here, so that evaluating result files needs no inference runtime.
    from eloss_perception.runtime.bundle import Bundle
    from eloss_perception.runtime.detector import DetectionThresholds, Detector

    dataset = KittiDataset(data_root, split)
    chosen = tuple(ids) if ids is not None else dataset.ids
    if missing := sorted(set(chosen) - set(dataset.ids)):
        raise DataError(f"frames {', '.join(missing[:5])} are not in the split {split}")
    bundle = Bundle.load(Path(bundle_path))
    thresholds = DetectionThresholds(score=EVALUATION_SCORE)
    detector = Detector(bundle, backend, num_threads, thresholds)
    detector.warm_up()
    frames, latency_ms = run_detector(detector, dataset, chosen, camera_view, progress)
    return evaluate_detections(
        frames,
        class_names=bundle.class_names,
        latency_ms=latency_ms,
        provenance={
            "bundle": Path(bundle_path).name,
            "model_sha256": bundle.facts.onnx_sha256,
            "backend": backend,
            "num_threads": num_threads,
            "split": split,
            "points": "camera view" if camera_view else "full scan",
            "score_threshold": EVALUATION_SCORE,
        },
    )


def run_detector(
    detector: Any,
    dataset: KittiFrames,
    ids: Sequence[str],
    camera_view: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[EvaluationFrame], dict[str, dict[str, float]]]:
    """Detect in frames and return them with their labels, ready for evaluation.

    Args:
        detector: A `runtime.Detector`, or anything whose `detect` and `class_names` are alike.
        dataset: Where the frames come from.
        ids: Which frames.
        camera_view: Give the network only what the camera sees.
        progress: Called after each frame with the number done and the number of all.

    Returns:
        The frames, and percentiles of the time of each stage [ms].
    """
    frames = []
    times: dict[str, list[float]] = {}
    for number, frame_id in enumerate(ids, start=1):
        calibration = dataset.calibration(frame_id)
        points = dataset.points(frame_id)
        if camera_view:
            points = points[camera_view_mask(points, calibration)]
        detections = detector.detect(points)
        boxes = detections.boxes
        results = boxes_to_kitti(
            boxes.boxes,
            [detector.class_names[label] for label in boxes.labels],
            calibration,
            scores=boxes.scores,
        )
        frames.append(EvaluationFrame(dataset.objects(frame_id), results))
        stages = asdict(detections.timings)
        for stage, value in {**stages, "total_ms": sum(stages.values())}.items():
            times.setdefault(stage.removesuffix("_ms"), []).append(value)
        if progress is not None:
            progress(number, len(ids))
    return frames, {stage: _percentiles(values) for stage, values in times.items()}


def _percentiles(values: list[float]) -> dict[str, float]:
    """Return the percentiles that a latency is judged by."""
    p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(values)}


def _percent(value: float) -> str:
    return f"{'-':>7}" if math.isnan(value) else f"{value:>7.2f}"


def _without_nan(value: Any) -> Any:
    """Return nested dictionaries with null in place of NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
