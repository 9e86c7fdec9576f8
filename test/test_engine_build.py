# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Building engines: what TensorRT-RTX takes and refuses, and how a build ends early."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eloss_perception.errors import BackendError
from eloss_perception.runtime.engines.build import PillarProfile, build_engine
from eloss_perception.runtime.engines.library import product_name, shared_log
from eloss_perception.runtime.onnx_file import OnnxFile

pytest.importorskip("onnx")

import fake_tensorrt
import onnx
from fake_tensorrt import FakeTensorRt
from onnx import TensorProto, helper, numpy_helper
from rtx import rtx_or_skip
from tiny_bundle import write_tiny_bundle

PROFILE = PillarProfile(2, 4000, 8000, 20)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def rtx() -> Any:
    return rtx_or_skip()


def with_features(tiny: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> bytes:
    """The tiny network with operators between its input `features` and what reads that.

    The last of the nodes has to give `changed`.
    """
    model = copy.deepcopy(onnx.load(str(tiny / "model.onnx")))
    for node in model.graph.node:
        node.input[:] = ["changed" if name == "features" else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    model.opset_import[0].version = 18
    for node in model.graph.node:  # since 18 its axes are an input
        if node.op_type == "ReduceMean":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("keepdims", 1))
            node.input.append("mean_axes")
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "mean_axes"))
    return bytes(model.SerializeToString())


def build(trt: Any, model: bytes, progress: Any = lambda phase, share: None) -> Any:
    return build_engine(trt, OnnxFile(Path("some/model.onnx"), model, ""), PROFILE, progress)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the callback")])
def test_what_a_progress_callback_raises_ends_the_build(tiny: Path, error: BaseException) -> None:
    calls = []

    def progress(phase: str, share: float) -> None:
        calls.append(share)
        if len(calls) == 3:
            raise error

    trt = FakeTensorRt()
    with pytest.raises(type(error)):
        build(trt, (tiny / "model.onnx").read_bytes(), progress)
    assert len(calls) == 3
    assert trt.num_builds == 1 and trt.networks == []  # begun, and not carried on with


def test_a_refused_operator_is_named_in_one_line(tiny: Path) -> None:
    trt = FakeTensorRt()
    trt.refused_operators = {"Gather", "ReduceMax"}
    with pytest.raises(BackendError) as raised:
        build(trt, (tiny / "model.onnx").read_bytes())
    text = str(raised.value)
    assert text.startswith("TensorRT 10.3.0 refuses some/model.onnx: operator Gather (node ")
    assert "operator ReduceMax" in text and "\n" not in text
    assert trt.num_builds == 0


def test_a_build_that_fails_gives_tensorrts_reason(tiny: Path) -> None:
    trt = FakeTensorRt()
    model = (tiny / "model.onnx").read_bytes()
    trt.build_error = "Error Code 2: OutOfMemory\n(while timing)"
    with pytest.raises(BackendError, match=r"cannot build .*: Error Code 2: OutOfMemory \(while"):
        build(trt, model)
    # What was said then is not taken for the reason of the next failure.
    trt.build_error = "Error Code 9"
    with pytest.raises(BackendError, match=r"model\.onnx: Error Code 9$"):
        build(trt, model)


