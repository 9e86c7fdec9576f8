# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Batch norm whose statistics are those of all processes' frames.

PyTorch's own ``SyncBatchNorm`` runs on GPUs only; on a CPU the class here does the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Replaces every batch norm of a network by a synchronised one with the same parameters."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, module in network.named_children():
        if isinstance(module, _BatchNorm):
            setattr(network, name, SynchronizedBatchNorm.from_batch_norm(module))
        else:
            synchronize_batch_norm(module, device)
    return network


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm over the frames of all processes, of (N, C) or (N, C, H, W); N may differ."""

    @classmethod
    def from_batch_norm(cls, norm: _BatchNorm) -> SynchronizedBatchNorm:
        """Shares the parameters and statistics of a batch norm."""
        shared = cls(norm.num_features, norm.eps, norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
        return shared.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises; in evaluation mode with the running statistics, as any batch norm."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        shape = (1, -1) + (1,) * (values.ndim - 2)
        others = [0, *range(2, values.ndim)]
        own_count = values.new_tensor([values.numel() // values.shape[1]])
        sums = _Total.apply(torch.cat([values.sum(others), own_count]))  # (C + 1,)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        # A second pass: the difference of two large sums would lose the digits that matter.
        variance = _Total.apply((centred * centred).sum(others)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1.0))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape with channels second will do."""


class _Total(torch.autograd.Function):
    """Sum of a tensor over the processes; so is the sum of the gradients its derivative."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
