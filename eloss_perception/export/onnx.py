# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoint to bundle: batch norms folded, exported as ONNX, verified against the network."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from eloss_perception import __version__
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.errors import BundleError, DataError
from eloss_perception.export.onnx_graph import (
    check_half_range,
    check_parity,
    with_points,
    write_onnx,
)
from eloss_perception.files import new_folder
from eloss_perception.health.reference_file import HEALTH_NAME
from eloss_perception.network.network import PillarNetwork
from eloss_perception.runtime.bundle import (
    FILE_NAMES,
    FORMAT_VERSION,
    ONNX_NAME,
    Bundle,
    BundleFacts,
    GridFacts,
    sha256_of,
    write_facts,
)
from eloss_perception.simulation.drive import simulate_scan
from eloss_perception.training.checkpoints import earlier_runs, load_checkpoint, load_network
from eloss_perception.training.metrics import METRICS_NAME, final_losses
from eloss_perception.training.settings import GridConfig, TrainingSettings

WeightPrecision = Literal["auto", "float32", "float16"]

# Bundles are kept in git repositories, which store every version of a file: beyond this many bytes
# the weights are stored in half precision unless the caller says otherwise. PointPillars' 4.8
# million weights take 19 MB in float32.
MAX_FLOAT32_BYTES = 10_000_000

# Settings that a bundle states elsewhere, and those that name paths of the training machine.
_NOT_PROVENANCE = {"output", "data", "grid", "initial_weights", "validation"}

_NUM_PARITY_SCANS = 3
_PARITY_SEED = 990_017  # scenes that neither training nor calibration uses


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    name: str | None = None,
    *,
    bev_range: tuple[float, float, float, float] | None = None,
    weights: WeightPrecision = "auto",
    overwrite: bool = False,
) -> Bundle:
    """Exports a checkpoint's averaged network as a bundle (not yet calibrated).

    Args:
        checkpoint: File written by the trainer.
        out: Folder to write; must not hold files other than a bundle's, nor a calibrated bundle.
        name: Name of the bundle; the run's name where none is given.
        bev_range: ``(x_min, y_min, x_max, y_max)`` [m] that the bundle's network covers, in cells
            of the size it was trained on; the checkpoint's where none is given. The network is
            convolutional: one trained on the front half runs all around as well.
        weights: How they are stored (rounded); ``auto`` is float32 up to ``MAX_FLOAT32_BYTES``.
        overwrite: Replace a calibrated bundle too.

    Raises:
        DataError: If the checkpoint cannot be read, or the folder not written or replaced.
        ConfigError: If ``bev_range`` is no whole number of the network's cells.
        BundleError: If the exported network does not agree with torch on simulated scans, holds an
            operator that TensorRT refuses or a value that half precision cannot hold. Nothing is
            written then.
    """
    _refuse_other_folders(out, overwrite)
    trained, settings = load_network(checkpoint)
    state = load_checkpoint(checkpoint)
    grid_config = _on_range(settings.grid, bev_range)
    grid = grid_config.build()
    network = PillarNetwork(settings.network, grid.num_y, grid.num_x).eval()
    network.load_state_dict(trained.state_dict())
    if weights == "auto":
        num_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
        weights = "float32" if num_bytes <= MAX_FLOAT32_BYTES else "float16"
    seeds = range(_PARITY_SEED, _PARITY_SEED + _NUM_PARITY_SCANS)
    scans = [pillarize(simulate_scan(seed).points, grid) for seed in seeds]
    with new_folder(out, overwrite=True) as partial:
        export_network(network, grid, scans, partial / ONNX_NAME, weights == "float16")
        provenance = _provenance(settings, state, checkpoint.parent / METRICS_NAME)
        provenance |= {"weights": weights, "training_range": settings.grid.point_cloud_range}
        write_facts(
            partial,
            BundleFacts(
                format_version=FORMAT_VERSION,
                name=name or settings.name,
                onnx_sha256=sha256_of(partial / ONNX_NAME),
                class_names=settings.class_names,
                sensor="kitti_hdl64",
                grid=GridFacts(**grid_config.model_dump()),
                head=settings.network.head,
                entropy_measure=settings.network.entropy_measure,
                layer_names=network.layer_names,
                layer_stages=network.layer_stages,
                health=None,
                training=provenance,
            ),
        )
    return Bundle.load(out)


