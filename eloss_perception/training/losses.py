# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection losses of both heads; Entropy Loss is in ``network/entropy_loss.py``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from eloss_perception.detection.decode_anchors import NUM_ANCHOR_CHANNELS
from eloss_perception.detection.heads import AnchorHead, CenterHead

# Centre head. Weight of each regressed box channel: metres and log metres are small numbers that
# decide 3D IoU.
_BOX_CHANNEL_WEIGHTS = (1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.5)
_BOX_WEIGHT = 1.0
_DIRECTION_WEIGHT = 0.1

# Anchor head: PointPillars, section 3.4 (focal loss, Lin et al. 2017); the corner of smooth L1 as
# in SECOND's published code.
_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2.0
_SMOOTH_L1_CORNER = 1.0 / 9.0
_ANCHOR_CLASS_WEIGHT, _ANCHOR_BOX_WEIGHT, _ANCHOR_HEADING_WEIGHT = 1.0, 2.0, 0.2


# A batch's count of positives -> divisor of a summed loss. With several processes the count is over
# all of them, so that the loss does not depend on how frames are dealt out.
Normalizer = Callable[[Tensor], Tensor]


def at_least_one(count: Tensor) -> Tensor:
    """The normalizer of a single process: the count itself, where there is anything to count."""
    return count.clamp(min=1.0)


def detection_losses(
    head: CenterHead | AnchorHead,
    class_logits: Tensor,
    box_regression: Tensor,
    targets: dict[str, Tensor],
    normalizer: Normalizer = at_least_one,
) -> dict[str, Tensor]:
    """The weighted terms of the detection loss; their sum is minimised.

    Args:
        head: The network's head.
        class_logits, box_regression: Its outputs for B frames, float32.
        targets: Of ``make_targets``, stacked.
        normalizer: Turns a count of positives into the divisor of a summed loss.

    Returns:
        Scalars by name.
    """
    if isinstance(head, AnchorHead):
        return anchor_losses(class_logits, box_regression, targets, normalizer)
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


def anchor_losses(
    class_logits: Tensor,
    box_regression: Tensor,
    targets: dict[str, Tensor],
    normalizer: Normalizer = at_least_one,
) -> dict[str, Tensor]:
    """Focal loss of the anchors' classes, smooth L1 of the residuals, cross-entropy of the heading.

    Args:
        class_logits: (B, A, H, W) float32.
        box_regression: (B, A * 8, H, W) float32.
        targets: See ``training/anchor_targets.py``, stacked.
        normalizer: See :func:`detection_losses`.

    Returns:
        Weighted scalars ``class``, ``box`` and ``heading``, each summed over anchors and divided by
        the number of positive ones.
    """
    anchor_class, positives = targets["anchor_class"], targets["positives"]
    target = (anchor_class == 1).float()
    cross_entropy = functional.binary_cross_entropy_with_logits(
        class_logits, target, weight=(anchor_class >= 0).float(), reduction="none"
    )
    probability = class_logits.sigmoid()
    error = target * (1.0 - probability) + (1.0 - target) * probability
    balance = target * _FOCAL_ALPHA + (1.0 - target) * (1.0 - _FOCAL_ALPHA)
    classification = (balance * error**_FOCAL_GAMMA * cross_entropy).sum()

    maps = box_regression.unflatten(1, (-1, NUM_ANCHOR_CHANNELS)).flatten(3)  # (B, A, 8, H * W)
    frame = torch.arange(len(maps), device=maps.device)[:, None]  # (B, 1)
    listed = (positives >= 0).float()  # (B, M); free places point at the first anchor, weight 0
    place = positives.clamp(min=0)
    anchor = torch.div(place, maps.shape[3], rounding_mode="floor")
    prediction = maps[frame, anchor, :, place % maps.shape[3]]  # (B, M, 8)
    expected = targets["residuals"]
    # The sine of the yaw difference: zero for a reversed box (SECOND, eq. 3).
    yaw_diff = torch.sin(prediction[..., 6:7] - expected[..., 6:7])
    difference = torch.cat([prediction[..., :6] - expected[..., :6], yaw_diff], dim=-1)  # (B, M, 7)
    regression = functional.smooth_l1_loss(
        difference, torch.zeros_like(difference), beta=_SMOOTH_L1_CORNER, reduction="none"
    ).sum(dim=-1)
    heading = functional.binary_cross_entropy_with_logits(
        prediction[..., 7], expected[..., 7], reduction="none"
    )
    divisor = normalizer(listed.sum())
    return {
        "class": _ANCHOR_CLASS_WEIGHT * classification / divisor,
        "box": _ANCHOR_BOX_WEIGHT * (regression * listed).sum() / divisor,
        "heading": _ANCHOR_HEADING_WEIGHT * (heading * listed).sum() / divisor,
    }
