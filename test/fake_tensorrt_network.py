# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The part of the fake TensorRT that holds a network: what its parser makes of an ONNX file."""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRt


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT32 = 3


class LayerType(enum.IntEnum):
    CONVOLUTION = 0
    QUANTIZE = 41
    OTHER = 99


_DTYPES = {1: DataType.FLOAT, 10: DataType.HALF, 6: DataType.INT32}
NUMPY_TYPES = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT32: np.int32}
_LAYERS = {"Conv": LayerType.CONVOLUTION, "QuantizeLinear": LayerType.QUANTIZE}


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model = b""
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.layers: list[Any] = []

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))
    num_layers = property(lambda self: len(self.layers))

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_output(self, index: int) -> Any:
        return self.outputs[index]

    def get_layer(self, index: int) -> Any:
        return self.layers[index]


class Parser:
    def __init__(self, trt: FakeTensorRt, network: Network) -> None:
        self._trt = trt
        self._network = network
        self._errors: list[Any] = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        graph = graph_of(model)
        self._errors = [
            SimpleNamespace(
                node_operator=lambda node=node: node.op_type,
                node_name=lambda node=node: node.name,
                desc=lambda: "Assertion failed:\nno importer",
                func=lambda: "parseNode",
            )
            for node in graph.node
            if node.op_type in self._trt.refused_operators
        ]
        if self._errors:
            return False
        self._network.model = model
        self._network.inputs = [tensor_of(value) for value in graph.input]
        self._network.outputs = [tensor_of(value) for value in graph.output]
        halves = {value.name for value in graph.initializer if value.data_type == 10}
        for node in graph.node:
            dtype = DataType.HALF if set(node.input) & halves else DataType.FLOAT
            self._network.layers.append(
                SimpleNamespace(
                    type=_LAYERS.get(node.op_type, LayerType.OTHER),
                    get_input=lambda index, dtype=dtype: SimpleNamespace(dtype=dtype),
                )
            )
        return True


def graph_of(model: bytes) -> Any:
    return onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph


def tensor_of(value: Any) -> Any:
    tensor = value.type.tensor_type
    shape = tuple(-1 if dim.dim_param else dim.dim_value for dim in tensor.shape.dim)
    return SimpleNamespace(name=value.name, shape=shape, dtype=_DTYPES[tensor.elem_type])
