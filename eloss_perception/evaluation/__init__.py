# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well a detector detects: KITTI's metrics, and more, on labelled frames."""

from __future__ import annotations

from eloss_perception.evaluation.criteria import (
    EVALUATION_SCORE,
    MIN_OVERLAPS,
    EvaluationSettings,
    evaluated_classes,
)
from eloss_perception.evaluation.evaluate import (
    evaluate_detections,
    evaluate_splits,
    run_detector,
)
from eloss_perception.evaluation.evaluator import (
    DIFFICULTIES,
    DistanceBin,
    PrecisionEvaluator,
    match_cars,
)
from eloss_perception.evaluation.matching import METRICS, EvaluationFrame
from eloss_perception.evaluation.report import (
    EvaluationReport,
    EvaluationResult,
    format_report,
    format_result,
)

__all__ = [
    "DIFFICULTIES",
    "EVALUATION_SCORE",
    "METRICS",
    "MIN_OVERLAPS",
    "DistanceBin",
    "EvaluationFrame",
    "EvaluationReport",
    "EvaluationResult",
    "EvaluationSettings",
    "PrecisionEvaluator",
    "evaluate_detections",
    "evaluate_splits",
    "evaluated_classes",
    "format_report",
    "format_result",
    "match_cars",
    "run_detector",
]
