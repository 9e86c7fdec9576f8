# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layers in 8-bit integers or half precision: which ones, and where values are rounded.

Inputs, outputs and entropies of the network stay in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper

from eloss_perception.errors import BundleError, ConfigError
from eloss_perception.export.quantization.activations import Histogram
from eloss_perception.export.quantization.graph import Constant, Graph

# Layers whose inputs and weights are quantised. The pillar encoder's matrices are not among them:
# its inputs are metres, of which 8 bits leave centimetres, and it is a hundredth of the work.
_LAYERS = ("Conv", "ConvTranspose")
# Operators that only move values: what is quantised before them is quantised behind them.
_MOVES = ("Concat", "DepthToSpace", "Gather", "Pad", "Reshape", "Transpose")
# What stays in half precision behind a layer. The pooling takes cells out of a map for the entropy
# branch, and the concatenation puts them together; all that computes with them is float32.
_FOLLOWING = ("Relu", "Concat", "DepthToSpace", "MaxPool")
_LARGEST = float(np.finfo(np.float16).max)


class Layer(NamedTuple):
    """A layer to quantise.

    Attributes:
        name: As in checkpoints, without `.weight`: `stages.0.1.0`, `head.class_logits`.
        node: Its convolution.
    """

    name: str
    node: NodeProto


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


@dataclass(frozen=True)
class IntegerFormat:
    """How a runtime wants its integers.

    Attributes:
        unsigned: Activations without negative values are uint8: twice the steps that int8 has.
        integer_bias: Biases are int32, in the step of the products that they are added to.
        weight_steps: Largest weight.
    """

    unsigned: bool
    integer_bias: bool
    weight_steps: int = 127


# ONNX Runtime and OpenVINO multiply unsigned activations by signed weights (VNNI). ONNX Runtime
# takes a convolution for an integer one only if its bias is.
CPU = IntegerFormat(unsigned=True, integer_bias=True)
# Processors without VNNI (before Ice Lake and Zen 4) add pairs of products in 16 bits, where two of
# 255 * 127 do not fit: weights of 7 bits do.
CPU_7_BIT = IntegerFormat(unsigned=True, integer_bias=True, weight_steps=63)
# TensorRT has neither unsigned nor shifted integers, and takes biases as they are.
TENSORRT = IntegerFormat(unsigned=False, integer_bias=False)


def quantize_layers(
    graph: Graph,
    layers: Sequence[Layer],
    sources: Sequence[Source],
    histograms: Mapping[str, Histogram],
    form: IntegerFormat,
) -> None:
    """Rounds what layers read, and their weights; the graph is changed in place.

    Each tensor is rounded once, where it is computed, and everything reads the rounded one, the
    entropy taps too: a layer puts out integers then, not floats for one and integers for the
    other. What is only moved on the way to a layer is marked as rounded again in the same steps,
    which changes nothing and tells ONNX Runtime that the layer reads integers.

    Args:
        graph: The float network.
        layers: What to quantise.
        sources: What they read.
        histograms: Of each source, by the name of its entry.
        form: What the runtime wants.
    """
    scales: dict[str, float] = {}
    for source in sources:
        histogram = histograms[source.entry]
        unsigned = form.unsigned and histogram.minimum >= 0.0
        scale = histogram.scale(255 if unsigned else 127)
        scales[source.entry] = scale
        # Two entries may share a root in different steps; the finer mark stands behind the move.
        for tensor in dict.fromkeys((*source.roots, source.entry)):
            if graph.producer(f"{tensor}_rounded") is None:
                _round_activation(graph, tensor, scale, unsigned)
    for layer in layers:
        entry = layer.node.input[0].removesuffix("_rounded")
        _round_weights(graph, layer.node, scales[entry], form)


def _round_activation(graph: Graph, tensor: str, scale: float, unsigned: bool) -> None:
    """Puts a pair of quantisation and dequantisation behind a tensor."""
    parameters = [
        graph.add_constant(f"{tensor}_scale", np.float32(scale)),
        graph.add_constant(f"{tensor}_zero", (np.uint8 if unsigned else np.int8)(0)),
    ]
    graph.redirect(tensor, f"{tensor}_rounded")
    integers = f"{tensor}_integers"
    graph.insert_after(
        tensor,
        [
            _node("QuantizeLinear", [tensor, *parameters], integers),
            _node("DequantizeLinear", [integers, *parameters], f"{tensor}_rounded"),
        ],
    )


