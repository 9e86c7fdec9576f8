# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision of a torch network: while it is in training, or from a checkpoint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.check import check_split, require_objects
from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiFrames
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillarizer, Pillars
from eloss_perception.evaluation import (
    EVALUATION_SCORE,
    evaluate_detections,
    evaluated_classes,
    run_detector,
)
from eloss_perception.evaluation.report import EvaluationResult
from eloss_perception.network.network import NetworkConfig, PillarNetwork, network_inputs
from eloss_perception.runtime.backends.base import NetworkOutputs
from eloss_perception.runtime.detector import DetectionThresholds, PillarDetector
from eloss_perception.simulation.drive import kitti_labels, simulate_scan
from eloss_perception.simulation.lidar import SimulatedScan
from eloss_perception.training.checkpoints import load_network
from eloss_perception.training.settings import ValidationConfig

# Scenes of this stream are neither a training run's nor those of `eloss simulate`.
_SEED_STREAM = 2

# Somewhat more than the camera's field of view, which the evaluation crops to.
_AZIMUTH_LIMITS_DEG = (-46.0, 46.0)


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
        """Opens and checks the data, and runs the first frame, so that nothing fails hours later.

        Raises:
            DataError: If the KITTI root cannot be read, a frame is bad, or there is no object that
                the network knows and KITTI evaluates.
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
        """Average precisions of a network's weights.

        Returns:
            ``Car_bev_0.7`` and the like -> AP R40 [%] at moderate difficulty; None without objects.

        Raises:
            DataError: If a frame cannot be read any more.
            KeyboardInterrupt: If a signal has come.
        """
        self._network.load_state_dict(averaged.state_dict())
        frames, _ = run_detector(self._detector, self._dataset, self._ids)
        scores = moderate_scores(evaluate_detections(frames, self._class_names))
        return {
            name: None if math.isnan(value) else round(value, 3) for name, value in scores.items()
        }


def moderate_scores(result: EvaluationResult) -> dict[str, float]:
    """``Car_bev_0.7`` and the like -> AP R40 [%] at moderate difficulty; NaN without objects."""
    return {
        f"{class_name}_{metric}_{result.min_overlap[class_name][kind]:g}": (
            by_level["moderate"].ap_r40
        )
        for class_name, metrics in result.ap.items()
        for metric in ("bev", "3d")
        for kind, by_level in metrics[metric].items()
    }


class SimulatedDataset:
    """Simulated scenes that no training run sees, with the interface of a KITTI root.

    Args:
        num_frames: Number of scenes.
        seed: Same seed, same scenes.
        lidar: Key of ``LIDARS``.
    """

    def __init__(self, num_frames: int, seed: int = 0, lidar: str = "hdl64e") -> None:
        self.ids = tuple(f"{index:06d}" for index in range(num_frames))
        self._seed = seed
        self._lidar = lidar
        self._calibration = Calibration.synthetic()
        self._scan = lru_cache(maxsize=1)(self._simulate)

    def points(self, frame_id: str) -> npt.NDArray[np.float32]:
        """(N, 4) float32 x, y, z [m], intensity of the front of the scan."""
        return self._scan(frame_id).points

    def calibration(self, frame_id: str) -> Calibration:
        """The simulator's camera, the same for every frame."""
        return self._calibration

    def objects(self, frame_id: str) -> list[KittiObject]:
        """Labels of the objects in the image; one with too few returns has no difficulty."""
        return kitti_labels(self._scan(frame_id), self._calibration)

    def image_path(self, frame_id: str) -> Path | None:
        """None: there are no images."""
        return None

    def _simulate(self, frame_id: str) -> SimulatedScan:
        sequence = np.random.SeedSequence(self._seed, spawn_key=(_SEED_STREAM, int(frame_id)))
        scene_seed = int(sequence.generate_state(1)[0])
        return simulate_scan(scene_seed, self._lidar, azimuth_limits_deg=_AZIMUTH_LIMITS_DEG)


class TorchNetwork:
    """A network in evaluation mode with the interface of a backend; float32, on its own device."""

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
        """Nothing to release: the network is its owner's."""


def network_detector(
    network: PillarNetwork,
    grid: PillarGrid,
    class_names: tuple[str, ...],
    thresholds: DetectionThresholds,
) -> PillarDetector:
    """The detector of a network that has no bundle yet."""
    backend = TorchNetwork(network, grid)
    return PillarDetector(backend, grid, network.config.head, class_names, thresholds)


def checkpoint_detector(
    path: str | Path, num_threads: int = 2
) -> tuple[PillarDetector, dict[str, Any]]:
    """Returns a checkpoint's averaged network as a detector, and its provenance.

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
    # Compiles what is compiled at first use, so that no frame's time includes it.
    detector.detect(np.array([[10.0, 0.0, -1.0, 0.5]], np.float32))
    return detector, {
        "checkpoint": f"{path.parent.name}/{path.name}",
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "backend": f"torch {torch.__version__}",
        "num_threads": num_threads,
        "score_threshold": EVALUATION_SCORE,
    }
