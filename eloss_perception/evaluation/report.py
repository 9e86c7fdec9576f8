# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found: as types, as JSON, and as a table for a terminal."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from eloss_perception.evaluation.average_precision import AveragePrecision, Interval
from eloss_perception.evaluation.criteria import EvaluationSettings
from eloss_perception.evaluation.outcomes import BoxErrors

JSON_FORMAT = "eloss_perception evaluation"
JSON_VERSION = 2


@dataclass(frozen=True, slots=True)
class DistanceScore:
    """The score of a class at some distances, moderate difficulty.

    Attributes:
        near: Least distance on the ground from the camera [m].
        far: Distance that the bin ends before [m].
        ap: metric (without the image's) -> `strict` or `loose` -> scores.
    """

    near: float
    far: float
    ap: dict[str, dict[str, AveragePrecision]]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The scores of one set of frames.

    Attributes:
        num_frames: Frames evaluated.
        num_labels: Annotated objects of each KITTI type, whatever their difficulty.
        num_detections: Detections of each class that were evaluated.
        ap: class -> metric -> `strict` or `loose` -> difficulty -> scores; without the metric of
            the image where a frame has none.
        min_overlap: class -> `strict` or `loose` -> IoU that a detection must exceed.
        intervals: As `ap`, then `ap_r40` or `ap_exact` -> bootstrap interval; empty without.
        distances: class -> scores of each distance bin, nearest first; empty without bins.
        box_errors: class -> errors of the true positives of hard difficulty and loose overlap.
        curves: class -> metric -> `strict` or `loose` -> precision [%] at the recalls 1/40 to
            40/40, moderate difficulty.
        latency_ms: stage -> p50, p95, p99, max [ms]; empty when nothing was timed.
        settings: What was computed besides the benchmark's scores; None for nothing.
    """

    num_frames: int
    num_labels: dict[str, int]
    num_detections: dict[str, int]
    ap: dict[str, dict[str, dict[str, dict[str, AveragePrecision]]]]
    min_overlap: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, dict[str, dict[str, dict[str, Interval]]]]] = field(
        default_factory=dict
    )
    distances: dict[str, list[DistanceScore]] = field(default_factory=dict)
    box_errors: dict[str, BoxErrors] = field(default_factory=dict)
    curves: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: EvaluationSettings | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, None for a score that does not exist."""
        values = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__  # slots leave no __dict__ to copy
        }
        if self.settings is not None:
            values["settings"] = self.settings.model_dump(mode="json")
        plain: dict[str, Any] = _plain(values)
        return plain


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The results of several splits, apart and together.

    Attributes:
        provenance: What was evaluated on what.
        splits: split -> its result.
        joint: The result of all frames together; None for a single split.
    """

    provenance: dict[str, Any]
    splits: dict[str, EvaluationResult]
    joint: EvaluationResult | None

    def to_json(self) -> str:
        """Return the report as strict JSON; a score that does not exist is null."""
        values = {
            "format": JSON_FORMAT,
            "format_version": JSON_VERSION,
            "provenance": self.provenance,
            "splits": {split: result.to_dict() for split, result in self.splits.items()},
            "joint": None if self.joint is None else self.joint.to_dict(),
        }
        return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return nested values as what JSON holds, null in place of NaN, which it lacks."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


_SHORT_LEVELS = {"easy": "easy", "moderate": "mod.", "hard": "hard"}
_LABEL_WIDTH = 24


def format_report(report: EvaluationReport) -> str:
    """Return the tables of a report's splits, and of all frames together."""
    lines = [f"{name}: {value}" for name, value in report.provenance.items()]
    sections = ["\n".join(lines) + "\n"]
    sections += [f"== {split}\n{format_result(result)}" for split, result in report.splits.items()]
    if report.joint is not None:
        sections.append(f"== {' + '.join(report.splits)}\n{format_result(report.joint)}")
    return "\n".join(sections)


def format_result(result: EvaluationResult) -> str:
    """Return the table of a result."""
    labels = ", ".join(f"{count} {name}" for name, count in result.num_labels.items())
    detections = ", ".join(f"{count} {name}" for name, count in result.num_detections.items())
    lines = [
        f"frames: {result.num_frames}",
        f"labelled objects: {labels or 'none'}",
        f"detections in view: {detections or 'none'}",
        "",
        *_precision_lines(result),
        *_interval_lines(result),
        *_distance_lines(result),
        *_box_error_lines(result),
    ]
    for stage, values in result.latency_ms.items():
        text = "  ".join(f"{name} {value:.1f}" for name, value in values.items())
        lines.append(f"{stage} [ms]: {text}")
    return "\n".join(lines).rstrip() + "\n"


