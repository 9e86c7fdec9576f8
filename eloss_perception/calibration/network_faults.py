# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that no longer compute what they were trained to: damaged copies of an ONNX file.

The backbone's weights are damaged as a broken memory, a bad engine or a careless quantisation would
damage them. Scans are clean then, and nothing that looks at scans can tell; entropies and scales of
the layers can.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Weights = list[npt.NDArray[np.float32]]
Fault = Callable[[Weights], None]


def dead_channels(layer: int, share: float, seed: int = 0) -> Fault:
    """A share of a layer's output channels answers nothing."""

    def damage(weights: Weights) -> None:
        num = len(weights[layer])
        dead = np.random.default_rng([seed, layer]).permutation(num)[: round(share * num)]
        weights[layer][dead] = 0.0

    return damage


def flipped_bit(layer: int) -> Fault:
    """One bit of one weight: of the exponent, of the weight of median size."""

    def damage(weights: Weights) -> None:
        flat = weights[layer].reshape(-1)
        index = int(np.argsort(np.abs(flat))[len(flat) // 2])
        flat.view(np.uint32)[index] ^= np.uint32(1 << 28)

    return damage


def few_bits(num_bits: int) -> Fault:
    """All weights are rounded to so many bits, with one scale for each layer."""

    def damage(weights: Weights) -> None:
        for values in weights:
            step = np.abs(values).max() / (2 ** (num_bits - 1) - 1)
            values[:] = np.round(values / step) * step

    return damage


def noisy_weights(share: float, seed: int = 0) -> Fault:
    """All weights are off by a share of their layer's spread."""

    def damage(weights: Weights) -> None:
        rng = np.random.default_rng(seed)
        for values in weights:
            noise = rng.standard_normal(values.shape).astype(np.float32)
            values += np.float32(share) * values.std() * noise

    return damage


def wrong_gain(layer: int, factor: float) -> Fault:
    """A layer's weights are scaled."""

    def damage(weights: Weights) -> None:
        weights[layer] *= np.float32(factor)

    return damage


def profile_faults(num_layers: int) -> list[Fault]:
    """The faults that a health reference knows: every layer hurt in turn, and all at once."""
    dead = [dead_channels(layer, s) for layer in range(num_layers) for s in (0.2, 0.5)]
    everywhere = [few_bits(bits) for bits in (6, 5, 4)]
    return dead + everywhere + [noisy_weights(share) for share in (0.15, 0.3, 0.5)]


def write_damaged(source: Path, fault: Fault, target: Path) -> None:
    """Writes a copy of a network with damaged backbone weights.

    Args:
        source: ``model.onnx`` of a bundle.
        fault: What is done to the weights of the 3 × 3 convolutions, in their order.
        target: File to write.
    """
    model = onnx.load(source)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    names = _backbone_weights(model)
    weights = [np.array(numpy_helper.to_array(tensors[name]), np.float32) for name in names]
    fault(weights)
    for name, values in zip(names, weights, strict=True):
        dtype = numpy_helper.to_array(tensors[name]).dtype
        tensors[name].CopyFrom(numpy_helper.from_array(values.astype(dtype), name))
    onnx.save(model, target)


def _backbone_weights(model: onnx.ModelProto) -> list[str]:
    """Names of the weights of the tapped convolutions.

    Half-precision weights are cast in the graph before their convolution reads them.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    sources = [
        casts.get(node.input[1], node.input[1])
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    return [name for name in sources if shapes.get(name, ())[2:] == (3, 3)]