def test_a_network_open_in_more_than_the_pillars_is_refused(tiny: Path) -> None:
    model = onnx.load(str(tiny / "model.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "K"
    with pytest.raises(BackendError, match=r"input points has shape .*export the bundle again"):
        build(FakeTensorRt(), model.SerializeToString())


def scatter(reduction: str) -> list[Any]:
    names = ["features", "rows", "updates"]
    return [helper.make_node("ScatterND", names, ["changed"], name="sc", reduction=reduction)]


REFUSED = {
    "a scatter with a reduction": (
        scatter("add"),
        {"rows": np.zeros((1, 1), np.int64), "updates": np.ones((1, 6), np.float32)},
        r"operator ScatterND \(node sc\): .*reduction",
    ),
    "an operator whose output has no known size": (
        [
            helper.make_node("NonZero", ["features"], ["found"], name="nz"),
            helper.make_node("Cast", ["found"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0),
            helper.make_node("Add", ["features", "total"], ["changed"]),
        ],
        {},
        r"operator NonZero \(node nz\)",
    ),
    "an importer that throws": (
        [
            helper.make_node(
                "ScatterElements",
                ["features", "rows", "updates"],
                ["changed"],
                name="sc",
                reduction="max",
            )
        ],
        {"rows": np.zeros((1, 6), np.int64), "updates": np.ones((1, 6), np.float32)},
        "ScatterElements: Unsupported reduction",
    ),
    "a TopK that parses and does not build": (
        [
            helper.make_node("Cast", ["cell_to_pillar"], ["rows"], to=TensorProto.FLOAT),
            helper.make_node("TopK", ["rows", "k"], ["best", "where"], name="topk", axis=1),
            helper.make_node("ReduceSum", ["best"], ["total"], keepdims=0),
            helper.make_node("Add", ["features", "total"], ["changed"]),
        ],
        {"k": np.array([5000], np.int64)},
        "cannot build.*topk.*3840",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tensorrt_names_what_it_refuses(rtx: Any, tiny: Path, case: str) -> None:
    nodes, constants, said = REFUSED[case]
    with pytest.raises(BackendError, match=said) as raised:
        build(rtx, with_features(tiny, nodes, constants))
    assert str(raised.value).startswith(product_name(rtx))
    assert len(str(raised.value).splitlines()) == 1


def convolution(precision: str) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Operators and constants of a convolution over the features, in some precision."""
    weight = np.ones((8, 8, 1, 1), np.float32)
    constants: dict[str, np.ndarray] = {"shape": np.array([1, 8, -1, 6]), "flat": np.array([-1, 6])}
    # (P, 6) as 8 channels; P is a multiple of 8 as far as shapes go.
    nodes = [
        helper.make_node("Concat", ["features"] * 8, ["eight"], axis=0),
        helper.make_node("Reshape", ["eight", "shape"], ["map"]),
    ]
    if precision == "float16":
        constants["weight"] = weight.astype(np.float16)
        nodes += [
            helper.make_node("Cast", ["map"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Conv", ["half", "weight"], ["convolved"]),
            helper.make_node("Cast", ["convolved"], ["wide"], to=TensorProto.FLOAT),
        ]
    elif precision == "int8":
        scales = {"scale": np.array(0.1, np.float32), "zero_point": np.array(0, np.int8)}
        constants |= {"weight": weight.astype(np.int8), **scales}
        nodes += [
            helper.make_node("QuantizeLinear", ["map", "scale", "zero_point"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["dq"]),
            helper.make_node("DequantizeLinear", ["weight", "scale", "zero_point"], ["dqw"]),
            helper.make_node("Conv", ["dq", "dqw"], ["wide"]),
        ]
    else:
        constants["weight"] = weight
        nodes.append(helper.make_node("Conv", ["map", "weight"], ["wide"]))
    nodes.append(helper.make_node("Reshape", ["wide", "flat"], ["changed"]))
    return nodes, constants


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_the_engine_has_the_precision_of_the_file(rtx: Any, tiny: Path, precision: str) -> None:
    shares: dict[str, float] = {}

    def progress(phase: str, share: float) -> None:
        assert shares.get(phase, 0.0) <= share <= 1.0
        shares[phase] = share

    engine = build(rtx, with_features(tiny, *convolution(precision)), progress)
    assert engine.precision == precision
    assert len(engine.plan) > 1000
    assert set(shares.values()) == {1.0}


def test_the_real_builder_stops_when_interrupted(rtx: Any, tiny: Path) -> None:
    def progress(phase: str, share: float) -> None:
        raise KeyboardInterrupt

    model = (tiny / "model.onnx").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        build(rtx, model, progress)
    assert build(rtx, model).precision == "float32"
    assert shared_log(rtx) is shared_log(rtx)


def test_a_file_that_is_no_network_is_refused(rtx: Any) -> None:
    with pytest.raises(BackendError, match=r"refuses some/model\.onnx: \S"):
        build(rtx, b"not a network")


def test_the_fake_has_nothing_that_the_real_one_lacks(rtx: Any) -> None:
    pairs = {
        "_Builder": rtx.Builder,
        "_Config": rtx.IBuilderConfig,
        "_Profile": rtx.IOptimizationProfile,
        "Network": rtx.INetworkDefinition,
        "Parser": rtx.OnnxParser,
        "_Runtime": rtx.Runtime,
        "_Engine": rtx.ICudaEngine,
        "_Context": rtx.IExecutionContext,
    }
    for name, real in pairs.items():
        used = {member for member in vars(getattr(fake_tensorrt, name)) if member[0] != "_"}
        assert used <= set(dir(real)), name
    module = FakeTensorRt()
    names = {name for name in vars(module) if name[0].isupper()} | {"Builder", "Runtime"}
    assert names <= set(dir(rtx))
    assert int(rtx.ILogger.ERROR) == module.ILogger.ERROR