def _precision_lines(result: EvaluationResult) -> list[str]:
    """Return the benchmark's table: a row for each class, metric and overlap."""
    columns = "".join(f"{level:>7}" for level in _SHORT_LEVELS.values())
    titles = " |".join(f"{title:^21}" for title in ("R40", "R11", "exact recall", "objects"))
    lines = [
        f"{'AP [%]':<{_LABEL_WIDTH}}{titles}",
        f"{'class, metric, IoU':<{_LABEL_WIDTH}}" + " |".join([columns] * 4),
    ]
    for class_name, metrics in result.ap.items():
        if not _has_objects(result, class_name):
            lines.append(f"{class_name}: no objects")
            continue
        for metric, overlaps in metrics.items():
            for kind, by_level in overlaps.items():
                scores = list(by_level.values())
                cells = [
                    "".join(_percent(score.ap_r40) for score in scores),
                    "".join(_percent(score.ap_r11) for score in scores),
                    "".join(_percent(score.ap_exact) for score in scores),
                    "".join(f"{score.num_objects:>7d}" for score in scores),
                ]
                lines.append(_label(result, class_name, metric, kind) + " |".join(cells))
    return [*lines, "", *_ceiling_notes(result)]


def _ceiling_notes(result: EvaluationResult) -> list[str]:
    """Return a line for each class on which even a perfect detector stays below 100."""
    notes = []
    for class_name, metrics in result.ap.items():
        low = [
            f"{_SHORT_LEVELS[level]} {score.ceiling_r40:.1f}"
            for level, score in metrics["bev"]["strict"].items()
            if score.num_objects and score.ceiling_r40 < 99.99
        ]
        if low:
            notes.append(
                f"{class_name}: so few objects that KITTI's sampling allows at most R40 "
                f"{', '.join(low)}; see the exact recall"
            )
    return [*notes, ""] if notes else []


def _interval_lines(result: EvaluationResult) -> list[str]:
    """Return the bootstrap intervals of moderate difficulty."""
    settings = result.settings
    if settings is None or not result.intervals:
        return []
    drawn = "frames" if settings.block_length == 1 else f"blocks of {settings.block_length} frames"
    lines = [
        f"{100 * settings.confidence:g} % intervals over {settings.num_resamples} resamples of "
        f"{drawn}, moderate [%]"
    ]
    if settings.block_length == 1:
        lines.append("(too narrow for frames of one sequence, which are not independent)")
    for class_name, metrics in result.intervals.items():
        if not _has_objects(result, class_name):
            continue
        for metric, overlaps in metrics.items():
            for kind, by_level in overlaps.items():
                score = result.ap[class_name][metric][kind]["moderate"]
                interval = by_level["moderate"]
                r40, exact = interval["ap_r40"], interval["ap_exact"]
                lines.append(
                    _label(result, class_name, metric, kind)
                    + f"  R40 {_percent(score.ap_r40)} [{r40.low:5.1f}, {r40.high:5.1f}]"
                    + f"  exact {_percent(score.ap_exact)} [{exact.low:5.1f}, {exact.high:5.1f}]"
                )
    return [*lines, ""]


def _distance_lines(result: EvaluationResult) -> list[str]:
    """Return what becomes of each class with distance."""
    bins = next(iter(result.distances.values()), [])
    if not bins:
        return []
    titles = "".join(f"{f'{item.near:g}-{item.far:g} m':^22}" for item in bins)
    header = "".join(f"{'AP':>8}{'recall':>8}{'n':>6}" for _ in bins)
    lines = [
        "by distance: exact-recall AP and greatest recall [%], moderate",
        f"{'':<{_LABEL_WIDTH}}{titles}",
        f"{'class, metric, IoU':<{_LABEL_WIDTH}}{header}",
    ]
    for class_name, scores in result.distances.items():
        if not _has_objects(result, class_name):
            continue
        for metric, overlaps in scores[0].ap.items():
            for kind in overlaps:
                cells = [_distance_cell(item.ap[metric][kind]) for item in scores]
                lines.append(_label(result, class_name, metric, kind) + "".join(cells))
    return [*lines, ""]


def _distance_cell(score: AveragePrecision) -> str:
    ap, recall = (_percent(value, 8, 1) for value in (score.ap_exact, score.max_recall))
    return f"{ap}{recall}{score.num_objects:>6d}"


def _box_error_lines(result: EvaluationResult) -> list[str]:
    """Return the errors of the boxes of found objects."""
    found = {name: errors for name, errors in result.box_errors.items() if errors.num_objects}
    if not found:
        return []
    parameters = next(iter(found.values())).median
    header = "".join(f"{name:>16}" for name in parameters)
    lines = [
        "boxes of found objects (BEV, loose IoU, hard): median error, mean absolute error [m, rad]",
        f"{'class, objects':<{_LABEL_WIDTH}}{header}{'reversed':>10}",
    ]
    for class_name, errors in found.items():
        cells = [f"{errors.median[name]:>+9.3f}{errors.mae[name]:>7.3f}" for name in parameters]
        lines.append(
            f"{f'{class_name} {errors.num_objects}':<{_LABEL_WIDTH}}{''.join(cells)}"
            f"{100 * errors.reversed_heading:>8.1f} %"
        )
    return [*lines, ""]


def _has_objects(result: EvaluationResult, class_name: str) -> bool:
    """Return whether any object of a class counts at any difficulty."""
    return any(score.num_objects for score in result.ap[class_name]["bev"]["strict"].values())


def _label(result: EvaluationResult, class_name: str, metric: str, kind: str) -> str:
    text = f"{class_name} {metric} {result.min_overlap[class_name][kind]:.2f}"
    return f"{text:<{_LABEL_WIDTH}}"


def _percent(value: float, width: int = 7, digits: int = 2) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:>{width}.{digits}f}"
