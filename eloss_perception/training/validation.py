# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision of the averaged network while it is in training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from eloss_perception.datasets.kitti.check import check_split, require_objects
from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiFrames
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.evaluation import (
    EVALUATION_SCORE,
    evaluate_detections,
    evaluated_classes,
    run_detector,
)
from eloss_perception.network.network import NetworkConfig, PillarNetwork
from eloss_perception.runtime.detector import DetectionThresholds
from eloss_perception.training.data.simulated_dataset import SimulatedDataset
from eloss_perception.training.network_detector import network_detector
from eloss_perception.training.settings import ValidationConfig


class Validation:
    """The frames of a validation and a network of the full grid to run on them."""

    def __init__(
        self,
        config: ValidationConfig,
        network: NetworkConfig,
        grid: PillarGrid,
        class_names: Sequence[str],
        device: torch.device,
    ) -> None:
        """Opens the data, checks it, and tries the first frame: nothing of it fails hours later.

        Raises:
            DataError: If the KITTI root cannot be read, a frame is bad, or there is nothing to be
                found that the network knows and KITTI evaluates.
        """
        evaluated = evaluated_classes(class_names)
        self._class_names = tuple(class_names)
        self._dataset: KittiFrames = (
            SimulatedDataset(config.num_frames, config.seed, config.lidar)
            if config.data is None
            else KittiDataset(config.data, config.split)
        )
        self._ids = self._dataset.ids[: config.num_frames]
        if isinstance(self._dataset, KittiDataset):
            num_objects = check_split(self._dataset, ids=self._ids)
            where = f"{config.data}: validation split {config.split!r}"
            if len(self._ids) < len(self._dataset):
                where += f", first {len(self._ids)} frames"
            require_objects(num_objects, evaluated, where)
        self._network = PillarNetwork(network, grid.num_y, grid.num_x).to(device)
        thresholds = DetectionThresholds(score=EVALUATION_SCORE)
        self._detector = network_detector(self._network, grid, self._class_names, thresholds)
        run_detector(self._detector, self._dataset, self._ids[:1])

    def score(self, averaged: torch.nn.Module) -> dict[str, float | None]:
        """Average precisions of weights.

        Args:
            averaged: Network whose weights are evaluated.

        Returns:
            ``Car_bev_0.7`` and the like -> AP R40 [%] at moderate difficulty; None without objects.

        Raises:
            DataError: If a frame cannot be read any more.
            KeyboardInterrupt: If a signal has come.
        """
        self._network.load_state_dict(averaged.state_dict())
        frames, _ = run_detector(self._detector, self._dataset, self._ids)
        result = evaluate_detections(frames, self._class_names)
        scores: dict[str, float | None] = {}
        for class_name, metrics in result.ap.items():
            for metric in ("bev", "3d"):
                for kind, by_level in metrics[metric].items():
                    overlap = result.min_overlap[class_name][kind]
                    value = by_level["moderate"].ap_r40
                    scores[f"{class_name}_{metric}_{overlap:g}"] = (
                        None if math.isnan(value) else round(value, 3)
                    )
        return scores
