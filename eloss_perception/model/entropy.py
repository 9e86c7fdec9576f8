# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy taps in the network and the Entropy Loss built on them.

Unlike the published code (arXiv 2409.00839), the measure is per frame, free of the activations'
scale, smooth, computed in float32 whatever precision the network runs in, and made of operators
that every inference runtime has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def renyi2_entropy(features: Tensor, active: Tensor) -> Tensor:
    """Normalised Rényi-2 matrix entropy of each frame's feature map over its active cells.

    Counterpart of :func:`eloss_perception.core.entropy.renyi2_entropy`, restricted to the cells
    that a pillar reaches: most of a BEV map is empty road nobody measured, and its constant
    features would say nothing about the input.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32 entropies in [0, 1]; 0 where the active features are constant or absent.
    """
    batch, channels, height, width = features.shape
    z = features.float().reshape(batch, channels, height * width)  # (B, C, M)
    mask = active.float().reshape(batch, 1, height * width)  # (B, 1, M)
    mean = (z * mask).sum(2, keepdim=True) / mask.sum(2, keepdim=True).clamp(min=1.0)
    z = (z - mean) * mask  # (B, C, M)
    # Rényi-2 ignores scale: dividing by the peak, a constant to the gradient, only rules out overflow.
    z = z / z.detach().abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    gram = z @ z.transpose(1, 2)  # (B, C, C)
    squared_norm = (gram * gram).sum(dim=(1, 2))  # (B,)
    trace = (z * z).sum(dim=(1, 2))  # (B,) tr(Z Zᵀ)
    tiny = 1e-12
    concentration = (squared_norm + tiny) / (trace * trace + tiny)
    return -torch.log(concentration) / math.log(channels)


def entropy_loss(layer_entropy: Tensor, stages: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Steadiness and direction terms of Entropy Loss for a batch of entropy profiles.

    Along a stage the entropy should change by equal steps (steadiness: the variance of the
    changes, L1 of arXiv 2409.00839) and should fall (direction: a hinge on every rise; the printed
    L2 rewards a rise as much as a fall, the text means this).

    Args:
        layer_entropy: (B, L) float32 entropies in layer order.
        stages: Stage index of each layer; no change is taken across a stage boundary.

    Returns:
        ``(steadiness, direction)``, scalars, both >= 0.
    """
    changes = layer_entropy[:, 1:] - layer_entropy[:, :-1]  # (B, L-1)
    steadiness, direction, num_stages = changes.sum() * 0.0, changes.sum() * 0.0, 0
    for stage in sorted(set(stages)):
        inside = [i for i in range(len(stages) - 1) if stages[i] == stages[i + 1] == stage]
        if len(inside) < 2:
            continue
        stage_changes = changes[:, inside]  # (B, layers of the stage - 1)
        steadiness = steadiness + stage_changes.var(dim=1, unbiased=True).mean()
        direction = direction + torch.relu(stage_changes).mean()
        num_stages += 1
    return steadiness / max(num_stages, 1), direction / max(num_stages, 1)
