# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network as it is deployed: batch norms folded away, weights rounded to half precision."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from eloss_perception.network.network import PillarNetwork


class ChannelAffine(nn.Module):
    """A trained batch norm over (P, C) as what it is: a factor and an offset per channel."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        self.scale = nn.Parameter(scale)
        self.offset = nn.Parameter(norm.bias - norm.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        """(P, C) to (P, C)."""
        return x * self.scale + self.offset


def fold_batch_norm(network: PillarNetwork) -> PillarNetwork:
    """A copy of a network without batch norms, equal up to rounding.

    Each norm disappears in the convolution or linear layer before it, computed in double precision.
    The encoder's first one stays as a factor and an offset: it follows a maximum, with which a
    negative factor does not commute.
    """
    folded = copy.deepcopy(network).eval().double()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            layer, norm = module[i], module[i + 1]
            if isinstance(norm, nn.BatchNorm2d):
                transpose = isinstance(layer, nn.ConvTranspose2d)
                module[i] = fuse_conv_bn_eval(layer, norm, transpose)
                module[i + 1] = nn.Identity()
    encoder = folded.encoder
    encoder.norm = ChannelAffine(encoder.norm)
    if encoder.mix is not None:
        encoder.mix = fuse_linear_bn_eval(encoder.mix, encoder.mix_norm)
        encoder.mix_norm = nn.Identity()
    return folded.float()


@torch.no_grad()
def round_weights_to_half(network: nn.Module) -> None:
    """Rounds every weight matrix and kernel to half precision, in place; the rest is small.

    The dtype stays float32, so that the rounded network can be run and compared. A weight beyond
    half precision's range becomes infinite.
    """
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.copy_(parameter.half().float())
