# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection heads: from the concatenated necks to class logits and box parameters."""

from __future__ import annotations

from torch import Tensor, nn

from eloss_perception.detection.decode_anchors import NUM_ANCHOR_CHANNELS
from eloss_perception.detection.decode_center import NUM_BOX_CHANNELS
from eloss_perception.detection.heads import AnchorHead, CenterHead
from eloss_perception.network.blocks import ConvBlock

# Start from a foreground probability of 0.01 (RetinaNet, Lin et al. 2017, section 4.1).
_PRIOR_LOGIT = -4.6


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
        # At first every anchor stands by its own size and place.
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
