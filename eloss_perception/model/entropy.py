# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy measures of a tapped layer, in torch: what training regularises and the graph reports.

Counterparts of ``core/entropy.py``, restricted to the cells that a pillar reaches: most of a BEV
map is empty road nobody measured, and its constant features would say nothing about the input.
Every measure is per frame, computed in float32 whatever precision the network runs in, and made of
operators with fixed shapes that ONNX Runtime and TensorRT 10.3 both have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import torch
from torch import Tensor

from eloss_perception.core.entropy import (
    CODING_RATE_EPSILON2,
    CONSTANT,
    KNN_FLOOR,
    KNN_NEIGHBOR,
    KNN_SAMPLES,
    REFERENCE_FLOOR,
    cell_priority,
    digamma,
    fixed_projection,
    grid_stride,
    log_ball_volume,
)

Measure = Callable[[Tensor, Tensor], Tensor]

# Keeps divisors from 0; below the summed squares of any map, also of one at a scale of 1e-6.
_TINY = 1e-30

# Added to the squared distance to a cell that does not count; far above any of features of RMS 1.
_FAR = 1e6

# Entropy per dimension of a white Gaussian.
_GAUSSIAN = 0.5 * math.log(2.0 * math.pi * math.e)

# log(1 + x) on [0, 1] as a sum of these multiples of x, x², x³, x⁴, x⁵, x⁶ and x⁸: within 3.1e-7,
# the minimax fit. The trace of each of these powers of a matrix X follows from X, X² and X⁴.
_LOG1P = (
    *(0.99997392391, -0.49928691713, 0.32664279701, -0.21934431530),
    *(0.12032137500, -0.03787670749, 0.00271732526),
)


