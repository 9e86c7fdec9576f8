# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A torch network as a detector, to evaluate what is in training or in a checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillarizer, Pillars
from eloss_perception.evaluation.settings import EVALUATION_SCORE
from eloss_perception.network.network import PillarNetwork
from eloss_perception.runtime.backends.base import NetworkOutputs
from eloss_perception.runtime.detector import DetectionThresholds, PillarDetector
from eloss_perception.training.checkpoints import load_network


def network_inputs(pillars: Pillars) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The arguments of ``PillarNetwork.forward`` for one frame."""
    return (
        torch.from_numpy(pillars.points),
        torch.from_numpy(pillars.features),
        torch.from_numpy(pillars.cell_to_pillar)[None],
    )


class TorchNetwork:
    """A network in evaluation mode where a backend is expected; float32, on its own device."""

    def __init__(self, network: PillarNetwork, grid: PillarGrid) -> None:
        self.pillarize = Pillarizer(grid)
        self._network = network.eval()

    @property
    def description(self) -> str:
        """Runtime, version and device."""
        return f"torch {torch.__version__}, {next(self._network.parameters()).device}"

    @torch.inference_mode()
    def run(self, pillars: Pillars) -> NetworkOutputs:
        """Runs one frame; the weights are read at each call."""
        device = next(self._network.parameters()).device
        outputs = self._network(*(value.to(device) for value in network_inputs(pillars)))
        return NetworkOutputs(*(value[0].float().cpu().numpy() for value in outputs))

    def close(self) -> None:
        """The network is its owner's."""


def network_detector(
    network: PillarNetwork,
    grid: PillarGrid,
    class_names: tuple[str, ...],
    thresholds: DetectionThresholds,
) -> PillarDetector:
    """The detector of a network that has no bundle yet."""
    backend = TorchNetwork(network, grid)
    return PillarDetector(backend, grid, network.config.head, class_names, thresholds)


def load_checkpoint(
    path: str | Path, num_threads: int = 2
) -> tuple[PillarDetector, dict[str, Any]]:
    """Return a checkpoint's averaged network as a detector, and what it is.

    Raises:
        DataError: If the checkpoint is missing or damaged.
        ConfigError: If its settings are not those of this version.
    """
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
