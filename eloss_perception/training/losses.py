# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection loss; Entropy Loss lives in ``model/entropy.py``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from eloss_perception.core.heads import HeadConfig

# Weight of each regressed box channel: metres and log metres are small numbers that decide 3D IoU.
_BOX_CHANNEL_WEIGHTS = (1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.5)
_BOX_WEIGHT = 0.5
_DIRECTION_WEIGHT = 0.1


def detection_losses(
    head: HeadConfig, class_logits: Tensor, box_regression: Tensor, targets: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The weighted terms of the detection loss; their sum is minimised.

    Args:
        head: The network's head.
        class_logits, box_regression: Its outputs for B frames, float32.
        targets: What ``make_targets`` drew for them, stacked.

    Returns:
        Scalars by name.
    """
    return {
        "heatmap": heatmap_loss(class_logits, targets["heatmap"], targets["heatmap_weight"]),
        "box": box_loss(box_regression, targets["boxes"], targets["box_weight"]),
    }


def heatmap_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Law and Deng, CornerNet, 2018; alpha 2, beta 4).

    Args:
        logits, target, weight: (B, num_classes, H, W) float32; target 1 marks an object's cell.

    Returns:
        Scalar, summed over cells and divided by the number of objects.
    """
    probability = logits.sigmoid()
    positive = (target == 1.0).float()
    found = -((1 - probability) ** 2) * functional.logsigmoid(logits) * positive
    false = -((1 - target) ** 4) * probability**2 * functional.logsigmoid(-logits)
    total: Tensor = (found + false * (1 - positive) * weight).sum()
    return total / positive.sum().clamp(min=1.0)


def box_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 of the box parameters plus cross-entropy of the heading.

    Args:
        prediction, target: (B, 9, H, W) float32.
        weight: (B, H, W) float32.

    Returns:
        Scalar, a weighted mean over the cells that own a box.
    """
    channel_weights = torch.tensor(_BOX_CHANNEL_WEIGHTS, device=prediction.device)
    norm = weight.sum().clamp(min=1.0)
    difference = (prediction[:, :8] - target[:, :8]).abs() * channel_weights[:, None, None]
    regression = (difference.sum(dim=1) * weight).sum() / norm
    heading = functional.binary_cross_entropy_with_logits(
        prediction[:, 8], target[:, 8], weight=weight, reduction="sum"
    )
    return _BOX_WEIGHT * regression + _DIRECTION_WEIGHT * heading / norm
