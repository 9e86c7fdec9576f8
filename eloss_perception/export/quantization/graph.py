# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph that can be rewired: constants by name, who makes a tensor, who reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import BundleError

if TYPE_CHECKING:
    import onnx

Constant = npt.NDArray[Any]


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
        import onnx
        from onnx import numpy_helper

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
        """The node that makes a tensor; None for inputs and constants."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def add_constant(self, name: str, values: Constant) -> str:
        """Adds a constant, or finds the one of this name; returns its name."""
        self.constants.setdefault(name, values)
        return name

    def insert_after(self, tensor: str, nodes: Iterable[onnx.NodeProto]) -> None:
        """Inserts nodes behind the one that makes a tensor; at the start for an input."""
        index = next((i for i, node in enumerate(self.nodes) if tensor in node.output), -1)
        self.nodes[index + 1 : index + 1] = nodes

    def replace(self, old: Iterable[onnx.NodeProto], new: Iterable[onnx.NodeProto]) -> None:
        """Puts nodes in the place of others, where the last of those was."""
        gone = {id(node) for node in old}
        last = max(i for i, node in enumerate(self.nodes) if id(node) in gone)
        before = [node for node in self.nodes[:last] if id(node) not in gone]
        self.nodes = [*before, *new, *self.nodes[last + 1 :]]

    def redirect(
        self, tensor: str, replacement: str, readers: Iterable[onnx.NodeProto] | None = None
    ) -> None:
        """Lets the readers of a tensor, or some of them, read another one."""
        for node in self.readers(tensor) if readers is None else readers:
            node.input[:] = [replacement if name == tensor else name for name in node.input]

    def model(self, extra_outputs: Iterable[str] = ()) -> onnx.ModelProto:
        """The network as ONNX; constants that nothing reads are left out.

        Args:
            extra_outputs: Float tensors to be told of, besides the network's outputs.
        """
        import onnx
        from onnx import TensorProto, helper, numpy_helper

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

    def save(self, path: Path) -> None:
        """Writes the network, checked."""
        import onnx

        model = self.model()
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
