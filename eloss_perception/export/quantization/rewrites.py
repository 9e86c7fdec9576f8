# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The same network of operators that CPU runtimes are faster at; the answers stay, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eloss_perception.export.quantization.graph import Graph

if TYPE_CHECKING:
    import onnx


def split_upsampling(graph: Graph) -> None:
    """Rewrites every transposed convolution whose kernel is its stride; exactly equal.

    Kernels that do not overlap multiply each cell by one matrix an output place: a 1 × 1
    convolution to all places' channels, then a rearrangement. OpenVINO has no integer kernel for
    PointPillars' 4 × 4 one, which in float32 took a sixth of the whole int8 network's time. A
    ReLU that follows is moved before the rearrangement: then the convolution can put out
    integers, and the rearrangement moves a quarter of the bytes.
    """
    from onnx import helper

    for node in [n for n in graph.nodes if n.op_type == "ConvTranspose"]:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weight = graph.constants[node.input[1]]  # (C_in, C_out, k, k)
        size = int(weight.shape[2])
        if not _is_plain(attributes, weight.shape[2:]):
            continue
        # Blocks first: each output place's channels stay side by side, as the integer kernels
        # have them in memory.
        matrix = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))  # (k, k, C_out, C_in)
        name = node.input[1].removesuffix(".weight")
        inputs = [
            node.input[0],
            graph.add_constant(f"{name}.1x1.weight", matrix.reshape(-1, weight.shape[0], 1, 1)),
        ]
        if len(node.input) > 2:
            bias = np.tile(graph.constants[node.input[2]], size * size)
            inputs.append(graph.add_constant(f"{name}.1x1.bias", bias))
        tensor = f"{node.output[0]}_1x1"
        new = [helper.make_node("Conv", inputs, [tensor], f"{node.name}_1x1", kernel_shape=[1, 1])]
        replaced, output = [node], node.output[0]
        readers = graph.readers(output)
        if len(readers) == 1 and readers[0].op_type == "Relu":
            relu = readers[0]
            replaced.append(relu)
            output = relu.output[0]
            new.append(helper.make_node("Relu", [tensor], [f"{tensor}_relu"], f"{relu.name}_1x1"))
            tensor = f"{tensor}_relu"
        new.append(_rearrangement(tensor, output, size, f"{node.name}_places"))
        graph.replace(replaced, new)


def _is_plain(attributes: dict[str, object], kernel: tuple[int, ...]) -> bool:
    """Whether each output place comes from one input cell."""
    strides = attributes.get("strides")
    plain = {
        "group": 1,
        "dilations": [1, 1],
        "pads": [0, 0, 0, 0],
        "output_padding": [0, 0],
        "auto_pad": b"NOTSET",
    }
    usual = all(attributes.get(name, value) == value for name, value in plain.items())
    return usual and strides == list(kernel) and kernel[0] == kernel[1]


def _rearrangement(tensor: str, output: str, size: int, name: str) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node("DepthToSpace", [tensor], [output], name, blocksize=size, mode="DCR")


def split_points(graph: Graph, points: str = "points") -> None:
    """Takes the maximum over a pillar's points place by place; exactly equal.

    All pillars' first points are multiplied, then their second ones, and so on, and the maximum is
    one of sixteen matrices. Each of them stays in the cache, where the features of all points at
    once, tens of megabytes, are written to memory and read again: half the encoder's time.
    """
    from onnx import helper

    matched = _encoder_of(graph, points)
    if matched is None:
        return
    product, maximum = matched
    count = graph.input_shape(points)[1]
    axis = graph.add_constant("points_place_axis", np.array([0], np.int64))
    # Places first, so that each place's points lie together and need no copy.
    places = [f"points_{place}" for place in range(count)]
    new = [
        helper.make_node("Transpose", [points], ["points_by_place"], "by_place", perm=[1, 0, 2]),
        helper.make_node("Split", ["points_by_place"], places, "places", axis=0, num_outputs=count),
    ]
    for place in places:
        flat, encoded = f"{place}_flat", f"{place}_features"
        new.append(helper.make_node("Squeeze", [place, axis], [flat], flat))
        new.append(helper.make_node("MatMul", [flat, product.input[1]], [encoded], encoded))
    features = [f"{place}_features" for place in places]
    new.append(helper.make_node("Max", features, [maximum.output[0]], maximum.name))
    graph.replace([product, maximum], new)


def _encoder_of(graph: Graph, points: str) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """The product of all points with one matrix, and the maximum over each pillar's."""
    from onnx import helper

    products = graph.readers(points)
    product = next((node for node in products if node.op_type == "MatMul"), None)
    if product is None or product.input[0] != points or product.input[1] not in graph.constants:
        return None
    readers = graph.readers(product.output[0])
    if len(readers) != 1 or readers[0].op_type != "ReduceMax":
        return None
    maximum = readers[0]
    keeps = any(
        a.name == "keepdims" and helper.get_attribute_value(a) for a in maximum.attribute
    ) or not any(a.name == "keepdims" for a in maximum.attribute)
    axes = graph.constants.get(maximum.input[1]) if len(maximum.input) > 1 else None
    if keeps or axes is None or axes.tolist() != [1]:
        return None
    return product, maximum
