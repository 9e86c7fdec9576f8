# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoint to bundle: ONNX export, verified against the network that it came from."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eloss_perception import __version__
from eloss_perception.core.decode import decode
from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.pillars import Pillars, pillarize
from eloss_perception.errors import BundleError, DataError
from eloss_perception.model.network import PillarNetwork
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import NetworkOutputs
from eloss_perception.runtime.bundle import (
    FORMAT_VERSION,
    ONNX_NAME,
    Bundle,
    BundleFacts,
    GridFacts,
    sha256_of,
    write_facts,
)
from eloss_perception.training.frames import SimulatedFrames
from eloss_perception.training.settings import TrainingSettings
from eloss_perception.training.trainer import METRICS_NAME, load_checkpoint, load_network

if TYPE_CHECKING:
    import onnx

# Largest differences between torch and the exported network on simulated scans.
_MAX_RELATIVE_DIFFERENCE = 1e-4
_MAX_ENTROPY_DIFFERENCE = 1e-3
_NUM_PARITY_SCANS = 3
_PARITY_SEED = 990_017  # a seed that no training run uses

# ScatterND/ScatterElements reductions and these operators fail on TensorRT 10.3 (JetPack 6).
_REFUSED_OPERATORS = {"ScatterND", "ScatterElements", "NonZero", "Unique", "Loop", "If", "Scan"}

_OPSET = 18


def export_checkpoint(checkpoint: Path, out: Path, name: str | None = None) -> Bundle:
    """Exports a checkpoint's averaged network as a bundle (not yet calibrated).

    Args:
        checkpoint: File written by the trainer.
        out: Folder to write; must not hold files other than a bundle's.
        name: Name of the bundle; the run's name where none is given.

    Raises:
        DataError: If the checkpoint cannot be read.
        BundleError: If the exported network does not agree with torch on simulated scans, or holds
            an operator that TensorRT refuses. Nothing is written then.
    """
    network, settings = load_network(checkpoint)
    step = int(load_checkpoint(checkpoint)["step"])
    grid = settings.grid.build()
    scans = [
        pillarize(SimulatedFrames(_PARITY_SEED).frame(i).points, grid)
        for i in range(_NUM_PARITY_SCANS)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        partial = Path(folder) / "bundle"
        partial.mkdir()
        _export_onnx(network, scans[0], partial / ONNX_NAME)
        _check_parity(network, partial / ONNX_NAME, scans, grid, len(settings.class_names))
        write_facts(
            partial,
            BundleFacts(
                format_version=FORMAT_VERSION,
                name=name or settings.name,
                onnx_sha256=sha256_of(partial / ONNX_NAME),
                class_names=settings.class_names,
                sensor="kitti_hdl64",
                grid=GridFacts(**settings.grid.model_dump()),
                head=settings.network.head,
                entropy_measure=settings.network.entropy_measure,
                layer_names=network.layer_names,
                layer_stages=network.layer_stages,
                health=None,
                training=_provenance(settings, step, checkpoint.parent / METRICS_NAME),
            ),
        )
        if out.exists():
            _remove_bundle(out)
        shutil.move(partial, out)
    return Bundle.load(out)


def network_inputs(pillars: Pillars) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The arguments of ``PillarNetwork.forward`` for one frame."""
    return (
        torch.from_numpy(pillars.points),
        torch.from_numpy(pillars.features),
        torch.from_numpy(pillars.cell_to_pillar)[None],
    )


def _export_onnx(network: PillarNetwork, example: Pillars, path: Path) -> None:
    pillar_axis = torch.export.Dim("num_pillars", min=2, max=200_000)
    # The exporter reports its own progress and its dependencies' deprecations to the user.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            network_inputs(example),
            str(path),
            input_names=["points", "features", "cell_to_pillar"],
            output_names=["class_logits", "box_regression", "layer_entropy"],
            dynamic_shapes={
                "points": {0: pillar_axis},
                "features": {0: pillar_axis},
                "cell_to_pillar": None,
            },
            dynamo=True,
            external_data=False,
            opset_version=_OPSET,
            verbose=False,
        )
    import onnx

    model = onnx.load(str(path))
    _strip_origin(model)
    onnx.save(model, str(path))
    operators = {node.op_type for node in model.graph.node}
    refused = operators & _REFUSED_OPERATORS
    if refused:
        raise BundleError(
            f"the exported network holds operators TensorRT refuses: {sorted(refused)}"
        )


def _strip_origin(model: onnx.ModelProto) -> None:
    """Removes what the exporter notes of each node's origin: paths of the machine among it."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]


def _check_parity(
    network: PillarNetwork,
    onnx_path: Path,
    scans: list[Pillars],
    grid: PillarGrid,
    num_classes: int,
) -> None:
    """Compares torch and ONNX Runtime: raw maps, decoded boxes, entropies."""
    backend = load_backend("onnxruntime_cpu", onnx_path, num_threads=2)
    thresholds = np.full(num_classes, 0.3, np.float32)
    head = network.config.head
    for pillars in scans:
        with torch.inference_mode():
            outputs = network(*network_inputs(pillars))
        expected = NetworkOutputs(*(value[0].numpy() for value in outputs))
        actual = backend.run(pillars)
        for field in ("class_logits", "box_regression"):
            a, b = getattr(expected, field), getattr(actual, field)
            difference = float(np.abs(a - b).max() / max(1.0, float(np.abs(a).max())))
            if not difference <= _MAX_RELATIVE_DIFFERENCE:
                raise BundleError(f"torch and ONNX Runtime differ in {field} by {difference:.1e}")
        difference = float(np.abs(expected.layer_entropy - actual.layer_entropy).max())
        if not difference <= _MAX_ENTROPY_DIFFERENCE:
            raise BundleError(f"torch and ONNX Runtime differ in layer entropy by {difference:.1e}")
        boxes_a, boxes_b = (
            decode(o.class_logits, o.box_regression, head, grid, thresholds, 0.1, 200)
            for o in (expected, actual)
        )
        if len(boxes_a) != len(boxes_b) or not np.allclose(boxes_a.boxes, boxes_b.boxes, atol=1e-2):
            raise BundleError("torch and ONNX Runtime decode to different boxes")


def _provenance(settings: TrainingSettings, step: int, metrics: Path) -> dict[str, Any]:
    """Where the network came from, without paths of the training machine."""
    values = settings.model_dump(mode="json", exclude={"output", "data", "grid"})
    data = (
        f"simulated scans, lidar {settings.lidar}, eloss_perception.simulation {__version__}; the "
        "simulator's sensor constants and size statistics follow KITTI's scans and labels"
        if settings.data is None
        else f"KITTI layout, split {settings.split}"
    )
    rows = metrics.read_text().splitlines() if metrics.is_file() else []
    return {
        "step": step,
        "data": data,
        "torch": str(torch.__version__),
        "final_losses": json.loads(rows[-1]) if rows else {},
        "settings": values,
    }


def _remove_bundle(path: Path) -> None:
    """Clears a bundle's folder to make way; refuses any other folder."""
    known = {ONNX_NAME, "model.yaml"}
    if not path.is_dir() or {p.name for p in path.iterdir()} - known:
        raise DataError(f"{path} exists and holds more than a bundle; name another folder")
    shutil.rmtree(path)
