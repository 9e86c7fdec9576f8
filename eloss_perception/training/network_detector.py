# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A torch network as a detector, to evaluate what is in training."""

from __future__ import annotations

import torch

from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.pillars import Pillarizer, Pillars
from eloss_perception.model.network import PillarNetwork
from eloss_perception.runtime.backends.base import NetworkOutputs
from eloss_perception.runtime.detector import DetectionThresholds, PillarDetector
from eloss_perception.training.onnx_graph import network_inputs


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
