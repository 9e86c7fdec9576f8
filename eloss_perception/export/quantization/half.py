# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Float network to half precision, its inputs, its outputs and its entropies apart."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper

from eloss_perception.errors import BundleError
from eloss_perception.export.quantization.graph import Graph
from eloss_perception.export.quantization.layers import layers_of, sources_of

# What stays in half precision behind a layer. The pooling takes cells out of a map for the entropy
# branch, and the concatenation puts them together; all that computes with them is float32.
_FOLLOWING = ("Relu", "Concat", "DepthToSpace", "MaxPool")
_LARGEST = float(np.finfo(np.float16).max)


def to_half(graph: Graph) -> None:
    """Lets all layers compute in half precision; the graph is changed in place.

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
            _rename(graph, tensor, f"{tensor}_half")
            graph.insert_after(
                f"{tensor}_half", [_cast(f"{tensor}_half", tensor, TensorProto.FLOAT)]
            )
        elif others:
            graph.redirect(tensor, f"{tensor}_wide", others)
            graph.insert_after(tensor, [_cast(tensor, f"{tensor}_wide", TensorProto.FLOAT)])


def _nodes_in_half(graph: Graph, layers: list[NodeProto]) -> list[NodeProto]:
    """The layers, and what follows them."""
    nodes, made = [], set[str]()
    computing = {id(node) for node in layers}
    for node in graph.nodes:
        follows = node.op_type in _FOLLOWING and all(name in made for name in node.input)
        if id(node) in computing or follows:
            nodes.append(node)
            made.update(node.output)
    return nodes


def _rename(graph: Graph, tensor: str, name: str) -> None:
    graph.redirect(tensor, name)
    for node in graph.nodes:
        node.output[:] = [name if output == tensor else output for output in node.output]


def _cast(tensor: str, output: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [tensor], [output], output, to=to)
