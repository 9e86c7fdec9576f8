# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph that can be rewired and run, and rewrites of it that CPU runtimes are faster at.

The rewrites leave the outputs as they are, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from eloss_perception.detection.pillars import Pillars
from eloss_perception.errors import BundleError

Constant = npt.NDArray[Any]
Maps = list[npt.NDArray[np.float32]]


class Graph:
    """A network's nodes and constants; written back by :meth:`model`.

    Attributes:
        nodes: In an order in which they can run.
        constants: Weights and shapes by name, widened to float32 where they are stored in half.
    """

    def __init__(self, path: Path) -> None:
        """Reads a network.

        Raises:
            BundleError: If the file is no ONNX network.
        """
        try:
            self._model = onnx.load(str(path))
        except Exception as error:  # of protobuf, which is not a dependency of ours
            raise BundleError(f"{path} cannot be read as ONNX: {error}") from None
        self.constants: dict[str, Constant] = {
            c.name: numpy_helper.to_array(c) for c in self._model.graph.initializer
        }
        self.nodes: list[onnx.NodeProto] = []
        for node in self._model.graph.node:
            # Weights of large bundles are stored in half precision and widened by a Cast.
            stored = self.constants.get(node.input[0]) if node.op_type == "Cast" else None
            if stored is not None and stored.dtype == np.float16:
                self.constants[node.output[0]] = stored.astype(np.float32)
            else:
                self.nodes.append(node)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return tuple(output.name for output in self._model.graph.output)

    def input_shape(self, name: str) -> tuple[int, ...]:
        """Shape of an input; 0 where it is free."""
        value = next(value for value in self._model.graph.input if value.name == name)
        return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor; None for inputs and constants."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def add_constant(self, name: str, values: Constant) -> str:
        """Adds a constant, or finds the one of this name; returns its name."""
        self.constants.setdefault(name, values)
        return name

    def insert_after(self, tensor: str, nodes: Iterable[onnx.NodeProto]) -> None:
        """Inserts nodes after the one that computes a tensor; at the start for an input."""
        index = next((i for i, node in enumerate(self.nodes) if tensor in node.output), -1)
        self.nodes[index + 1 : index + 1] = nodes

    def replace(self, old: Iterable[onnx.NodeProto], new: Iterable[onnx.NodeProto]) -> None:
        """Replaces nodes by others, at the place of the last replaced one."""
        gone = {id(node) for node in old}
        last = max(i for i, node in enumerate(self.nodes) if id(node) in gone)
        before = [node for node in self.nodes[:last] if id(node) not in gone]
        self.nodes = [*before, *new, *self.nodes[last + 1 :]]

    def redirect(
        self, tensor: str, replacement: str, readers: Iterable[onnx.NodeProto] | None = None
    ) -> None:
        """Makes the readers of a tensor, or some of them, read another one."""
        for node in self.readers(tensor) if readers is None else readers:
            node.input[:] = [replacement if name == tensor else name for name in node.input]

    def model(self, extra_outputs: Iterable[str] = ()) -> onnx.ModelProto:
        """The network as ONNX; constants that nothing reads are left out.

        Args:
            extra_outputs: Float tensors to output besides the network's own.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        # The types and shapes that the exporter noted are those of the float network.
        for part in ("node", "initializer", "value_info"):
            model.graph.ClearField(part)
        model.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(values), name)
            for name, values in self.constants.items()
            if name in used
        )
        model.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in extra_outputs
        )
        return model

    def run(
        self, tensors: Sequence[str], scans: Iterable[Pillars], num_threads: int
    ) -> Iterator[Maps]:
        """Runs the network on ONNX Runtime; yields the values of some tensors, scan by scan."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        inner = [name for name in tensors if name not in self.output_names]
        session = onnxruntime.InferenceSession(
            self.model(inner).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for pillars in scans:
            inputs = {
                "points": pillars.points,
                "features": pillars.features,
                "cell_to_pillar": pillars.cell_to_pillar[None],
            }
            yield session.run(list(tensors), inputs)

    def save(self, path: Path) -> None:
        """Writes the network, checked."""
        model = self.model()
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def split_upsampling(graph: Graph) -> None:
    """Rewrites every transposed convolution whose kernel is its stride; exactly equal.

    Kernels that do not overlap multiply each cell by one matrix an output place: a 1 × 1
    convolution to all places' channels, then a rearrangement. OpenVINO has no integer kernel for
    PointPillars' 4 × 4 one, which in float32 took a sixth of the whole int8 network's time. A
    ReLU that follows is moved before the rearrangement: then the convolution can put out
    integers, and the rearrangement moves a quarter of the bytes.
    """
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
        new.append(
            helper.make_node(
                "DepthToSpace",
                [tensor],
                [output],
                f"{node.name}_places",
                blocksize=size,
                mode="DCR",
            )
        )
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


def split_points(graph: Graph, points: str = "points") -> None:
    """Takes the maximum over a pillar's points one point slot at a time; exactly equal.

    All pillars' first points are multiplied, then their second ones, and so on, and the maximum is
    one of sixteen matrices. Each of them stays in the cache, where the features of all points at
    once, tens of megabytes, are written to memory and read again: half the encoder's time.
    """
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
    products = graph.readers(points)
    product = next((node for node in products if node.op_type == "MatMul"), None)
    if product is None or product.input[0] != points or product.input[1] not in graph.constants:
        return None
    readers = graph.readers(product.output[0])
    if len(readers) != 1 or readers[0].op_type != "ReduceMax":
        return None
    maximum = readers[0]
    attributes = {a.name: helper.get_attribute_value(a) for a in maximum.attribute}
    axes = graph.constants.get(maximum.input[1]) if len(maximum.input) > 1 else None
    if attributes.get("keepdims", 1) or axes is None or axes.tolist() != [1]:
        return None
    return product, maximum