def _round_weights(graph: Graph, node: NodeProto, input_scale: float, form: IntegerFormat) -> None:
    """Stores a layer's weights as integers, each output channel in its own steps."""
    axis = 0 if node.op_type == "Conv" else 1
    weight = graph.constants[node.input[1]]
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others)
    # A channel of zeros, which pruned networks have, is exact in any steps.
    scale = np.where(largest > 0.0, largest, 1.0).astype(np.float32) / form.weight_steps
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    steps = np.round(weight / scale.reshape(shape))
    integers = np.clip(steps, -form.weight_steps, form.weight_steps).astype(np.int8)
    nodes = [_dequantized(graph, node, 1, integers, scale, axis)]
    if form.integer_bias and len(node.input) > 2:
        bias_scale = (input_scale * scale.astype(np.float64)).astype(np.float32)
        bias = np.round(graph.constants[node.input[2]] / bias_scale.astype(np.float64))
        limits = np.iinfo(np.int32)
        bias = np.clip(bias, limits.min, limits.max).astype(np.int32)
        nodes.append(_dequantized(graph, node, 2, bias, bias_scale, 0))
    index = next(i for i, other in enumerate(graph.nodes) if other is node)
    graph.nodes[index:index] = nodes


def _dequantized(
    graph: Graph, node: NodeProto, position: int, integers: Constant, scale: Constant, axis: int
) -> NodeProto:
    """Lets a layer read one of its constants from integers."""
    # By the layer, not the constant: layers may share one and read different inputs.
    name = f"{node.name}_{('weight', 'bias')[position - 1]}"
    inputs = [
        graph.add_constant(f"{name}_integers", integers),
        graph.add_constant(f"{name}_scale", scale),
        graph.add_constant(f"{name}_zero", np.zeros(len(scale), integers.dtype)),
    ]
    node.input[position] = f"{name}_rounded"
    return _node("DequantizeLinear", inputs, f"{name}_rounded", axis=axis)


def _node(kind: str, inputs: list[str], output: str, **attributes: int) -> NodeProto:
    return helper.make_node(kind, inputs, [output], output, **attributes)


def to_half(graph: Graph) -> None:
    """Makes all layers compute in half precision; the graph is changed in place.

    Weights become half, pillars are narrowed before they are laid out on the canvas, and what
    leaves the layers (outputs, entropy taps) is widened again. The pillar encoder stays in
    float32: its sums of coordinates cancel, and it is a hundredth of the work.

    Raises:
        BundleError: If a weight does not fit into half precision.
    """
    layers = layers_of(graph)
    for layer in layers:
        for position, name in enumerate(layer.node.input[1:], 1):
            values = graph.constants[name]
            if not np.abs(values).max(initial=0.0) <= _LARGEST:
                raise BundleError(f"{name} is out of half precision's range")
            layer.node.input[position] = graph.add_constant(
                f"{name}_half", values.astype(np.float16)
            )
    half = _nodes_in_half(graph, [layer.node for layer in layers])
    inside = {id(node) for node in half}
    made = {name for node in half for name in node.output}
    for source in sources_of(graph, layers):
        for root in source.roots:
            if root not in made:
                graph.redirect(root, f"{root}_half")
                graph.insert_after(root, [_cast(root, f"{root}_half", TensorProto.FLOAT16)])
    for tensor in sorted(made):
        others = [node for node in graph.readers(tensor) if id(node) not in inside]
        if tensor in graph.output_names:
            graph.redirect(tensor, f"{tensor}_half")
            for node in half:
                node.output[:] = [f"{o}_half" if o == tensor else o for o in node.output]
            graph.insert_after(
                f"{tensor}_half", [_cast(f"{tensor}_half", tensor, TensorProto.FLOAT)]
            )
        elif others:
            graph.redirect(tensor, f"{tensor}_wide", others)
            graph.insert_after(tensor, [_cast(tensor, f"{tensor}_wide", TensorProto.FLOAT)])


def _nodes_in_half(graph: Graph, layers: list[NodeProto]) -> list[NodeProto]:
    """The layers, and the operators after them that stay in half precision."""
    nodes, made = [], set[str]()
    computing = {id(node) for node in layers}
    for node in graph.nodes:
        follows = node.op_type in _FOLLOWING and all(name in made for name in node.input)
        if id(node) in computing or follows:
            nodes.append(node)
            made.update(node.output)
    return nodes


def _cast(tensor: str, output: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [tensor], [output], output, to=to)
