# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy measures for research: what the ablation compares with the one that ships.

``eloss train --set entropy_loss.measure=...`` and ``network.entropy_measure`` find them here when
they run from a source checkout, through :func:`eloss_perception.network.entropy_readout.
entropy_measure`. They obey the same rules as the shipped measure: per frame, in float32, of
operators with fixed shapes that ONNX Runtime and TensorRT 10.3 both have. The float64 definitions
that they are tested against are in ``test/measures_in_float64.py``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eloss_perception.network.entropy_readout import (
    TINY,
    Measure,
    active_cells,
    in_float32,
    moments_of,
)

# Smallest squared distance of the published code's first version.
REFERENCE_FLOOR = 1e-12

# Squared distortion of the coding rate, as in MCR² (Yu et al., arXiv 2006.08558, experiments).
CODING_RATE_EPSILON2 = 0.5

# Nearest-neighbour estimate: samples a frame, dimensions they are projected to, neighbour's rank.
KNN_SAMPLES = 512
KNN_DIMENSIONS = 8
KNN_NEIGHBOR = 4

# Nearest-neighbour distances below this part of the features' RMS count as this: ReLU leaves
# identical vectors, whose distance has no logarithm.
KNN_FLOOR = 1e-2

# Added to the squared distance to a cell that does not count; far above any of features of RMS 1.
_FAR = 1e6

# Entropy per dimension of a white Gaussian.
_GAUSSIAN = 0.5 * math.log(2.0 * math.pi * math.e)

# log(1 + x) on [0, 1] as a sum of these multiples of x, x², x³, x⁴, x⁵, x⁶ and x⁸: within 3.1e-7,
# the minimax fit. The trace of each of these powers of a matrix X follows from X, X² and X⁴.
_LOG1P = (
    0.99997392391, -0.49928691713, 0.32664279701, -0.21934431530,
    0.12032137500, -0.03787670749, 0.00271732526,
)  # fmt: skip

_EULER_GAMMA = 0.5772156649015329


@in_float32
def coding_rate(features: Tensor, active: Tensor) -> Tensor:
    """Normalised log-det coding rate of each frame's feature map over its active cells.

    MCR² (Yu et al., arXiv 2006.08558, equation 6): the bits needed to code the vectors up to a
    squared error of ε², as a part of the most that C channels could need.

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
    cells = active_cells([features], active)
    gram = (cells.gram / cells.power.clamp(min=TINY)[:, :, None, None])[:, 0]  # (B, C, C)
    identity = _identity(channels, gram.device)
    # No eigenvalue of S exceeds its Frobenius norm, which is at most its trace, 1.
    bound = 1.0 + alpha * (gram * gram).sum(dim=(1, 2)).clamp(min=TINY).sqrt()  # (B,)
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
    return torch.where(moments_of([cells]).varies[:, 0], rate, torch.zeros_like(rate))


@in_float32
def knn_entropy(features: Tensor, active: Tensor) -> Tensor:
    """Kozachenko–Leonenko entropy per dimension of up to 512 active cells of each frame.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type.
        active: (B, 1, H, W) 1 where the map is fed by at least one pillar, else 0.

    Returns:
        (B,) float32, relative to a white Gaussian's entropy, see
        ``test/measures_in_float64.py``; 0 where fewer than five cells are active or
        their features are constant.
    """
    cells = active_cells([features], active)
    z, mask = cells.z[:, 0], cells.mask  # (B, C, M), (B, 1, M)
    # As one factor for the frame: a later division by an RMS of 1e-6 would lose digits.
    peak = z.detach().abs().amax(dim=(1, 2), keepdim=True).clamp(min=TINY)
    projection = torch.from_numpy(fixed_projection(features.shape[1])).to(z)  # (C, d)
    y = projection.T @ (z / peak)  # (B, d, M)
    dimensions, num_cells = y.shape[1], y.shape[2]
    power = (y * y).sum(dim=(1, 2), keepdim=True)  # (B, 1, 1)
    y = y * (mask.sum(2, keepdim=True) * dimensions / power.clamp(min=TINY)).sqrt()
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
    known = (count > KNN_NEIGHBOR) & moments_of([cells]).varies[:, 0]
    return torch.where(known, entropy, torch.zeros_like(entropy))


@in_float32
def reference_entropy(features: Tensor, active: Tensor) -> Tensor:
    """What the published code computes, for comparison; not an estimate of an entropy.

    Samples are the channels, dimensions the pixels: H = log(1 + Σ_i d_i,(K)), with d_i,(K) the
    K-th smallest distance from channel i to all channels, itself included, and K = C // 10. It
    grows with the logarithm of the activations' scale.

    Source: the code to *Entropy Loss*, arXiv 2409.00839. It sums over the batch's samples inside
    the logarithm; here each frame has its own value, so that none depends on the others.

    Args:
        features: (B, C, H, W) post-ReLU map, any float type; all cells count.
        active: (B, 1, H, W), ignored.

    Returns:
        (B,) float32, H >= 0 in the published code's unit.
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


MEASURES: dict[str, Measure] = {
    "coding_rate": coding_rate,
    "knn": knn_entropy,
    "reference": reference_entropy,
}


def _identity(size: int, device: torch.device) -> Tensor:
    """Identity matrix without ONNX's EyeLike, which not every runtime has."""
    index = torch.arange(size, device=device)
    return (index[:, None] == index[None, :]).float()


def cell_priority(num_cells: int) -> npt.NDArray[np.float32]:
    """(num_cells,) distinct values in (0, 1] in an order that looks random and never changes."""
    shuffled = np.argsort(_hash(np.arange(num_cells, dtype=np.uint64)), kind="stable")
    priority = np.empty(num_cells, np.float32)
    priority[shuffled] = np.arange(1, num_cells + 1, dtype=np.float32) / num_cells
    return priority


def fixed_projection(channels: int) -> npt.NDArray[np.float64]:
    """(C, min(C, 8)) orthonormal columns, a random subspace that is the same everywhere.

    Up to 8 channels it is the identity.
    """
    if channels <= KNN_DIMENSIONS:
        return np.eye(channels)
    bits = _hash(np.arange(channels * KNN_DIMENSIONS, dtype=np.uint64) + np.uint64(1 << 32)) >> 63
    signs = 2.0 * bits.astype(np.float64).reshape(channels, KNN_DIMENSIONS) - 1.0
    q, r = np.linalg.qr(signs)
    return np.asarray(q * np.sign(np.diag(r)))  # LAPACK's choice of signs removed


def log_ball_volume(dimensions: int) -> float:
    """Logarithm of the volume of the unit ball."""
    return 0.5 * dimensions * math.log(math.pi) - math.lgamma(0.5 * dimensions + 1.0)


def digamma(n: int) -> float:
    """ψ(n) = Σ_{i<n} 1 / i − γ for an integer n >= 1."""
    return float(np.sum(1.0 / np.arange(1, n))) - _EULER_GAMMA


def _hash(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): well mixed, equal on every machine."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
