# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy and RMS of the tapped layers, in torch: what training regularises and the graph reports.

Counterpart of ``health/entropy.py``, restricted to the cells that a pillar reaches: most of a BEV
map is empty road that nothing was measured on, and its constant features say nothing about the
input. Everything is per frame, in float32 whatever precision the network runs in, and made of
operators with fixed shapes that ONNX Runtime and TensorRT 10.3 both have. The graph reports
:func:`read_layers`. Research measures: ``benchmarks/research_measures.py``.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from eloss_perception.errors import ConfigError
from eloss_perception.health.entropy import CONSTANT, LOG_RMS_FLOOR, grid_stride

# A layer's features (B, C, H, W) and active cells (B, 1, H, W) to its (B,) float32 entropies.
Measure = Callable[[Tensor, Tensor], Tensor]

MeasureName = Literal["renyi2", "coding_rate", "knn", "reference"]

# Keeps divisors from 0; below the summed squares of any map, also of one at a scale of 1e-6, and
# with a square that float32 holds.
TINY = 1e-18


def in_float32(measure: Measure) -> Measure:
    """Switches autocast off, so that matrix products of cast inputs stay in float32."""

    @wraps(measure)
    def wrapped(features: Tensor, active: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return measure(features, active)

    return wrapped


class Cells(NamedTuple):
    """Feature vectors of n layers on a regular subgrid of their map, in float32.

    Attributes:
        z: (B, n, C, M) centred over the active cells, 0 where inactive.
        gram: (B, n, C, C) Gram matrices of ``z``.
        mask: (B, 1, M) 1 where active.
        count: (B, 1) active cells, at least 1.
        mean: (B, n) Euclidean norm of the mean feature vector.
        power: (B, n) summed squares of ``z``.
    """

    z: Tensor
    gram: Tensor
    mask: Tensor
    count: Tensor
    mean: Tensor
    power: Tensor


class Moments(NamedTuple):
    """Sums that the readings of L layers follow from, (B, L) each.

    Attributes:
        count: Active cells, at least 1.
        power: Summed squares of the features about their mean.
        total: Summed squares of the features.
    """

    count: Tensor
    power: Tensor
    total: Tensor

    @property
    def varies(self) -> Tensor:
        """(B, L) whether the features are more than a constant and its rounding errors."""
        return self.power.detach() > CONSTANT * self.total.detach()


def _sample(maps: Tensor, stride: int) -> Tensor:
    """Every ``stride``-th cell of (B, C, H, W) maps along x and y."""
    if stride == 1:
        return maps
    if maps.requires_grad:
        return maps[:, :, ::stride, ::stride]
    # The maximum over one cell: in this form ONNX Runtime takes the cells out of its blocked
    # layout, where a slice has it convert the whole map before.
    return functional.max_pool2d(maps, 1, stride)


def active_cells(maps: Sequence[Tensor], active: Tensor) -> Cells:
    """The active cells of layers that are alike in shape and fed by the same pillars.

    A tenth of a map's feature vectors settles how the variance is spread, and keeps the readout a
    small part of the time. The last layer is sampled first: ONNX Runtime orders what it rewrites
    from the end of the graph, and so takes each map's cells while the map is in the cache.
    """
    batch, channels, num_y, num_x = maps[0].shape
    stride = grid_stride(num_y, num_x, channels)
    sampled = [_sample(bev, stride) for bev in reversed(maps)][::-1]
    x = torch.cat(sampled, dim=1).float()  # (B, n * C, h, w)
    x = x.reshape(batch, len(maps), channels, -1)  # (B, n, C, M)
    mask = _sample(active, stride).float().reshape(batch, 1, -1, 1)  # (B, 1, M, 1)
    count = mask.sum(dim=(2, 3), keepdim=True).clamp(min=1.0)  # (B, 1, 1, 1)
    # Every measure is free of the mean, so its gradient through the mean is 0 and not computed.
    mean = x.detach() @ mask / count  # (B, n, C, 1)
    # Centred before the matrix product, not after: what is nearly constant would cancel there.
    z = (x - mean) * mask.reshape(batch, 1, 1, -1)
    gram = z.detach() @ z.transpose(2, 3)
    if z.requires_grad:
        # What follows is symmetric in G, so half of its differential, twice, is all of it: one
        # matrix product backward instead of two.
        gram = gram + (gram - gram.detach())
    power = gram.flatten(2)[:, :, :: channels + 1].sum(2)  # (B, n) trace: every (C + 1)-th entry
    norm = torch.linalg.vector_norm(mean, dim=(2, 3))
    return Cells(z, gram, mask[..., 0], count.flatten(1), norm, power)


def moments_of(stages: Sequence[Cells]) -> Moments:
    """Moments of the layers of all stages."""
    count = torch.cat([c.count for c in stages for _ in range(c.z.shape[1])], dim=1)
    mean = torch.cat([c.mean for c in stages], dim=1)
    power = torch.cat([c.power for c in stages], dim=1)
    return Moments(count, power, power + count * mean * mean)


def _renyi2(stages: Sequence[Cells], moments: Moments) -> Tensor:
    """(B, L) Rényi-2 entropies from two sums a layer."""
    squares = torch.cat([(c.gram * c.gram).sum(dim=(2, 3)) for c in stages], dim=1)  # (B, L)
    power = moments.power.clamp(min=TINY)
    # ‖G‖² / tr(G)², in [1 / C, 1], or 0 without features.
    concentration = (squares / (power * power)).clamp(1e-12, 1.0)
    scale = [-1.0 / math.log(c.z.shape[2]) for c in stages for _ in range(c.z.shape[1])]
    entropy = torch.log(concentration) * torch.tensor(scale, device=power.device)
    return torch.where(moments.varies, entropy, torch.zeros_like(entropy))


def _log_rms(stages: Sequence[Cells], moments: Moments) -> Tensor:
    """(B, L) logarithms of the RMS over active cells and channels."""
    channels = [float(c.z.shape[2]) for c in stages for _ in range(c.z.shape[1])]
    num_values = moments.count * torch.tensor(channels, device=moments.count.device)
    return 0.5 * torch.log((moments.total / num_values).clamp(min=LOG_RMS_FLOOR**2))


@in_float32
def renyi2_entropy(features: Tensor, active: Tensor) -> Tensor:
    """Normalised Rényi-2 matrix entropy of each frame's feature map over its active cells.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32 entropies in [0, 1]; 0 where the active features are constant or absent.
    """
    stages = [active_cells([features], active)]
    return _renyi2(stages, moments_of(stages))[:, 0]


def entropy_measure(name: MeasureName) -> Measure:
    """Returns the measure that a setting names.

    Only ``renyi2`` is part of the package. The others are research: they are taken from
    ``MEASURES`` of ``benchmarks/research_measures.py`` in a source checkout.

    Raises:
        ConfigError: If a research measure is named and Python finds no checkout.
    """
    if name == "renyi2":
        return renyi2_entropy
    try:
        research = importlib.import_module("benchmarks.research_measures")
    except ModuleNotFoundError:
        raise ConfigError(
            f"entropy measure {name!r} is for research only and not installed: run from a source "
            "checkout, which has it in benchmarks/research_measures.py, or use 'renyi2'"
        ) from None
    measure: Measure = research.MEASURES[name]
    return measure


def read_layers(
    stages: Sequence[tuple[Sequence[Tensor], Tensor]], measure: Measure = renyi2_entropy
) -> tuple[Tensor, Tensor]:
    """Entropy and log-RMS of all layers of a network, in few operators.

    The layers of a stage are measured as one batch, and only norms are left of all stages when the
    scalar arithmetic begins: on a vehicle's computer a hundred operators on a handful of numbers
    would take as long as the matrix products.

    Args:
        stages: Per stage the (B, C, H, W) post-ReLU maps of its layers, and a (B, 1, H, W) map that
            is 1 where at least one pillar feeds these, else 0.
        measure: See :func:`entropy_measure`.

    Returns:
        Entropies and log-RMS of the L layers, (B, L) float32 each.
    """
    with torch.autocast(stages[0][1].device.type, enabled=False):
        # The last stage first, as its layers.
        cells = [active_cells(maps, active) for maps, active in reversed(stages)][::-1]
        moments = moments_of(cells)
        if measure is renyi2_entropy:
            entropy = _renyi2(cells, moments)
        else:
            layers = [measure(bev, active) for maps, active in stages for bev in maps]
            entropy = torch.stack(layers, dim=1)
        return entropy, _log_rms(cells, moments)