def _in_float32(measure: Measure) -> Measure:
    """Switches autocast off, so that the matrix products of what is cast stay in float32."""

    @wraps(measure)
    def wrapped(features: Tensor, active: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return measure(features, active)

    return wrapped


class _Cells(NamedTuple):
    """Feature vectors of a regular subgrid, in float32.

    Attributes:
        z: (B, C, M) centred over the active cells, 0 where inactive.
        mask: (B, 1, M) 1 where active.
        rounding: (B,) summed squares of ``z`` up to which they are rounding errors.
    """

    z: Tensor
    mask: Tensor
    rounding: Tensor


def _active_cells(features: Tensor, active: Tensor) -> _Cells:
    """The active cells of each frame.

    Larger maps are sampled on every second (third, ...) cell: a few thousand feature vectors
    settle a spectrum of a hundred directions, and the readout stays a small part of the time.
    """
    stride = grid_stride(features.shape[2], features.shape[3])
    z = features[:, :, ::stride, ::stride].float().flatten(2)  # (B, C, M)
    mask = active[:, :, ::stride, ::stride].float().flatten(2)  # (B, 1, M)
    count = mask.sum(2, keepdim=True)  # (B, 1, 1)
    # Every measure is free of the mean, so its gradient through the mean is 0 and not computed.
    mean = z.detach() @ mask.transpose(1, 2) / count.clamp(min=1.0)  # (B, C, 1)
    rounding = CONSTANT * (count * mean * mean).sum(dim=(1, 2))
    return _Cells((z - mean) * mask, mask, rounding.clamp(min=_TINY))


def _unit_gram(cells: _Cells) -> tuple[Tensor, Tensor, Tensor]:
    """Gram matrix (B, C, C) scaled to trace 1, identity (C, C), whether features vary (B,)."""
    z = cells.z
    gram = z.detach() @ z.transpose(1, 2)
    if z.requires_grad:
        # What follows is symmetric in G, so half of its differential, twice, is all of it: one
        # matrix product backward instead of two.
        gram = gram + (gram - gram.detach())
    identity = _identity(z.shape[1], z.device)
    power = (gram * identity).sum(dim=(1, 2))  # (B,) tr(G)
    unit = gram / power.clamp(min=_TINY)[:, None, None]
    return unit, identity, power > cells.rounding


def _identity(size: int, device: torch.device) -> Tensor:
    """Identity matrix without ONNX's EyeLike, which not every runtime has."""
    index = torch.arange(size, device=device)
    return (index[:, None] == index[None, :]).float()


@_in_float32
def renyi2_entropy(features: Tensor, active: Tensor) -> Tensor:
    """Normalised Rényi-2 matrix entropy of each frame's feature map over its active cells.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32 entropies in [0, 1]; 0 where the active features are constant or absent.
    """
    gram, _, varies = _unit_gram(_active_cells(features, active))
    concentration = (gram * gram).sum(dim=(1, 2))  # (B,) in [1 / C, 1], or 0 without features
    entropy = -torch.log(concentration.clamp(1e-12, 1.0)) / math.log(features.shape[1])
    return torch.where(varies, entropy, torch.zeros_like(entropy))


@_in_float32
def coding_rate(features: Tensor, active: Tensor) -> Tensor:
    """Normalised log-det coding rate of each frame's feature map over its active cells.

    The determinant of A = I + (C / ε²) S, whose eigenvalues lie in [1, 1 + C / ε²], by matrix
    products alone. With Q = A / ‖A‖ and P = I − Q, 1 / (1 − p) = Π (1 + p^(2^j)) for each
    eigenvalue p of P, so log det Q = −Σ tr log(I + P^(2^j)). The powers come from squaring, as
    Q ← 2 Q − Q², which keeps the small eigenvalues' digits; each logarithm is a polynomial.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32 rates in [0, 1]; 0 where the active features are constant or absent.
    """
    channels = features.shape[1]
    alpha = channels / CODING_RATE_EPSILON2
    gram, identity, varies = _unit_gram(_active_cells(features, active))
    # No eigenvalue of S exceeds its Frobenius norm, which is at most its trace, 1.
    bound = 1.0 + alpha * (gram * gram).sum(dim=(1, 2)).clamp(min=_TINY).sqrt()  # (B,)
    q = (identity + alpha * gram) / bound[:, None, None]
    # After this many squarings the slowest eigenvalue, 1 − 1 / (1 + α), is below e⁻⁹.
    num_terms = math.ceil(math.log2(9.0 * (1.0 + alpha)))
    powers = [identity - q]
    for _ in range(num_terms + 1):
        q = 2.0 * q - q @ q
        powers.append(identity - q)
    log_det = channels * torch.log(bound)  # (B,)
    a1, a2, a3, a4, a5, a6, a8 = _LOG1P
    for x1, x2, x4 in zip(powers[:-2], powers[1:-1], powers[2:], strict=True):
        # The elementwise product of two symmetric matrices sums to the trace of their product.
        logarithm = x1 * (a1 * identity + a2 * x1 + a3 * x2 + a5 * x4)
        logarithm = logarithm + x2 * (a4 * x2 + a6 * x4) + a8 * x4 * x4
        log_det = log_det - logarithm.sum(dim=(1, 2))
    rate = log_det / (channels * math.log1p(1.0 / CODING_RATE_EPSILON2))
    return torch.where(varies, rate, torch.zeros_like(rate))


@_in_float32
def knn_entropy(features: Tensor, active: Tensor) -> Tensor:
    """Kozachenko–Leonenko entropy per dimension of up to 512 active cells of each frame.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32, relative to a white Gaussian's entropy, see
        :func:`eloss_perception.core.entropy.knn_entropy`; 0 where fewer than five cells are
        active or their features are constant.
    """
    z, mask, rounding = _active_cells(features, active)
    varies = (z.detach() * z.detach()).sum(dim=(1, 2)) > rounding  # (B,)
    # As one factor for the frame: a later division by an RMS of 1e-6 would lose digits.
    peak = z.detach().abs().amax(dim=(1, 2), keepdim=True).clamp(min=_TINY)
    projection = torch.from_numpy(fixed_projection(features.shape[1])).to(z)  # (C, d)
    y = projection.T @ (z / peak)  # (B, d, M)
    dimensions, num_cells = y.shape[1], y.shape[2]
    power = (y * y).sum(dim=(1, 2), keepdim=True)  # (B, 1, 1)
    y = y * (mask.sum(2, keepdim=True) * dimensions / power.clamp(min=_TINY)).sqrt()
    priority = mask[:, 0] * torch.from_numpy(cell_priority(num_cells)).to(z.device)  # (B, M)
    score, cells = priority.topk(min(KNN_SAMPLES, num_cells), dim=1)  # (B, N)
    valid = (score > 0.0).float()  # (B, N)
    y = y.gather(2, cells[:, None, :].expand(-1, dimensions, -1))  # (B, d, N)
    norm = (y * y).sum(1)  # (B, N)
    squared = norm[:, :, None] + norm[:, None, :] - 2.0 * y.transpose(1, 2) @ y  # (B, N, N)
    excluded = 1.0 - valid[:, None, :] + _identity(y.shape[2], y.device)
    squared = squared.clamp(min=0.0) + _FAR * excluded.clamp(max=1.0)
    nearest = squared.topk(min(KNN_NEIGHBOR, y.shape[2]), dim=2, largest=False).values.amax(2)
    log_distance = 0.5 * torch.log(nearest.clamp(min=KNN_FLOOR**2))  # (B, N)
    count = valid.sum(1)  # (B,)
    n = count.clamp(min=1.0)
    mean_log = (log_distance * valid).sum(1) / n
    # ψ(n) by its asymptotic series, exact to 1e-5 from n = 5 on.
    digamma_n = torch.log(n) - 0.5 / n - 1.0 / (12.0 * n * n)
    constant = log_ball_volume(dimensions) - digamma(KNN_NEIGHBOR)
    entropy = (digamma_n + constant) / dimensions + mean_log - _GAUSSIAN
    known = (count > KNN_NEIGHBOR) & varies
    return torch.where(known, entropy, torch.zeros_like(entropy))


@_in_float32
def reference_entropy(features: Tensor, active: Tensor) -> Tensor:
    """What the published code computes, per frame; all cells count, and ``active`` is not used.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W), ignored.

    Returns:
        (B,) float32, see :func:`eloss_perception.core.entropy.reference_entropy`.
    """
    del active
    x = features.float().flatten(2)  # (B, C, D)
    # The one pass over the pixels; float32 holds these sums up to values of about 1e16.
    gram = x @ x.transpose(1, 2)  # (B, C, C)
    identity = _identity(x.shape[1], x.device)
    norm = (gram * identity).sum(2)  # (B, C)
    squared = (norm[:, :, None] + norm[:, None, :] - 2.0 * gram) * (1.0 - identity)
    distance = squared.clamp(min=REFERENCE_FLOOR).sqrt()
    rank = x.shape[1] // 10
    nearest = distance.topk(rank + 1, dim=2, largest=False).values.amax(2)  # (B, C)
    return torch.log1p(nearest.sum(1))


ENTROPY_MEASURES: dict[str, Measure] = {
    "renyi2": renyi2_entropy,
    "coding_rate": coding_rate,
    "knn": knn_entropy,
    "reference": reference_entropy,
}
