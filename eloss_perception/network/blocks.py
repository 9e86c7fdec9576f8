# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layers that the network is built of: pillar encoder, convolution block, neck, heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eloss_perception.detection.decode_anchors import NUM_ANCHOR_CHANNELS
from eloss_perception.detection.decode_center import NUM_BOX_CHANNELS
from eloss_perception.detection.heads import AnchorHead, CenterHead
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES

# Typical magnitude of each input column, so that all start with equal weight: offsets in a
# 0.32 m cell, heights of -2..1 m, intensities around 0.3, log counts of 1..4, ranges of 0..70 m.
_POINT_SCALE = (0.1, 0.1, 1.0, 0.3)
_PILLAR_SCALE = (0.1, 0.1, 1.0, 0.3, 1.5, 35.0)

# Start from a foreground probability of 0.01 (RetinaNet, Lin et al. 2017, section 4.1).
_PRIOR_LOGIT = -4.6


class PillarEncoder(nn.Module):
    """Learns one feature vector a pillar (PointNet in PointPillars, section 2.1).

    A linear map of a point's coordinates *and* of its pillar's mean splits into a part per point
    and a part per pillar, and the maximum over points commutes with the latter. So only four
    columns are multiplied per point, and batch norm and ReLU run once a pillar.
    """

    def __init__(self, channels: int, mix: bool) -> None:
        """Builds the encoder; ``mix`` adds a second linear layer after the maximum."""
        super().__init__()
        self.point_linear = nn.Linear(NUM_POINT_FEATURES, channels, bias=False)
        self.pillar_linear = nn.Linear(NUM_PILLAR_FEATURES, channels, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(channels)
        self.mix: nn.Module | None = None
        if mix:
            self.mix = nn.Linear(channels, channels, bias=False)
            self.mix_norm: nn.Module = nn.BatchNorm1d(channels)
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
        if self.mix is not None:
            encoded = functional.relu(self.mix_norm(self.mix(encoded)))
        return encoded


class ConvBlock(nn.Sequential):
    """3 × 3 convolution, batch norm, ReLU: one tapped layer."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=False),
        )


class Neck(nn.Sequential):
    """Brings a stage to the resolution of the first one: (transposed) convolution, norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, upsampling: int) -> None:
        if upsampling == 1:
            conv: nn.Module = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        else:
            conv = nn.ConvTranspose2d(in_channels, out_channels, upsampling, upsampling, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class CenterPredictor(nn.Module):
    """Centre head: two shared convolutions, then one for the heatmap and one for the boxes."""

    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            ConvBlock(channels, channels),
        )
        self.class_logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_regression = nn.Conv2d(channels, NUM_BOX_CHANNELS, 3, padding=1)
        nn.init.constant_(self.class_logits.bias, _PRIOR_LOGIT)  # type: ignore[arg-type]

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to (B, num_classes, H, W) logits and (B, 9, H, W) box parameters."""
        bev = self.shared(bev)
        return self.class_logits(bev), self.box_regression(bev)


class AnchorPredictor(nn.Module):
    """Anchor head: a 1 × 1 convolution for the A anchors' classes and one for their residuals."""

    def __init__(self, in_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.class_logits = nn.Conv2d(in_channels, num_anchors, 1)
        self.box_regression = nn.Conv2d(in_channels, num_anchors * NUM_ANCHOR_CHANNELS, 1)
        nn.init.constant_(self.class_logits.bias, _PRIOR_LOGIT)  # type: ignore[arg-type]
        # At first every anchor predicts its own size and place.
        nn.init.normal_(self.box_regression.weight, std=0.001)

    def forward(self, bev: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to (B, A, H, W) logits and (B, A * 8, H, W) residuals."""
        return self.class_logits(bev), self.box_regression(bev)


def build_head(
    head: CenterHead | AnchorHead, in_channels: int, channels: int, num_classes: int
) -> CenterPredictor | AnchorPredictor:
    """The layers of a head; ``channels`` is the width of the centre head's shared layers."""
    if isinstance(head, CenterHead):
        return CenterPredictor(in_channels, channels, num_classes)
    return AnchorPredictor(in_channels, len(head.anchors))
