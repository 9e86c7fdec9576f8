# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What can be evaluated: a bundle on a backend, and the network of a checkpoint in torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eloss_perception.training.evaluation.settings import EVALUATION_SCORE

if TYPE_CHECKING:  # Imported when used: scoring result files needs neither runtime nor torch.
    from eloss_perception.runtime.detector import Detector, PillarDetector


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


def load_checkpoint(
    path: str | Path, num_threads: int = 2
) -> tuple[PillarDetector, dict[str, Any]]:
    """Return a checkpoint's averaged network as a detector, and what it is.

    Raises:
        DataError: If the checkpoint is missing or damaged.
        ConfigError: If its settings are not those of this version.
    """
    import numpy as np
    import torch

    from eloss_perception.runtime.detector import DetectionThresholds
    from eloss_perception.training.checkpoints import load_network
    from eloss_perception.training.network_detector import network_detector

    path = Path(path)
    network, settings = load_network(path)
    torch.set_num_threads(num_threads)
    detector = network_detector(
        network,
        settings.grid.build(),
        settings.class_names,
        DetectionThresholds(score=EVALUATION_SCORE),
    )
    # Compiles what is compiled at the first use, so that no frame's time has it.
    detector.detect(np.array([[10.0, 0.0, -1.0, 0.5]], np.float32))
    return detector, {
        "checkpoint": f"{path.parent.name}/{path.name}",
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "backend": f"torch {torch.__version__}",
        "num_threads": num_threads,
        "score_threshold": EVALUATION_SCORE,
    }
