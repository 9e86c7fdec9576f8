# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Running a detector on labelled frames, and scoring what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.calibration import camera_view_mask
from eloss_perception.datasets.kitti.check import check_split, require_objects
from eloss_perception.datasets.kitti.convert import boxes_to_kitti, complete_bbox2d
from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiFrames
from eloss_perception.detection.boxes import CLASS_NAMES
from eloss_perception.errors import DataError
from eloss_perception.evaluation.average_precision import (
    Interval,
    ap_intervals,
    draw_counts,
    draw_indices,
)
from eloss_perception.evaluation.criteria import (
    EvaluationSettings,
    evaluated_classes,
    min_overlaps,
)
from eloss_perception.evaluation.evaluator import (
    DIFFICULTIES,
    DistanceBin,
    PrecisionEvaluator,
)
from eloss_perception.evaluation.matching import METRICS, EvaluationFrame
from eloss_perception.evaluation.outcomes import box_errors
from eloss_perception.evaluation.report import (
    DistanceScore,
    EvaluationReport,
    EvaluationResult,
)
from eloss_perception.interrupts import check_interrupt

# stage -> time of each frame [ms]
StageTimes = dict[str, list[float]]


class AnyDetector(Protocol):
    """What evaluation asks of a `runtime.PillarDetector`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label."""

    def detect(self, points: NDArray[np.float32]) -> Any:
        """Return the boxes of one scan and the time of each stage; see `runtime.Detections`."""


def evaluate_splits(
    detector: AnyDetector,
    data_root: str | Path,
    splits: Sequence[str],
    camera_view: bool = True,
    settings: EvaluationSettings | None = None,
    provenance: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EvaluationReport, dict[str, list[EvaluationFrame]]]:
    """Run a detector on splits of a KITTI root and score them apart and together.

    Args:
        detector: What finds the boxes.
        data_root: The folder that holds `training/` and `ImageSets/`.
        splits: Names of lists in `ImageSets/`.
        camera_view: Give the network only the part of a scan that the camera sees and KITTI labels.
        settings: What to compute; without it the defaults.
        provenance: Kept in the report.
        progress: Called after each frame with the number done and the number of all.

    Returns:
        The report, and the frames of each split in the order of its list.

    Raises:
        DataError: If the data is missing or malformed as `check_split` says, holds no object to be
            found, or a split or frame is named twice.
    """
    settings = settings or EvaluationSettings()
    datasets = {split: KittiDataset(data_root, split) for split in splits}
    named = Counter(chain(splits, *(dataset.ids for dataset in datasets.values())))
    if repeated := [name for name, count in named.items() if count > 1]:
        raise DataError(f"evaluated twice: {', '.join(repeated[:5])}; name disjoint splits")
    class_names = evaluated_classes(detector.class_names)
    num_objects: Counter[str] = Counter()
    for dataset in datasets.values():
        if dataset.layout.is_reduced and not camera_view:
            raise DataError(
                f"{dataset.layout.scans} holds the camera view only; full scans are in velodyne/"
            )
        num_objects += check_split(dataset)
    require_objects(num_objects, class_names, f"{data_root}: {', '.join(splits)}")
    total = sum(len(dataset) for dataset in datasets.values())
    frames: dict[str, list[EvaluationFrame]] = {}
    times: dict[str, StageTimes] = {}
    num_done = 0
    for split, dataset in datasets.items():

        def advance(done: int, _: int, before: int = num_done) -> None:
            if progress is not None:
                progress(before + done, total)

        frames[split], times[split] = _detect(detector, dataset, dataset.ids, camera_view, advance)
        num_done += len(dataset)
    results = {
        split: evaluate_detections(
            frames[split], detector.class_names, percentiles(times[split]), settings
        )
        for split in splits
    }
    joint = None
    if len(splits) > 1:
        stages = times[splits[0]]
        joint_times = {s: list(chain(*(times[split][s] for split in splits))) for s in stages}
        joint = evaluate_detections(
            list(chain(*frames.values())),
            detector.class_names,
            percentiles(joint_times),
            settings,
        )
    about = {**(provenance or {}), "points": "camera view" if camera_view else "full scan"}
    about["view"] = _views(datasets.values())
    if left_out := [name for name in detector.class_names if name not in class_names]:
        about["not evaluated"] = f"{', '.join(left_out)}, for which KITTI has no metric"
    return EvaluationReport(about, results, joint), frames


def run_detector(
    detector: AnyDetector,
    dataset: KittiFrames,
    ids: Sequence[str],
    camera_view: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[EvaluationFrame], dict[str, dict[str, float]]]:
    """Detect in frames and return them with their labels, ready for evaluation.

    Args:
        detector: What finds the boxes.
        dataset: Where the frames come from.
        ids: Which frames.
        camera_view: Give the network only what the camera sees.
        progress: Called after each frame with the number done and the number of all.

    Returns:
        The frames, and percentiles of the time of each stage [ms].
    """
    frames, times = _detect(detector, dataset, ids, camera_view, progress)
    return frames, percentiles(times)


