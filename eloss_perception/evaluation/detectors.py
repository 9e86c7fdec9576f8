# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle as the detector that is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eloss_perception.evaluation.criteria import EVALUATION_SCORE

if TYPE_CHECKING:  # Imported when used: scoring result files needs neither runtime nor torch.
    from eloss_perception.runtime.detector import Detector


def load_bundle(
    path: str | Path, backend: str = "onnxruntime_cpu", num_threads: int = 2
) -> tuple[Detector, dict[str, Any]]:
    """Return the detector of a bundle, ready to be timed, and what it is.

    Raises:
        BundleError: If the bundle is missing, incomplete or altered.
        ConfigError: If there is no such backend.
        BackendError: If the backend cannot run it.
    """
    from eloss_perception.runtime.backends.base import BackendSettings
    from eloss_perception.runtime.bundle import Bundle
    from eloss_perception.runtime.detector import DetectionThresholds, Detector

    bundle = Bundle.load(Path(path))
    thresholds = DetectionThresholds(score=EVALUATION_SCORE)
    detector = Detector(bundle, backend, BackendSettings(num_threads=num_threads), thresholds)
    detector.warm_up()
    return detector, {
        "bundle": Path(path).name,
        "model_sha256": bundle.facts.onnx_sha256,
        "backend": backend,
        "num_threads": num_threads,
        "score_threshold": EVALUATION_SCORE,
    }
