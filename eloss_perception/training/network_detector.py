# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A torch network with the interface of ``runtime.Detector``, to evaluate what is in training."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from eloss_perception.core.decode import decode
from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.pillars import pillarize
from eloss_perception.model.network import PillarNetwork
from eloss_perception.runtime.detector import Detections, DetectionThresholds, StageTimings


class NetworkDetector:
    """Detects with a network in evaluation mode, in float32.

    Args:
        network: The network; its weights are read at each call.
        grid: Its pillar grid.
        class_names: Name of each label.
        thresholds: What counts as a detection.
    """

    def __init__(
        self,
        network: PillarNetwork,
        grid: PillarGrid,
        class_names: Sequence[str],
        thresholds: DetectionThresholds,
    ) -> None:
        self.class_names = tuple(class_names)
        self._network = network.eval()
        self._grid = grid
        self._thresholds = thresholds
        self._score_thresholds = np.array(
            [thresholds.class_score.get(name, thresholds.score) for name in class_names], np.float32
        )

    @torch.inference_mode()
    def detect(self, points: npt.NDArray[np.float32]) -> Detections:
        """Detects objects in one scan; see :meth:`runtime.detector.Detector.detect`."""
        start = time.perf_counter()
        pillars = pillarize(points, self._grid)
        pillarized = time.perf_counter()
        device = next(self._network.parameters()).device
        outputs = self._network(
            torch.from_numpy(pillars.points).to(device),
            torch.from_numpy(pillars.features).to(device),
            torch.from_numpy(pillars.cell_to_pillar)[None].to(device),
        )
        class_logits, box_regression, layer_entropy = (o[0].float().cpu().numpy() for o in outputs)
        inferred = time.perf_counter()
        boxes = decode(
            class_logits,
            box_regression,
            self._network.config.head,
            self._grid,
            self._score_thresholds,
            self._thresholds.nms_iou,
            self._thresholds.max_boxes,
        )
        decoded = time.perf_counter()
        timings = StageTimings(
            (pillarized - start) * 1e3, (inferred - pillarized) * 1e3, (decoded - inferred) * 1e3
        )
        return Detections(boxes, layer_entropy, pillars.counts, timings)
