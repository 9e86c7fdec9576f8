# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well a detector detects: KITTI's metrics, and more, on labelled frames."""

from __future__ import annotations

from eloss_perception.training.evaluation.evaluator import (
    DIFFICULTIES,
    DistanceBin,
    PrecisionEvaluator,
)
from eloss_perception.training.evaluation.overlaps import METRICS, EvaluationFrame
from eloss_perception.training.evaluation.result import EvaluationReport, EvaluationResult
from eloss_perception.training.evaluation.run import (
    evaluate_detections,
    evaluate_splits,
    run_detector,
)
from eloss_perception.training.evaluation.settings import (
    EVALUATION_SCORE,
    MIN_OVERLAPS,
    EvaluationSettings,
    evaluated_classes,
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
    "run_detector",
]
