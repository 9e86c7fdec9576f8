# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection loss; Entropy Loss lives in ``model/entropy.py``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from eloss_perception.core.heads import HeadConfig

# Weight of each regressed box channel: metres and log metres are small numbers that decide 3D IoU.
_BOX_CHANNEL_WEIGHTS = (1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.5)
_BOX_WEIGHT = 0.5
_DIRECTION_WEIGHT = 0.1


# A batch's count of positives -> what the sum of a loss is divided by. With several processes the
# count is taken over all of them, so that the loss does not depend on how frames are dealt out.
Normalizer = Callable[[Tensor], Tensor]


def at_least_one(count: Tensor) -> Tensor:
    """The normalizer of a single process: the count itself, where there is anything to count."""
    return count.clamp(min=1.0)


def detection_losses(
    head: HeadConfig,
    class_logits: Tensor,
    box_regression: Tensor,
    targets: dict[str, Tensor],
    normalizer: Normalizer = at_least_one,
) -> dict[str, Tensor]:
    """The weighted terms of the detection loss; their sum is minimised.

    Args:
        head: The network's head.
        class_logits, box_regression: Its outputs for B frames, float32.
        targets: What ``make_targets`` drew for them, stacked.
        normalizer: Turns a count of positives into the divisor of a summed loss.

    Returns:
        Scalars by name.
    """
    heatmap, weight = targets["heatmap"], targets["heatmap_weight"]
    return {
        "heatmap": heatmap_loss(class_logits, heatmap, weight, normalizer),
        "box": box_loss(box_regression, targets["boxes"], targets["box_weight"], normalizer),
    }


def heatmap_loss(
    logits: Tensor, target: Tensor, weight: Tensor, normalizer: Normalizer = at_least_one
) -> Tensor:
    """Penalty-reduced focal loss (Law and Deng, CornerNet, 2018; alpha 2, beta 4).

    Args:
        logits, target, weight: (B, num_classes, H, W) float32; target 1 marks an object's cell.
        normalizer: See :func:`detection_losses`.

    Returns:
        Scalar, summed over cells and divided by the number of objects.
    """
    probability = logits.sigmoid()
    positive = (target == 1.0).float()
    found = -((1 - probability) ** 2) * functional.logsigmoid(logits) * positive
    false = -((1 - target) ** 4) * probability**2 * functional.logsigmoid(-logits)
    total: Tensor = (found + false * (1 - positive) * weight).sum()
    return total / normalizer(positive.sum())


def box_loss(
    prediction: Tensor, target: Tensor, weight: Tensor, normalizer: Normalizer = at_least_one
) -> Tensor:
    """L1 of the box parameters plus cross-entropy of the heading.

    Args:
        prediction, target: (B, 9, H, W) float32.
        weight: (B, H, W) float32.
        normalizer: See :func:`detection_losses`.

    Returns:
        Scalar, a weighted mean over the cells that own a box.
    """
    channel_weights = torch.tensor(_BOX_CHANNEL_WEIGHTS, device=prediction.device)
    norm = normalizer(weight.sum())
    difference = (prediction[:, :8] - target[:, :8]).abs() * channel_weights[:, None, None]
    regression = (difference.sum(dim=1) * weight).sum() / norm
    heading = functional.binary_cross_entropy_with_logits(
        prediction[:, 8], target[:, 8], weight=weight, reduction="sum"
    )
    return _BOX_WEIGHT * regression + _DIRECTION_WEIGHT * heading / norm
