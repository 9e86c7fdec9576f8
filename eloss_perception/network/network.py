# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pillar network: pillar encoder, 2D backbone with entropy taps, detection head.

After PointPillars (Lang et al., CVPR 2019) and CenterPoint (Yin et al., CVPR 2021).
:meth:`PillarNetwork.forward_taps` is the whole network in five lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from eloss_perception.detection.heads import (
    KITTI_ANCHORS,
    AnchorHead,
    CenterHead,
    HeadConfig,
    check_head_classes,
)
from eloss_perception.detection.pillars import Pillars
from eloss_perception.errors import ConfigError
from eloss_perception.network.blocks import ConvBlock, Neck, PillarEncoder, build_head
from eloss_perception.network.entropy_readout import MeasureName, entropy_measure, read_layers

# Cells of one stage's map per cell of the next one's, and of the canvas per cell of the first's.
_STAGE_STRIDE = 2


class NetworkConfig(BaseModel):
    """Shape of a :class:`PillarNetwork`; the defaults are the light network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder_channels: int = Field(32, ge=4)
    encoder_mix: bool = Field(True, description="a second linear layer after the maximum")
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_layers: tuple[int, ...] = Field(
        (3, 4, 4), description="convolutions of each stage, the first of them with stride 2"
    )
    neck_channels: int = Field(48, ge=4)
    head_channels: int = Field(64, ge=4, description="shared layers of the centre head")
    num_classes: int = Field(3, ge=1)
    head: HeadConfig = CenterHead()
    entropy_measure: MeasureName = Field(
        "renyi2", description="what `layer_entropy` holds; all others are for research"
    )

    @model_validator(mode="after")
    def _check(self) -> NetworkConfig:
        if not self.stage_channels or len(self.stage_channels) != len(self.stage_layers):
            raise ValueError(
                f"stage_channels {self.stage_channels} and stage_layers {self.stage_layers} must "
                "name the same stages"
            )
        if min(self.stage_layers) < 1 or min(self.stage_channels) < 1:
            raise ValueError("every stage needs at least one convolution of one channel")
        if self.head.stride != _STAGE_STRIDE:
            raise ValueError(
                f"head.stride {self.head.stride}: the head reads maps of stride {_STAGE_STRIDE}"
            )
        check_head_classes(self.head, self.num_classes)
        return self


# PointPillars as published, section 2 and 4.1: made for pillars of 0.16 m with up to 32 points,
# x 0 to 69.12 m, |y| < 39.68 m. Three blocks (S, 4, C), (2S, 6, 2C), (4S, 6, 4C) with C = 64, each
# brought to 2C channels; the head is a single 1 × 1 layer. 4.8 million parameters.
POINTPILLARS = NetworkConfig(
    encoder_channels=64,
    encoder_mix=False,
    stage_channels=(64, 128, 256),
    stage_layers=(4, 6, 6),
    neck_channels=128,
    head=AnchorHead(anchors=KITTI_ANCHORS),
)


class NetworkOutput(NamedTuple):
    """What the network returns for B frames; see ``detection/decode.py`` for the maps of each head.

    Attributes:
        class_logits: (B, num_classes, H, W) with a centre head, (B, A, H, W) with A anchors a cell.
        box_regression: (B, 9, H, W) or (B, A * 8, H, W).
        layer_entropy: (B, L) float32 entropy of each tapped layer.
        layer_log_rms: (B, L) float32 logarithm of the RMS of each tapped layer's active features.
    """

    class_logits: Tensor
    box_regression: Tensor
    layer_entropy: Tensor
    layer_log_rms: Tensor


class Tap(NamedTuple):
    """A tapped layer: its post-ReLU map (B, C, H, W) and where pillars feed it (B, 1, H, W)."""

    bev: Tensor
    active: Tensor


class PillarNetwork(nn.Module):
    """Detector whose output includes the entropy of every layer of its backbone."""

    def __init__(self, config: NetworkConfig, num_y: int, num_x: int) -> None:
        """Builds the network for a BEV canvas of ``num_y`` × ``num_x`` cells.

        The weights do not depend on the canvas: a network trained on one runs on any other of the
        same cell size.

        Raises:
            ConfigError: If the canvas cannot be halved once a stage, or the entropy measure is not
                installed.
        """
        super().__init__()
        coarsest = _STAGE_STRIDE ** len(config.stage_layers)
        if num_y % coarsest or num_x % coarsest:
            raise ConfigError(
                f"a grid of {num_y} x {num_x} cells: with {len(config.stage_layers)} stages both "
                f"must be multiples of {coarsest}"
            )
        self.config = config
        self._measure = entropy_measure(config.entropy_measure)
        self.num_y = num_y
        self.num_x = num_x
        self.encoder = PillarEncoder(config.encoder_channels, config.encoder_mix)
        self.stages = nn.ModuleList()
        self.necks = nn.ModuleList()
        in_channels = config.encoder_channels
        for level, (channels, layers) in enumerate(
            zip(config.stage_channels, config.stage_layers, strict=True)
        ):
            blocks = [ConvBlock(in_channels, channels, stride=_STAGE_STRIDE)]
            blocks += [ConvBlock(channels, channels) for _ in range(layers - 1)]
            self.stages.append(nn.ModuleList(blocks))
            self.necks.append(Neck(channels, config.neck_channels, _STAGE_STRIDE**level))
            in_channels = channels
        self.head = build_head(
            config.head,
            config.neck_channels * len(config.stage_channels),
            config.head_channels,
            config.num_classes,
        )

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the tapped layers in order, e.g. ``stage1.conv1``."""
        return tuple(
            f"stage{s}.conv{c}"
            for s, layers in enumerate(self.config.stage_layers, 1)
            for c in range(1, layers + 1)
        )

    @property
    def layer_stages(self) -> tuple[int, ...]:
        """Stage index of each tapped layer."""
        return tuple(s for s, n in enumerate(self.config.stage_layers) for _ in range(n))

    def forward(self, points: Tensor, features: Tensor, cell_to_pillar: Tensor) -> NetworkOutput:
        """Detects objects in B frames whose pillars are listed one after the other.

        Args:
            points: (P, K, 4) points of all pillars of the batch.
            features: (P, 6) features of all pillars of the batch.
            cell_to_pillar: (B, num_y * num_x) integer: pillar row of each cell, P where empty.

        Returns:
            The raw outputs and the readings of the layers.
        """
        class_logits, box_regression, taps = self.forward_taps(points, features, cell_to_pillar)
        layer_entropy, layer_log_rms = self.measure(taps)
        return NetworkOutput(class_logits, box_regression, layer_entropy, layer_log_rms)

    def forward_taps(
        self, points: Tensor, features: Tensor, cell_to_pillar: Tensor
    ) -> tuple[Tensor, Tensor, list[Tap]]:
        """As :meth:`forward`, with the tapped maps in place of their entropies.

        Training measures the entropy of a part of the batch only, which makes it cheap.
        """
        # Pillar feature net: a PointNet over the points of each pillar.
        pillars = self.encoder(points, features)  # (P, C)
        # Pillars back to their cells: the pseudo-image.
        canvas, active = self._scatter(pillars, cell_to_pillar)
        # Top-down convolutions, each stage brought back to the first one's resolution.
        levels, taps = self._backbone(canvas, active)
        # Detection head on the concatenated levels.
        class_logits, box_regression = self.head(torch.cat(levels, dim=1))
        return class_logits, box_regression, taps

    def measure(self, taps: Sequence[Tap]) -> tuple[Tensor, Tensor]:
        """Entropy and log-RMS of each tapped layer of B frames, (B, L) float32 each."""
        # The layers of a stage are alike in shape and fed by the same cells.
        stages = [list(stage) for _, stage in groupby(taps, key=lambda tap: tap.bev.shape)]
        return read_layers(
            [([tap.bev for tap in stage], stage[0].active) for stage in stages], self._measure
        )

    def _scatter(self, pillars: Tensor, cell_to_pillar: Tensor) -> tuple[Tensor, Tensor]:
        """Scatters pillars to the BEV canvas, written as a gather, which every runtime has."""
        batch = cell_to_pillar.shape[0]
        with_empty = functional.pad(pillars, (0, 0, 0, 1))  # (P + 1, C), last row is the empty cell
        canvas = with_empty.index_select(0, cell_to_pillar.reshape(-1))  # (B * H * W, C)
        canvas = canvas.reshape(batch, self.num_y, self.num_x, -1).permute(0, 3, 1, 2)
        active = (cell_to_pillar < pillars.shape[0]).to(torch.float32)
        return canvas, active.reshape(batch, 1, self.num_y, self.num_x)

    def _backbone(self, bev: Tensor, active: Tensor) -> tuple[list[Tensor], list[Tap]]:
        """Runs the stages; returns each stage's upsampled map and every layer's tap."""
        levels, taps = [], []
        for blocks, neck in zip(self.stages, self.necks, strict=True):
            active = functional.max_pool2d(active, 3, stride=_STAGE_STRIDE, padding=1)
            for block in blocks:  # type: ignore[union-attr]
                bev = block(bev)
                taps.append(Tap(bev, active))
            levels.append(neck(bev))
        return levels, taps


def network_inputs(pillars: Pillars) -> tuple[Tensor, Tensor, Tensor]:
    """The arguments of :meth:`PillarNetwork.forward` for one frame."""
    return (
        torch.from_numpy(pillars.points),
        torch.from_numpy(pillars.features),
        torch.from_numpy(pillars.cell_to_pillar)[None],
    )
