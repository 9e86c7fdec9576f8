# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy measures of a tapped layer, in torch: what training regularises and the graph reports.

Counterparts of ``health/entropy.py``, restricted to the cells that a pillar reaches: most of a BEV
map is empty road nobody measured, and its constant features would say nothing about the input.
Every measure is per frame, computed in float32 whatever precision the network runs in, and made of
operators with fixed shapes that ONNX Runtime and TensorRT 10.3 both have. What the graph reports is
:func:`read_layers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from eloss_perception.health.entropy import (
    CODING_RATE_EPSILON2,
    CONSTANT,
    KNN_FLOOR,
    KNN_NEIGHBOR,
    KNN_SAMPLES,
    LOG_RMS_FLOOR,
    REFERENCE_FLOOR,
    cell_priority,
    digamma,
    fixed_projection,
    grid_stride,
    log_ball_volume,
)

Measure = Callable[[Tensor, Tensor], Tensor]

# Keeps divisors from 0; below the summed squares of any map, also of one at a scale of 1e-6, and
# with a square that float32 holds.
_TINY = 1e-18

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


class _Moments(NamedTuple):
    """What the readings of L layers come down to, (B, L) each.

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


def _active_cells(maps: Sequence[Tensor], active: Tensor) -> _Cells:
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
    return _Cells(z, gram, mask[..., 0], count.flatten(1), norm, power)


def _moments(stages: Sequence[_Cells]) -> _Moments:
    """Those of the layers of all stages."""
    count = torch.cat([c.count for c in stages for _ in range(c.z.shape[1])], dim=1)
    mean = torch.cat([c.mean for c in stages], dim=1)
    power = torch.cat([c.power for c in stages], dim=1)
    return _Moments(count, power, power + count * mean * mean)


def _renyi2(stages: Sequence[_Cells], moments: _Moments) -> Tensor:
    """(B, L) entropies; of each layer two sums are left when their logarithm is taken."""
    squares = torch.cat([(c.gram * c.gram).sum(dim=(2, 3)) for c in stages], dim=1)  # (B, L)
    power = moments.power.clamp(min=_TINY)
    # ‖G‖² / tr(G)², in [1 / C, 1], or 0 without features.
    concentration = (squares / (power * power)).clamp(1e-12, 1.0)
    scale = [-1.0 / math.log(c.z.shape[2]) for c in stages for _ in range(c.z.shape[1])]
    entropy = torch.log(concentration) * torch.tensor(scale, device=power.device)
    return torch.where(moments.varies, entropy, torch.zeros_like(entropy))


def _log_rms(stages: Sequence[_Cells], moments: _Moments) -> Tensor:
    """(B, L) logarithms."""
    channels = [float(c.z.shape[2]) for c in stages for _ in range(c.z.shape[1])]
    num_values = moments.count * torch.tensor(channels, device=moments.count.device)
    return 0.5 * torch.log((moments.total / num_values).clamp(min=LOG_RMS_FLOOR**2))


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
    stages = [_active_cells([features], active)]
    return _renyi2(stages, _moments(stages))[:, 0]


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
    cells = _active_cells([features], active)
    gram = (cells.gram / cells.power.clamp(min=_TINY)[:, :, None, None])[:, 0]  # (B, C, C)
    identity = _identity(channels, gram.device)
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
    return torch.where(_moments([cells]).varies[:, 0], rate, torch.zeros_like(rate))


@_in_float32
def knn_entropy(features: Tensor, active: Tensor) -> Tensor:
    """Kozachenko–Leonenko entropy per dimension of up to 512 active cells of each frame.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32, relative to a white Gaussian's entropy, see
        :func:`eloss_perception.health.entropy.knn_entropy`; 0 where fewer than five cells are
        active or their features are constant.
    """
    cells = _active_cells([features], active)
    z, mask = cells.z[:, 0], cells.mask  # (B, C, M), (B, 1, M)
    # As one factor for the frame: a later division by an RMS of 1e-6 would lose digits.
    peak = z.detach().abs().amax(dim=(1, 2), keepdim=True).clamp(min=_TINY)
    projection = torch.from_numpy(fixed_projection(features.shape[1])).to(z)  # (C, d)
    y = projection.T @ (z / peak)  # (B, d, M)
    dimensions, num_cells = y.shape[1], y.shape[2]
    power = (y * y).sum(dim=(1, 2), keepdim=True)  # (B, 1, 1)
    y = y * (mask.sum(2, keepdim=True) * dimensions / power.clamp(min=_TINY)).sqrt()
    priority = mask[:, 0] * torch.from_numpy(cell_priority(num_cells)).to(z.device)  # (B, M)
    score, chosen = priority.topk(min(KNN_SAMPLES, num_cells), dim=1)  # (B, N)
    valid = (score > 0.0).float()  # (B, N)
    y = y.gather(2, chosen[:, None, :].expand(-1, dimensions, -1))  # (B, d, N)
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
    known = (count > KNN_NEIGHBOR) & _moments([cells]).varies[:, 0]
    return torch.where(known, entropy, torch.zeros_like(entropy))


@_in_float32
def reference_entropy(features: Tensor, active: Tensor) -> Tensor:
    """What the published code computes, per frame; all cells count, and ``active`` is not used.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W), ignored.

    Returns:
        (B,) float32, see :func:`eloss_perception.health.entropy.reference_entropy`.
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


@_in_float32
def log_rms(features: Tensor, active: Tensor) -> Tensor:
    """Logarithm of the RMS of each frame's feature map over its active cells.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32, at least that of ``LOG_RMS_FLOOR``, as which nothing active counts.
    """
    stages = [_active_cells([features], active)]
    return _log_rms(stages, _moments(stages))[:, 0]


def read_layers(
    stages: Sequence[tuple[Sequence[Tensor], Tensor]], measure: str = "renyi2"
) -> tuple[Tensor, Tensor]:
    """Entropy and log-RMS of all layers of a network: what the measures give, in few operators.

    The layers of a stage are measured as one batch, and of all stages only norms are left when the
    arithmetic that makes readings of them begins: on a vehicle's computer a hundred operators on a
    handful of numbers would take as long as the matrix products.

    Args:
        stages: The (B, C, H, W) post-ReLU maps of each stage's layers, and its (B, 1, H, W) map
            that is 1 where these are fed by at least one pillar, else 0.
        measure: Entry of ``ENTROPY_MEASURES``.

    Returns:
        Entropies and log-RMS of the L layers, (B, L) float32 each.
    """
    with torch.autocast(stages[0][1].device.type, enabled=False):
        # The last stage first, as its layers.
        cells = [_active_cells(maps, active) for maps, active in reversed(stages)][::-1]
        moments = _moments(cells)
        if measure == "renyi2":
            entropy = _renyi2(cells, moments)
        else:
            read = ENTROPY_MEASURES[measure]
            layers = [read(bev, active) for maps, active in stages for bev in maps]
            entropy = torch.stack(layers, dim=1)
        return entropy, _log_rms(cells, moments)
