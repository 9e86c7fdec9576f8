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

# Larger maps are sampled on every second (third, ...) cell: a few thousand feature vectors settle a
# spectrum of a hundred directions, and the readout stays a small part of the network's time.
_MAX_CELLS = 4096

# Far below the summed squares of any map that carries information.
_TINY = 1e-12


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
    stride = max(1, round(math.sqrt(features.shape[2] * features.shape[3] / _MAX_CELLS)))
    features, active = features[:, :, ::stride, ::stride], active[:, :, ::stride, ::stride]
    channels = features.shape[1]
    z = features.float().flatten(2)  # (B, C, M)
    mask = active.float().flatten(2)  # (B, 1, M)
    mean = (z * mask).sum(2, keepdim=True) / mask.sum(2, keepdim=True).clamp(min=1.0)
    z = (z - mean) * mask  # (B, C, M)
    gram = z @ z.transpose(1, 2)  # (B, C, C)
    power = (z * z).sum(dim=(1, 2))  # (B,) tr(G)
    # Divided first, squared after: the squares of a large map's Gram matrix could overflow.
    gram = gram / power.clamp(min=_TINY)[:, None, None]
    concentration = (gram * gram).sum(dim=(1, 2))  # (B,) in [1 / C, 1], or 0 without features
    entropy = -torch.log(concentration.clamp(min=_TINY)) / math.log(channels)
    return torch.where(power > _TINY, entropy, torch.zeros_like(entropy))


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
