# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found, and its JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from eloss_perception.evaluation.average_precision import AveragePrecision
from eloss_perception.evaluation.bootstrap import Interval
from eloss_perception.evaluation.box_errors import BoxErrors
from eloss_perception.evaluation.settings import EvaluationSettings

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
