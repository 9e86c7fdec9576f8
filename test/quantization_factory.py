# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle with a small real network, exported as any other, to be quantised."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from health_reference_factory import make_reference

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.export.onnx import export_network
from eloss_perception.network.network import NetworkConfig, PillarNetwork, network_inputs
from eloss_perception.runtime.bundle import (
    FORMAT_VERSION,
    BundleFacts,
    GridFacts,
    sha256_of,
    write_facts,
    write_reference,
)

GRID = GridFacts(
    point_cloud_range=(0.0, -20.48, -3.0, 40.96, 20.48, 1.0),
    voxel_size=(0.64, 0.64),
    max_pillars=2000,
    max_points_per_pillar=8,
)


def street(seed: int) -> np.ndarray:
    """(N, 4) float32: a road, a wall and a few boxes on it."""
    rng = np.random.default_rng(seed)
    road = rng.uniform((0, -10, -1.75, 0.1), (40, 10, -1.7, 0.4), (3000, 4))
    wall = rng.uniform((0, 10, -1.7, 0.2), (40, 10.3, 1.0, 0.8), (800, 4))
    blocks = rng.uniform((-2, -0.9, 0.0, 0.2), (2, 0.9, 1.5, 0.9), (6, 200, 4))
    blocks[:, :, :3] += rng.uniform((5, -8, -1.7), (35, 8, -1.7), (6, 1, 3))
    return np.concatenate([road, wall, blocks.reshape(-1, 4)]).astype(np.float32)


def write_small_bundle(folder: Path) -> Path:
    """A network of two stages with random weights, norms with statistics, and a reference."""
    folder.mkdir(parents=True)
    for name, content in _small_bundle().items():
        (folder / name).write_bytes(content)
    return folder


@cache
def _small_bundle() -> dict[str, bytes]:
    """Its files; the export takes seconds."""
    with TemporaryDirectory() as name:
        _export(Path(name))
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


def _export(folder: Path) -> None:
    torch.manual_seed(5)
    config = NetworkConfig(
        encoder_channels=8,
        stage_channels=(8, 16),
        stage_layers=(2, 2),
        neck_channels=8,
        head_channels=8,
    )
    network = PillarNetwork(config, 64, 64).train()
    scans = [pillarize(street(seed), _grid()) for seed in range(2)]
    with torch.no_grad():
        network.head.class_logits.bias.fill_(-2.5)
        for _ in range(20):
            network.forward_taps(*network_inputs(scans[0]))
    export_network(network.eval(), _grid(), scans, folder / "model.onnx")
    facts = BundleFacts(
        format_version=FORMAT_VERSION,
        name="small",
        onnx_sha256=sha256_of(folder / "model.onnx"),
        class_names=("Car", "Pedestrian", "Cyclist"),
        sensor="kitti_hdl64",
        grid=GRID,
        head=config.head,
        entropy_measure="renyi2",
        layer_names=network.layer_names,
        layer_stages=network.layer_stages,
        health=None,
        training={},
    )
    write_facts(folder, facts)
    reference = make_reference(facts.layer_names, facts.layer_stages)
    write_reference(folder, reference, false_alarms_per_hour=1.0, rate_hz=10.0)


def pillars(seed: int) -> Pillars:
    return pillarize(street(seed), _grid())


def _grid() -> PillarGrid:
    return PillarGrid(**GRID.model_dump())
