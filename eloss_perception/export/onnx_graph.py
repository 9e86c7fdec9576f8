# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Network to ONNX graph of operators that TensorRT has, and its comparison with the network."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateInitializersPass
from torch import Tensor, nn

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.decode import decode
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars
from eloss_perception.errors import BundleError
from eloss_perception.interrupts import check_interrupt
from eloss_perception.network.network import NetworkOutput, PillarNetwork, network_inputs
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.training.validation import TorchNetwork

OUTPUT_NAMES = list(NetworkOutput._fields)

_OPSET = 18

# What the graph may hold: operators of the networks and the entropy measures, all of which the
# parser of TensorRT 10.3 (JetPack 6) has. Not among them, though ONNX Runtime runs them: NonZero,
# Unique, Loop, If, EyeLike with a dynamic shape, and scatters with a reduction.
_SUPPORTED_OPERATORS = {
    "Abs", "Add", "And", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv",
    "ConvTranspose", "Div", "Equal", "Exp", "Expand", "Gather", "GatherElements", "Gemm",
    "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "MatMul", "Max",
    "MaxPool", "Min", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range", "Reciprocal", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
    "Shape", "Sigmoid", "Slice", "Sqrt", "Squeeze", "Sub", "TopK", "Transpose", "Unsqueeze",
    "Where",
}  # fmt: skip

# TensorRT fails to build a TopK of more; ours are 512 and smaller.
_MAX_TOP_K = 3840

# Constants smaller than this are not worth a node of their own to widen them.
_MIN_HALF_ELEMENTS = 256

# Largest differences between torch and the exported network.
_MAX_RELATIVE_DIFFERENCE = 1e-4
_MAX_READING_DIFFERENCE = 1e-3
_MAX_BOX_DIFFERENCE = 1e-2  # [m], [rad]

# Boxes are compared from this score on; a box this near to it may be missing on one side.
_SCORE_THRESHOLD = 0.1
_MAX_SCORE_DIFFERENCE = 1e-3

# Half precision ends at 65504; other scans may excite the network more than those tried.
_HALF_LIMIT = 65504.0 / 4.0


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
    # The exporter logs its own progress and its dependencies' deprecations.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            network_inputs(example),
            input_names=["points", "features", "cell_to_pillar"],
            output_names=OUTPUT_NAMES,
            dynamic_shapes={
                "points": {0: pillar_axis},
                "features": {0: pillar_axis},
                "cell_to_pillar": None,
            },
            dynamo=True,
            opset_version=_OPSET,
            optimize=True,  # folds constants and drops what nothing reads
            verbose=False,
        )
    clean(program.model)
    model = onnx_ir.to_proto(program.model)
    check_operators(model)
    if half_weights:
        store_in_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def clean(model: onnx_ir.Model) -> None:
    """Stores equal constants once and removes what the exporter notes of each value's origin.

    Each tapped layer brings constants of its own; the notes include paths of the machine.
    """
    passes = (
        DeduplicateInitializersPass(size_limit=sys.maxsize),
        ClearMetadataAndDocStringPass(),
    )
    onnx_ir.passes.Sequential(*passes)(model)
    model.metadata_props.clear()
    graph = model.graph
    results = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.initializers.values(), *results):
        value.metadata_props.clear()
        value.doc_string = None


def check_operators(model: onnx.ModelProto) -> None:
    """Raises BundleError if the graph holds an operator that TensorRT refuses."""
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


def store_in_half(model: onnx.ModelProto) -> None:
    """Stores constants in half precision where that loses nothing, widened by a Cast.

    Every runtime folds the Cast when it loads the network, so results are the same.
    """
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


def check_parity(
    network: PillarNetwork, onnx_path: Path, scans: Sequence[Pillars], grid: PillarGrid
) -> None:
    """Compares torch and ONNX Runtime: raw maps, decoded boxes, readings.

    Raises:
        BundleError: If they differ, a value is not finite, or there is no point to compare on.
    """
    backend = load_backend("onnxruntime_cpu", onnx_path, grid, BackendSettings())
    thresholds = np.full(network.config.num_classes, _SCORE_THRESHOLD, np.float32)
    for pillars in with_points(scans):
        check_interrupt()
        expected = TorchNetwork(network, grid).run(pillars)
        actual = backend.run(pillars)
        for field in ("class_logits", "box_regression"):
            a, b = getattr(expected, field), getattr(actual, field)
            difference = float(np.abs(a - b).max() / max(1.0, float(np.abs(a).max())))
            if not difference <= _MAX_RELATIVE_DIFFERENCE:
                raise BundleError(f"torch and ONNX Runtime differ in {field} by {difference:.1e}")
        for field in ("layer_entropy", "layer_log_rms"):
            difference = float(np.abs(getattr(expected, field) - getattr(actual, field)).max())
            if not difference <= _MAX_READING_DIFFERENCE:
                raise BundleError(f"torch and ONNX Runtime differ in {field} by {difference:.1e}")
        found = [
            decode(
                o.class_logits, o.box_regression, network.config.head, grid, thresholds, 0.1, 200
            )
            for o in (expected, actual)
        ]
        if not (_contains(found[0], found[1]) and _contains(found[1], found[0])):
            raise BundleError("torch and ONNX Runtime decode to different boxes")


def with_points(scans: Sequence[Pillars]) -> list[Pillars]:
    """The scans that hold something to compare on.

    Raises:
        BundleError: If there is none.
    """
    filled = [pillars for pillars in scans if len(pillars.points)]
    if not filled:
        raise BundleError(
            "torch and ONNX Runtime cannot be compared: no scan has a point in the network's range"
        )
    return filled


def check_half_range(network: PillarNetwork, scans: Sequence[Pillars]) -> None:
    """Checks that the network could run in half precision, its entropy branch apart.

    What is looked at: every weight, and what every layer (encoder, backbone, necks, head) puts out
    on the given scans. The entropies are no layers; they are to stay in float32.

    Raises:
        BundleError: If a value is not finite or nears the end of half precision's range.
    """

    def check(name: str, value: Tensor) -> None:
        largest = float(value.abs().max())
        if not largest <= _HALF_LIMIT:
            raise BundleError(f"{name} reaches {largest:.3g}: out of half precision's safe range")

    for name, parameter in network.named_parameters():
        check(f"weight {name}", parameter.detach())

    def watch(name: str) -> object:
        return lambda module, inputs, output: check(f"the output of {name}", output)

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, nn.Identity)
    ]
    try:
        for pillars in scans:
            with torch.inference_mode():
                network.forward_taps(*network_inputs(pillars))
    finally:
        for hook in hooks:
            hook.remove()


def _contains(boxes: Boxes3D, others: Boxes3D) -> bool:
    """Whether every one of ``others`` is among ``boxes``, those at the threshold apart."""
    for box, score, label in zip(others.boxes, others.scores, others.labels, strict=True):
        difference = np.abs(boxes.boxes[boxes.labels == label] - box)  # (N, 7)
        # A heading on the brink turns a box around; that logit was compared before.
        turn = difference[:, 6] % np.pi
        difference[:, 6] = np.minimum(turn, np.pi - turn)
        if score > _SCORE_THRESHOLD + _MAX_SCORE_DIFFERENCE and not (
            (difference < _MAX_BOX_DIFFERENCE).all(axis=1).any()
        ):
            return False
    return True