def evaluate_detections(
    frames: Sequence[EvaluationFrame],
    class_names: Sequence[str] = CLASS_NAMES,
    latency_ms: dict[str, dict[str, float]] | None = None,
    settings: EvaluationSettings | None = None,
) -> EvaluationResult:
    """Score results against labels.

    Args:
        frames: Labels and scored detections of each frame, in KITTI's camera frame.
        class_names: Classes to evaluate; those that are none of KITTI's three are left out.
        latency_ms: Kept in the result.
        settings: What to compute besides the benchmark's scores; without it, nothing.

    Raises:
        DataError: If a detection has no score or no class is one of KITTI's three.
    """
    class_names = evaluated_classes(class_names)
    metrics = [name for name in METRICS if name != "image" or all(f.has_image for f in frames)]
    evaluator = PrecisionEvaluator(frames)
    draws = None
    if settings is not None and settings.num_resamples:
        draws = draw_counts(
            draw_indices(len(frames), settings.num_resamples, settings.block_length, settings.seed)
        )
    result = EvaluationResult(
        num_frames=len(frames),
        num_labels=dict(Counter(item.type for item in evaluator.labels).most_common()),
        num_detections=dict.fromkeys(class_names, 0),
        ap={name: {metric: {} for metric in metrics} for name in class_names},
        min_overlap={name: min_overlaps(name) for name in class_names},
        latency_ms=latency_ms or {},
        settings=settings,
    )
    for item in evaluator.detections:
        if item.type in result.num_detections:
            result.num_detections[item.type] += 1
    for class_name in class_names:
        _score_class(evaluator, class_name, settings, draws, result)
    return result


def _score_class(
    evaluator: PrecisionEvaluator,
    class_name: str,
    settings: EvaluationSettings | None,
    draws: NDArray[np.int64] | None,
    result: EvaluationResult,
) -> None:
    """Fill in everything that a result holds of one class."""
    intervals: dict[str, dict[str, dict[str, dict[str, Interval]]]] = {}
    curves: dict[str, dict[str, list[float]]] = {}
    overlaps = result.min_overlap[class_name]
    for metric, kind in _kinds(result.ap[class_name]):
        scores = result.ap[class_name][metric].setdefault(kind, {})
        for level, difficulty in DIFFICULTIES.items():
            min_overlap = overlaps[kind]
            matched = evaluator.match(class_name, metric, difficulty, min_overlap)
            scores[level] = matched.average_precision()
            if draws is not None and settings is not None:
                by_level = intervals.setdefault(metric, {}).setdefault(kind, {})
                by_level[level] = ap_intervals(matched, draws, settings.confidence)
            if level == "moderate":
                curve = (100.0 * matched.precision_curve()).tolist()
                curves.setdefault(metric, {})[kind] = curve
    if settings is None:
        return
    result.curves[class_name] = curves
    if intervals:
        result.intervals[class_name] = intervals
    result.box_errors[class_name] = box_errors(
        evaluator, class_name, DIFFICULTIES["hard"], overlaps["loose"]
    )
    if settings.distance_edges:
        bins = [DistanceBin(*edges) for edges in pairwise(settings.distance_edges)]
        result.distances[class_name] = [_distance_score(evaluator, class_name, b) for b in bins]


def _distance_score(
    evaluator: PrecisionEvaluator, class_name: str, distances: DistanceBin
) -> DistanceScore:
    """Return the scores of a class within a distance bin."""
    score = DistanceScore(distances.near, distances.far, {})
    for metric, kind in _kinds(["bev", "3d"]):
        matched = evaluator.match(
            class_name,
            metric,
            DIFFICULTIES["moderate"],
            min_overlaps(class_name)[kind],
            distances,
        )
        score.ap.setdefault(metric, {})[kind] = matched.average_precision()
    return score


def _views(datasets: Iterable[KittiDataset]) -> str:
    """Return what is in view in the splits, in words; cameras may differ from frame to frame."""
    views = Counter(dataset.calibration(name).view for dataset in datasets for name in dataset.ids)
    return "; ".join(view for view, _ in views.most_common(3)) + ("; ..." if len(views) > 3 else "")


def _kinds(metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Return metrics with their overlaps: the image's has no loose variant anywhere."""
    pairs = [(metric, kind) for metric in metrics for kind in ("strict", "loose")]
    return [pair for pair in pairs if pair != ("image", "loose")]


def _detect(
    detector: AnyDetector,
    dataset: KittiFrames,
    ids: Sequence[str],
    camera_view: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[EvaluationFrame], StageTimes]:
    """Return the frames with what was found in them, and the time of each stage."""
    frames = []
    times: StageTimes = {}
    for number, frame_id in enumerate(ids, start=1):
        check_interrupt()
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
        labels = complete_bbox2d(dataset.objects(frame_id), calibration)
        frames.append(EvaluationFrame(labels, results, calibration.has_camera))
        stages = asdict(detections.timings)
        for stage, value in {**stages, "total_ms": sum(stages.values())}.items():
            times.setdefault(stage.removesuffix("_ms"), []).append(value)
        if progress is not None:
            progress(number, len(ids))
    return frames, times


def percentiles(times: StageTimes) -> dict[str, dict[str, float]]:
    """Return stage -> the percentiles that a latency is judged by [ms]."""
    found = {}
    for stage, values in times.items():
        p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
        found[stage] = {"p50": p50, "p95": p95, "p99": p99, "max": max(values)}
    return found