def export_network(
    network: PillarNetwork,
    grid: PillarGrid,
    scans: list[Pillars],
    path: Path,
    half_weights: bool = False,
) -> None:
    """Writes a network as ONNX: batch norms folded, weights rounded if asked for, verified.

    Without rounding the file is compared with the network as trained, so that folding is verified
    too; with it, with the rounded network, so that the export adds nothing to the rounding.

    Args:
        network: In evaluation mode, on ``grid``.
        grid: The pillar grid.
        scans: Frames to verify on; the first one is traced.
        path: File to write.
        half_weights: Round the weights to half precision and store them so.

    Raises:
        BundleError: If the file does not agree with the network; see :func:`export_checkpoint`.
    """
    scans = with_points(scans)
    folded = fold_batch_norm(network)
    if half_weights:
        round_weights_to_half(folded)
    check_half_range(folded, scans)
    write_onnx(folded, scans[0], path, half_weights)
    check_parity(folded if half_weights else network, path, scans, grid)


class ChannelAffine(nn.Module):
    """A trained batch norm over (P, C) as a factor and an offset per channel."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        self.scale = nn.Parameter(scale)
        self.offset = nn.Parameter(norm.bias - norm.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        """(P, C) to (P, C)."""
        return x * self.scale + self.offset


def fold_batch_norm(network: PillarNetwork) -> PillarNetwork:
    """A copy of a network without batch norms, equal up to rounding.

    Each norm is folded into the convolution or linear layer before it, in double precision. The
    encoder's first one stays as a factor and an offset: it follows a maximum, with which a negative
    factor does not commute.
    """
    folded = copy.deepcopy(network).eval().double()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            layer, norm = module[i], module[i + 1]
            if isinstance(norm, nn.BatchNorm2d):
                transpose = isinstance(layer, nn.ConvTranspose2d)
                module[i] = fuse_conv_bn_eval(layer, norm, transpose)
                module[i + 1] = nn.Identity()
    encoder = folded.encoder
    encoder.norm = ChannelAffine(encoder.norm)
    if encoder.mix is not None:
        encoder.mix = fuse_linear_bn_eval(encoder.mix, encoder.mix_norm)
        encoder.mix_norm = nn.Identity()
    return folded.float()


@torch.no_grad()
def round_weights_to_half(network: nn.Module) -> None:
    """Rounds every weight matrix and kernel to half precision, in place.

    The dtype stays float32, so that the rounded network can be run and compared. A weight beyond
    half precision's range becomes infinite.
    """
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.copy_(parameter.half().float())


def _on_range(grid: GridConfig, bev_range: tuple[float, float, float, float] | None) -> GridConfig:
    """The grid on another range; its limit of pillars grows with the area."""
    if bev_range is None:
        return grid
    x_min, y_min, x_max, y_max = bev_range
    old = grid.point_cloud_range
    area_ratio = (x_max - x_min) * (y_max - y_min) / ((old[3] - old[0]) * (old[4] - old[1]))
    return grid.model_copy(
        update={
            "point_cloud_range": (x_min, y_min, old[2], x_max, y_max, old[5]),
            "max_pillars": max(1, math.ceil(grid.max_pillars * area_ratio)),
        }
    )


def _provenance(settings: TrainingSettings, state: dict[str, Any], metrics: Path) -> dict[str, Any]:
    """Where the network came from, without paths of the training machine."""
    values = settings.model_dump(mode="json", exclude=_NOT_PROVENANCE)
    data = (
        f"simulated scans, lidar {settings.lidar}, eloss_perception.simulation {__version__}; the "
        "simulator's sensor constants and size statistics follow KITTI's scans and labels"
        if settings.data is None
        else f"KITTI layout, split {settings.split}"
    )
    return {
        "step": int(state["step"]),
        "data": data,
        "torch": str(torch.__version__),
        "final_losses": final_losses(metrics),
        "settings": values,
        "earlier_runs": earlier_runs(state),
    }


def _refuse_other_folders(path: Path, overwrite: bool) -> None:
    """Makes sure that what an export would replace is a bundle, and not a calibrated one.

    Raises:
        DataError: If it is not a bundle, or its health reference would be lost.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir() or {p.name for p in path.iterdir()} - set(FILE_NAMES):
        raise DataError(f"{path} exists and holds more than a bundle; name another folder")
    if not overwrite and _is_calibrated(path):
        raise DataError(
            f"{path} is a bundle that was calibrated, which an export would undo: name another "
            "folder, or give --overwrite and calibrate again"
        )


def _is_calibrated(path: Path) -> bool:
    """Whether a bundle has a health reference; one that cannot be read may well have."""
    if (path / HEALTH_NAME).exists():
        return True
    try:
        return Bundle.load_uncalibrated(path).facts.health is not None
    except BundleError:
        return True
