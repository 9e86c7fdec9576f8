# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network's file: what has no place in it is refused before a runtime sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import write_tiny_bundle

from eloss_perception.errors import BundleError
from eloss_perception.runtime.bundle import default_bundle_path
from eloss_perception.runtime.onnx_file import OnnxFile

MODELS = Path(__file__).parents[1] / "models"


def in_memory(model: onnx.ModelProto | bytes) -> OnnxFile:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return OnnxFile(Path("model.onnx"), content, "")


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(write_tiny_bundle(tmp_path / "tiny") / "model.onnx")


def tensor_of(shape: list[int], **fields: object) -> TensorProto:
    return TensorProto(name="t", dims=shape, data_type=TensorProto.FLOAT, **fields)  # type: ignore[arg-type]


def external() -> TensorProto:
    tensor = tensor_of([1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def body() -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/model.onnx")), ids=lambda p: p.parent.name)
def test_the_shapes_are_what_onnx_reads(path: Path) -> None:
    graph = onnx.load(path).graph
    assert OnnxFile.read(path).shapes() == {
        value.name: tuple(
            size.dim_value if size.HasField("dim_value") else None
            for size in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.output)
    }


def test_a_shape_that_is_not_stated_is_none(model: onnx.ModelProto) -> None:
    shapes = in_memory(model).shapes()
    assert shapes["points"] == (None, 20, 4)
    assert shapes["layer_entropy"] is None


def _initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external())


def _only_located(model: onnx.ModelProto) -> None:
    tensor = tensor_of([1], raw_data=bytes(4))
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.initializer.append(tensor)


def _constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def _list_of_tensors(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.add(name="values", type=onnx.AttributeProto.TENSORS, tensors=[external()])
    model.graph.node.append(node)


def _sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(values=external(), indices=tensor_of([1]), dims=[10**9])


def _sparse_constant(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"])
    sparse = onnx.SparseTensorProto(values=tensor_of([1]), indices=tensor_of([1]), dims=[10**9])
    node.attribute.add(
        name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse
    )
    model.graph.node.append(node)


def _loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["n", "c"], ["out"], body=body()))


def _if(model: onnx.ModelProto) -> None:
    node = helper.make_node("If", ["c"], ["out"], then_branch=body(), else_branch=body())
    model.graph.node.append(node)


def _list_of_graphs(model: onnx.ModelProto) -> None:
    node = helper.make_node("Scan", ["n"], ["out"])
    node.attribute.add(name="bodies", type=onnx.AttributeProto.GRAPHS, graphs=[body()])
    model.graph.node.append(node)


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="mine")


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def _foreign_operator(model: onnx.ModelProto) -> None:
    # This one would load code that lies elsewhere.
    node = helper.make_node("EPContext", [], ["out"], domain="com.microsoft")
    model.graph.node.append(node)


def _absurd_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(tensor_of([10**6, 10**6], raw_data=bytes(4)))


def _negative_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(tensor_of([-1, -1], raw_data=bytes(4)))


def _many_dimensions(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(tensor_of([1] * 1000, raw_data=bytes(4)))


def _many_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Relu", ["a"], ["b"])] * 30_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((c, "in another file") for c in (_initializer, _only_located, _constant)),
        (_list_of_tensors, "in another file"),
        *((c, "sparse") for c in (_sparse, _sparse_constant)),
        (_loop, "operator Loop holds a graph"),
        (_if, "operator If holds a graph"),
        (_list_of_graphs, "operator Scan holds a graph"),
        *((c, "training steps or functions") for c in (_function, _training)),
        (_foreign_operator, "com.microsoft are not part"),
        *((c, "more values than it holds") for c in (_absurd_shape, _negative_shape)),
        (_many_dimensions, "more values than it holds"),
        (_many_nodes, "more than 20000 operators"),
    ],
)
def test_what_has_no_place_in_a_network_is_refused(
    model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    change(model)
    with pytest.raises(BundleError, match=rf"model\.onnx: .*{message}.*export the bundle again"):
        in_memory(model).shapes()


def test_a_field_that_comes_twice_is_looked_at_twice(model: onnx.ModelProto) -> None:
    # Protobuf merges the two, whatever order they are in.
    other = onnx.ModelProto()
    other.graph.initializer.append(external())
    for parts in ((model, other), (other, model)):
        content = b"".join(part.SerializeToString() for part in parts)
        with pytest.raises(BundleError, match="in another file"):
            in_memory(content).shapes()
    # As does an integer that is longer than it need be.
    tensor = tensor_of([1], raw_data=bytes(4)).SerializeToString() + b"\x70\x81\x80\x80\x80\x10"
    graph = onnx.ModelProto()
    graph.graph.initializer.append(tensor_of([1], raw_data=bytes(len(tensor))))
    field = b"\x2a" + bytes([len(tensor)]) + tensor
    content = model.SerializeToString() + b"\x3a" + bytes([len(field)]) + field
    with pytest.raises(BundleError, match="in another file"):
        in_memory(content).shapes()


def test_weights_that_are_packed_in_any_way_are_taken(model: onnx.ModelProto) -> None:
    values = np.arange(6, dtype=np.float32)
    for tensor in (
        numpy_helper.from_array(values, "raw"),
        helper.make_tensor("listed", TensorProto.FLOAT, [6], values),
        helper.make_tensor("bits", TensorProto.INT4, [6], [1, 2, 3, 4, 5, 6]),
        helper.make_tensor("none", TensorProto.FLOAT, [0, 7], []),
        helper.make_tensor("scalar", TensorProto.FLOAT, [], [1.0]),
    ):
        model.graph.initializer.append(tensor)
    in_memory(model).shapes()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"not a network", b"\x80" * 30, b"\x3a\x00", b"\x0b" * 100, b"\x08"),
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x08\x01" * 3_000_000,
        b"ORTM" * 10,
    ],
    ids=str,
)
def test_what_is_no_network_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: it "):
        in_memory(content).shapes()


def test_a_file_that_is_cut_off_anywhere_is_refused_or_complete() -> None:
    content = (default_bundle_path() / "model.onnx").read_bytes()
    for end in range(1, len(content), len(content) // 40):
        with pytest.raises(BundleError):
            in_memory(content[:end]).shapes()


def test_only_a_regular_file_of_a_networks_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(BundleError, match=r"cannot read .*No such file"):
        OnnxFile.read(path)
    os.mkfifo(path)
    with pytest.raises(BundleError, match=r"cannot read .*no regular file"):
        OnnxFile.read(path)
    for target in ("/dev/zero", tmp_path):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(BundleError, match=r"cannot read .*no regular file"):
            OnnxFile.read(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match=r"cannot read .*larger than 256 MB"):
        OnnxFile.read(path)
