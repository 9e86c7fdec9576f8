# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Network to ONNX graph: simplified, of operators that TensorRT has, compact."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from eloss_perception.detection.pillars import Pillars
from eloss_perception.errors import BundleError
from eloss_perception.network.network import NetworkOutput, PillarNetwork, network_inputs

if TYPE_CHECKING:
    import onnx

OUTPUT_NAMES = list(NetworkOutput._fields)

_OPSET = 18

# What the graph may hold: operators of the networks and the entropy measures, all of which the
# parser of TensorRT 10.3 (JetPack 6) has. Not among them, though ONNX Runtime runs them: NonZero,
# Unique, Loop, If, EyeLike with a dynamic shape, and scatters with a reduction.
_SUPPORTED_OPERATORS = {
    *("Abs", "Add", "And", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv"),
    *("ConvTranspose", "Div", "Equal", "Exp", "Expand", "Gather", "GatherElements", "Gemm"),
    *("Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "MatMul", "Max"),
    *("MaxPool", "Min", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range", "Reciprocal"),
    *("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu"),
    *("Reshape", "Shape", "Sigmoid", "Slice", "Sqrt", "Squeeze", "Sub", "TopK", "Transpose"),
    *("Unsqueeze", "Where"),
}

# TensorRT fails to build a TopK of more; ours are 512 and smaller.
_MAX_TOP_K = 3840

# Constants smaller than this are not worth a node of their own to widen them.
_MIN_HALF_ELEMENTS = 256


def write_onnx(network: PillarNetwork, example: Pillars, path: Path, half_weights: bool) -> None:
    """Exports a network for frames with any number of pillars.

    Args:
        network: In evaluation mode.
        example: A frame, traced.
        path: File to write.
        half_weights: Store constants that half precision holds exactly (all weights of a network
            that was rounded to it) in half precision.

    Raises:
        BundleError: If the graph holds an operator that TensorRT refuses.
    """
    pillar_axis = torch.export.Dim("num_pillars", min=2, max=200_000)
    # The exporter reports its own progress and its dependencies' deprecations to the user.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            network_inputs(example),
            str(path),
            input_names=["points", "features", "cell_to_pillar"],
            output_names=OUTPUT_NAMES,
            dynamic_shapes={
                "points": {0: pillar_axis},
                "features": {0: pillar_axis},
                "cell_to_pillar": None,
            },
            dynamo=True,
            external_data=False,
            opset_version=_OPSET,
            optimize=True,  # folds constants and drops what nothing reads
            verbose=False,
        )
    import onnx

    model = onnx.load(str(path))
    _strip_origin(model)
    _check_operators(model)
    _share_equal_constants(model)
    if half_weights:
        _store_in_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _strip_origin(model: onnx.ModelProto) -> None:
    """Removes what the exporter notes of each node's origin: paths of the machine among it."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]


def _check_operators(model: onnx.ModelProto) -> None:
    import onnx

    refused = {node.op_type for node in model.graph.node} - _SUPPORTED_OPERATORS
    constants = {c.name: c for c in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "TopK":
            k = constants.get(node.input[1])
            if k is None or int(onnx.numpy_helper.to_array(k).item()) > _MAX_TOP_K:
                refused.add(f"TopK of more than {_MAX_TOP_K} or of an unknown number")
    if refused:
        raise BundleError(
            f"the exported network holds operators that TensorRT 10.3 refuses: {sorted(refused)}"
        )


def _share_equal_constants(model: onnx.ModelProto) -> None:
    """Keeps one of the constants that are equal; each tapped layer brings an identity matrix."""
    from onnx import numpy_helper

    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    kept, shared = [], {}
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        name = first.setdefault((constant.data_type, values.shape, values.tobytes()), constant.name)
        shared[constant.name] = name
        if name == constant.name:
            kept.append(constant)
    for node in model.graph.node:
        node.input[:] = [shared.get(name, name) for name in node.input]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _store_in_half(model: onnx.ModelProto) -> None:
    """Stores constants in half precision where that loses nothing, widened by a Cast.

    Every runtime folds the Cast when it loads the network, so that it computes as before; the file
    is half as large.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for constant in model.graph.initializer:
        if constant.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(constant)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < _MIN_HALF_ELEMENTS or not np.array_equal(half.astype(np.float32), values):
            continue
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
