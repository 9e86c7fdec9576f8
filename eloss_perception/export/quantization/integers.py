# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Float network to integer network: where values are rounded, in the form each runtime wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from eloss_perception.export.quantization.graph import Constant, Graph
from eloss_perception.export.quantization.layers import Layer, Source
from eloss_perception.export.quantization.ranges import Histogram


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
