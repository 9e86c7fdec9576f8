# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser, its learning rate over the run, and the moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR


def make_optimizer(
    network: nn.Module, learning_rate: float, weight_decay: float, device: torch.device
) -> Optimizer:
    """AdamW whose weight decay leaves biases and norms alone: shrinking those regularises nothing.

    Args:
        network: Whose parameters are trained.
        learning_rate: Its peak.
        weight_decay: Of matrices and convolution kernels.
        device: Where the parameters are.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, learning_rate, fused=device.type == "cuda")


def make_schedule(
    optimizer: Optimizer, learning_rate: float, steps: int, warm_up: float
) -> LRScheduler:
    """One cycle (Smith and Topin, 2018): up to the peak for ``warm_up`` of the run, then down."""
    return OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=warm_up)


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Moves the averaged network towards the trained one.

    The average forgets faster at first: the first steps' weights are all wrong.

    Args:
        averaged: Network that is evaluated and exported.
        network: Network that is trained, of the same shape.
        decay: Share that the average keeps of itself once it has settled.
        step: Updates so far.
    """
    share = 1.0 - min(decay, (1.0 + step) / (10.0 + step)) if step else 1.0
    old, new = averaged.state_dict(), network.state_dict()
    floats = [name for name, value in old.items() if value.is_floating_point()]
    torch._foreach_lerp_([old[n] for n in floats], [new[n] for n in floats], share)
    for name in old.keys() - set(floats):
        old[name].copy_(new[name])
