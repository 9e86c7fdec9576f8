# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which layers of a network are computed in integers, and which tensors they share."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from eloss_perception.errors import ConfigError
from eloss_perception.export.quantization.graph import Graph

if TYPE_CHECKING:
    import onnx

# Layers whose inputs and weights are quantised. The pillar encoder's matrices are not among them:
# its inputs are metres, of which 8 bits leave centimetres, and it is a hundredth of the work.
_LAYERS = ("Conv", "ConvTranspose")
# Operators that only move values: what is quantised before them is quantised behind them.
_MOVES = ("Concat", "DepthToSpace", "Gather", "Pad", "Reshape", "Transpose")


class Layer(NamedTuple):
    """A layer to quantise.

    Attributes:
        name: As in checkpoints, without `.weight`: `stages.0.1.0`, `head.class_logits`.
        node: Its convolution.
    """

    name: str
    node: onnx.NodeProto


class Source(NamedTuple):
    """A tensor to quantise.

    Attributes:
        roots: Tensors that its values are computed as, before anything only moves them.
        entry: The tensor that layers read; the root itself where nothing moves it.
    """

    roots: tuple[str, ...]
    entry: str


def layers_of(graph: Graph) -> list[Layer]:
    """All layers that could be quantised, in order."""
    return [
        Layer(node.input[1].removesuffix(".weight"), node)
        for node in graph.nodes
        if node.op_type in _LAYERS
    ]


def choose_layers(graph: Graph, keep_float: Sequence[str]) -> list[Layer]:
    """The layers to quantise.

    Args:
        graph: The network.
        keep_float: Patterns as in a shell (`head.*`) of layers that stay in floating point.

    Raises:
        ConfigError: If a pattern matches no layer, or nothing is left.
    """
    layers = layers_of(graph)
    for pattern in keep_float:
        if not any(fnmatchcase(layer.name, pattern) for layer in layers):
            names = ", ".join(layer.name for layer in layers)
            raise ConfigError(f"no layer is called {pattern!r}; the network has {names}")
    chosen = [
        layer
        for layer in layers
        if not any(fnmatchcase(layer.name, pattern) for pattern in keep_float)
    ]
    if not chosen:
        raise ConfigError("every layer is to stay in floating point: nothing is left to quantise")
    return chosen


def sources_of(graph: Graph, layers: Sequence[Layer]) -> list[Source]:
    """The tensors that layers read, each once."""
    entries = dict.fromkeys(layer.node.input[0] for layer in layers)
    return [Source(_roots(graph, entry), entry) for entry in entries]


def _roots(graph: Graph, tensor: str) -> tuple[str, ...]:
    """Tensors whose values a tensor holds, in another place."""
    node = graph.producer(tensor)
    if node is None or node.op_type not in _MOVES:
        return (tensor,)
    moved = node.input if node.op_type == "Concat" else node.input[:1]
    return tuple(root for name in moved for root in _roots(graph, name))
