# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pillar network: pillar encoder, 2D backbone with entropy taps, centre head.

After PointPillars (Lang et al., CVPR 2019) and CenterPoint (Yin et al., CVPR 2021). Read
:meth:`PillarNetwork.forward` first: it is the whole network in five lines.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from eloss_perception.core.decode import NUM_BOX_CHANNELS
from eloss_perception.core.heads import CenterHead, HeadConfig
from eloss_perception.core.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.model.entropy import renyi2_entropy

# Typical magnitude of each input column, so that all of them start with equal say: offsets in a
# 0.32 m cell, heights of -2..1 m, intensities around 0.3, log counts of 1..4, ranges of 0..70 m.
_POINT_SCALE = (0.1, 0.1, 1.0, 0.3)
_PILLAR_SCALE = (0.1, 0.1, 1.0, 0.3, 1.5, 35.0)


class NetworkConfig(BaseModel):
    """Shape of a :class:`PillarNetwork`; the defaults are the light network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder_channels: int = Field(32, ge=4)
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_layers: tuple[int, ...] = (3, 4, 4)
    neck_channels: int = Field(48, ge=4)
    head_channels: int = Field(64, ge=4)
    num_classes: int = Field(3, ge=1)
    head: HeadConfig = CenterHead()


class NetworkOutput(NamedTuple):
    """What the network returns for B frames.

    Attributes:
        class_logits: (B, num_classes, H, W) logits of a box centre in each cell.
        box_regression: (B, 9, H, W) box parameters, see ``core/decode.py``.
        layer_entropy: (B, L) float32 entropy of each tapped layer.
    """

    class_logits: Tensor
    box_regression: Tensor
    layer_entropy: Tensor


class Tap(NamedTuple):
    """A tapped layer: its post-ReLU map (B, C, H, W) and where pillars feed it (B, 1, H, W)."""

    bev: Tensor
    active: Tensor


class PillarEncoder(nn.Module):
    """Learns one feature vector a pillar: the PointNet of PointPillars.

    A linear map of a point's coordinates *and* of its pillar's mean splits into a part per point
    and a part per pillar, and the maximum over points commutes with the latter. So only four
    columns are multiplied per point, and batch norm and ReLU run once a pillar.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point_linear = nn.Linear(NUM_POINT_FEATURES, channels, bias=False)
        self.pillar_linear = nn.Linear(NUM_PILLAR_FEATURES, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.mix = nn.Linear(channels, channels, bias=False)
        self.mix_norm = nn.BatchNorm1d(channels)
        with torch.no_grad():
            self.point_linear.weight /= torch.tensor(_POINT_SCALE)
            self.pillar_linear.weight /= torch.tensor(_PILLAR_SCALE)

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """Encodes pillars.

        Args:
            points: (P, K, 4), free places repeat a point.
            features: (P, 6).

        Returns:
            (P, C) non-negative pillar features.
        """
        strongest = self.point_linear(points).amax(dim=1)  # (P, K, C) -> (P, C)
        encoded = functional.relu(self.norm(strongest + self.pillar_linear(features)))
        return functional.relu(self.mix_norm(self.mix(encoded)))


class ConvBlock(nn.Sequential):
    """3 × 3 convolution, batch norm, ReLU: one tapped layer."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=False),
        )


class PillarNetwork(nn.Module):
    """Detector whose output includes the entropy of every layer of its backbone."""

    def __init__(self, config: NetworkConfig, num_y: int, num_x: int) -> None:
        """Builds the network for a BEV canvas of ``num_y`` × ``num_x`` cells."""
        super().__init__()
        self.config = config
        self.num_y = num_y
        self.num_x = num_x
        self.encoder = PillarEncoder(config.encoder_channels)
        self.stages = nn.ModuleList()
        self.necks = nn.ModuleList()
        in_channels = config.encoder_channels
        for level, (channels, layers) in enumerate(
            zip(config.stage_channels, config.stage_layers, strict=True)
        ):
            blocks = [ConvBlock(in_channels, channels, stride=2)]
            blocks += [ConvBlock(channels, channels) for _ in range(layers - 1)]
            self.stages.append(nn.ModuleList(blocks))
            self.necks.append(_neck(channels, config.neck_channels, upsampling=2**level))
            in_channels = channels
        self.shared = nn.Sequential(
            nn.Conv2d(
                config.neck_channels * len(config.stage_channels),
                config.head_channels,
                1,
                bias=False,
            ),
            nn.BatchNorm2d(config.head_channels),
            nn.ReLU(),
            ConvBlock(config.head_channels, config.head_channels),
        )
        self.heatmap = nn.Conv2d(config.head_channels, config.num_classes, 3, padding=1)
        self.box_regression = nn.Conv2d(config.head_channels, NUM_BOX_CHANNELS, 3, padding=1)
        # Start from a foreground probability of 0.01 (RetinaNet, Lin et al. 2017, section 4.1).
        nn.init.constant_(self.heatmap.bias, -4.6)  # type: ignore[arg-type]

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
            The raw outputs and the layer entropies.
        """
        class_logits, box_regression, taps = self.forward_taps(points, features, cell_to_pillar)
        return NetworkOutput(class_logits, box_regression, measure_taps(taps))

    def forward_taps(
        self, points: Tensor, features: Tensor, cell_to_pillar: Tensor
    ) -> tuple[Tensor, Tensor, list[Tap]]:
        """As :meth:`forward`, with the tapped maps in place of their entropies.

        Training measures the entropy of a part of the batch only, which is what makes it cheap.
        """
        pillars = self.encoder(points, features)  # (P, C)
        canvas, active = self._scatter(pillars, cell_to_pillar)
        levels, taps = self._backbone(canvas, active)
        bev = self.shared(torch.cat(levels, dim=1))  # (B, head_channels, H, W)
        return self.heatmap(bev), self.box_regression(bev), taps

    def _scatter(self, pillars: Tensor, cell_to_pillar: Tensor) -> tuple[Tensor, Tensor]:
        """Lays pillars out on the BEV canvas; a gather, which every runtime has."""
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
            active = functional.max_pool2d(active, 3, stride=2, padding=1)
            for block in blocks:  # type: ignore[union-attr]
                bev = block(bev)
                taps.append(Tap(bev, active))
            levels.append(neck(bev))
        return levels, taps


def measure_taps(taps: list[Tap]) -> Tensor:
    """Entropy of each tapped layer, (B, L) float32, computed outside autocast."""
    with torch.autocast(taps[0].bev.device.type, enabled=False):
        return torch.stack([renyi2_entropy(tap.bev, tap.active) for tap in taps], dim=1)


def _neck(in_channels: int, out_channels: int, upsampling: int) -> nn.Module:
    """Brings a stage to the resolution of the first one."""
    if upsampling == 1:
        conv: nn.Module = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    else:
        conv = nn.ConvTranspose2d(in_channels, out_channels, upsampling, upsampling, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())
