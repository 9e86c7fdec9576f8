# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quantised networks: what each runtime is given, how near it is, what stays in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the network is made with it")
pytest.importorskip("onnx", reason="networks are rewritten with it")

import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from quantization_factory import pillars, street, write_small_bundle

from eloss_perception.errors import BundleError, ConfigError
from eloss_perception.export.quantization import writer as writer_module
from eloss_perception.export.quantization.activations import Histogram
from eloss_perception.export.quantization.graph import Graph, split_points, split_upsampling
from eloss_perception.export.quantization.precision import to_half
from eloss_perception.export.quantization.writer import NetworkWriter, QuantizationSettings
from eloss_perception.runtime.bundle import Bundle

OUTPUTS = ["class_logits", "box_regression", "layer_entropy", "layer_log_rms"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_small_bundle(tmp_path_factory.mktemp("bundles") / "small"))


def answers(model: onnx.ModelProto, seed: int = 40) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    scan = pillars(seed)
    inputs = {
        "points": scan.points,
        "features": scan.features,
        "cell_to_pillar": scan.cell_to_pillar[None],
    }
    return session.run(OUTPUTS, inputs)


def written(bundle: Bundle, path: Path, keep_float=(), **settings) -> onnx.ModelProto:
    scans = [street(seed) for seed in range(3)]
    writer = NetworkWriter(
        bundle, scans, QuantizationSettings(**settings), 1, lambda activity, done, total: None
    )
    writer.write(keep_float, path)
    return onnx.load(str(path))


def error(model: onnx.ModelProto, reference: list[np.ndarray]) -> np.ndarray:
    """Relative RMS error of each output."""
    return np.array(
        [
            np.sqrt(np.mean((a - b) ** 2) / np.var(b))
            for a, b in zip(answers(model), reference, strict=True)
        ]
    )


class Parts:
    """A model by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}

    def kinds(self, *kinds: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type in kinds]


def test_rewritten_operators_answer_bit_for_bit(bundle: Bundle) -> None:
    before = answers(Graph(bundle.onnx_path).model())
    graph = Graph(bundle.onnx_path)
    split_upsampling(graph)
    split_points(graph)
    after = Parts(graph.model())
    assert not after.kinds("ConvTranspose", "ReduceMax")
    assert len(after.kinds("DepthToSpace")) == 1 and len(after.kinds("Max")) == 1
    for a, b in zip(before, answers(graph.model()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_cpu_gets_unsigned_activations_and_integer_biases(bundle: Bundle, tmp_path: Path) -> None:
    parts = Parts(written(bundle, tmp_path / "model.onnx"))
    layers = parts.kinds("Conv")
    assert len(layers) == 10
    for layer in layers:
        activation, weight, bias = (parts.makers[name] for name in layer.input)
        assert {n.op_type for n in (activation, weight, bias)} == {"DequantizeLinear"}
        step, zero = (parts.constants[name] for name in activation.input[1:])
        assert zero.dtype == np.uint8 and zero == 0 and step.shape == ()
        integers, steps = (parts.constants[name] for name in weight.input[:2])
        assert integers.dtype == np.int8 and len(steps) == len(integers)
        assert np.abs(integers.reshape(len(integers), -1)).max(axis=1).min() == 127
        biases, products = (parts.constants[name] for name in bias.input[:2])
        assert biases.dtype == np.int32
        np.testing.assert_allclose(products, steps * step, rtol=1e-6)


def test_tensorrt_gets_symmetric_signed_integers_and_float_biases(
    bundle: Bundle, tmp_path: Path
) -> None:
    parts = Parts(written(bundle, tmp_path / "model.onnx", target="tensorrt"))
    layers = parts.kinds("Conv", "ConvTranspose")
    assert len(parts.kinds("ConvTranspose")) == 1 and len(layers) == 10
    for layer in layers:
        for name in layer.input[:2]:
            node = parts.makers[name]
            assert node.op_type == "DequantizeLinear"
            zero = parts.constants[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()
        assert parts.constants[layer.input[2]].dtype == np.float32
        # Weights are stored as integers: a pair around floats would be twice the file.
        assert parts.makers[layer.input[1]].input[0] in parts.constants
    transposed = parts.makers[parts.kinds("ConvTranspose")[0].input[1]]
    assert [a.i for a in transposed.attribute if a.name == "axis"] == [1]


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_taps_read_the_rounded_maps_and_compute_in_float(
    bundle: Bundle, tmp_path: Path, target: str
) -> None:
    parts = Parts(written(bundle, tmp_path / "model.onnx", target=target))
    taps = [node for node in parts.kinds("MaxPool") if "relu" in node.input[0]]
    assert len(taps) == 2  # of stage 1; the smaller maps of stage 2 are read whole
    assert all(parts.makers[node.input[0]].op_type == "DequantizeLinear" for node in taps)
    reached = {name for node in taps for name in node.output}
    for node in parts.nodes:
        if reached & set(node.input):
            assert node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Conv")
            reached.update(node.output)
    assert {"layer_entropy", "layer_log_rms"} <= reached


@pytest.mark.parametrize(("target", "limit"), [("cpu", 0.08), ("tensorrt", 0.12)])
def test_integers_are_near_the_float_network(
    bundle: Bundle, tmp_path: Path, target: str, limit: float
) -> None:
    reference = answers(onnx.load(str(bundle.onnx_path)))
    model = written(bundle, tmp_path / "model.onnx", target=target)
    found = error(model, reference)
    assert (found[:2] < limit).all() and (found > 0.0).all()
    logits = answers(model)[0]
    # The empty road, which is most of a map, has no shift of its own.
    assert np.abs(np.median(logits - reference[0], axis=(2, 3))).max() < 0.01


def test_seven_bits_suffice_where_products_must_fit_16(bundle: Bundle, tmp_path: Path) -> None:
    parts = Parts(written(bundle, tmp_path / "model.onnx", reduce_range=True))
    weights = [parts.constants[parts.makers[n.input[1]].input[0]] for n in parts.kinds("Conv")]
    assert max(np.abs(w).max() for w in weights) == 63


def test_layers_stay_in_float_by_name(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    parts = Parts(written(bundle, path, ("head.*", "stages.0.0.*")))
    kept = [n for n in parts.kinds("Conv") if n.input[1] in parts.constants]
    assert {n.input[1] for n in kept} == {
        *("head.class_logits.weight", "head.box_regression.weight", "stages.0.0.0.weight"),
        *("head.shared.0.weight", "head.shared.3.0.weight"),
    }
    # Nothing is rounded for a layer that reads floats.
    assert "QuantizeLinear" not in {parts.makers[n.input[0]].op_type for n in kept}
    with pytest.raises(ConfigError, match=r"no layer is called 'neck'; the network has stages"):
        written(bundle, path, ("neck",))
    with pytest.raises(ConfigError, match="nothing is left to quantise"):
        written(bundle, path, ("*",))


def test_half_precision_ends_before_inputs_outputs_and_entropies(
    bundle: Bundle, tmp_path: Path
) -> None:
    model = written(bundle, tmp_path / "model.onnx", precision="float16", target="tensorrt")
    parts = Parts(model)
    for layer in parts.kinds("Conv", "ConvTranspose"):
        assert all(parts.constants[name].dtype == np.float16 for name in layer.input[1:])
    types = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    assert types == {TensorProto.FLOAT, TensorProto.INT32}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred}
    # Nothing of the entropies is computed in half: their sums pass its range.
    for node in parts.kinds("MatMul", "ReduceSum", "ReduceL2", "Log", "Div"):
        assert all(kinds.get(name) != TensorProto.FLOAT16 for name in node.input)
    found = error(model, answers(onnx.load(str(bundle.onnx_path))))
    assert (found < 3e-3).all() and (found > 0.0).all()


def test_a_weight_beyond_half_precision_is_refused(bundle: Bundle) -> None:
    graph = Graph(bundle.onnx_path)
    graph.constants["stages.0.0.0.weight"] = graph.constants["stages.0.0.0.weight"] * 1e9
    with pytest.raises(BundleError, match=r"stages.0.0.0.weight is out of half precision's range"):
        to_half(graph)


def test_without_the_correction_the_empty_road_moves(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = answers(onnx.load(str(bundle.onnx_path)))

    def shift(name: str) -> float:
        found = answers(written(bundle, tmp_path / name))
        changes = [
            np.median(a - b, axis=(2, 3)) for a, b in zip(found, reference[:1], strict=False)
        ]
        return float(np.abs(changes).mean())

    corrected = shift("a.onnx")
    for name in ("correct_background", "correct_objects"):
        monkeypatch.setattr(writer_module, name, lambda *args: None)
    assert corrected < 0.3 * shift("b.onnx")


def test_a_far_value_is_cut_off_for_finer_steps() -> None:
    values = np.random.default_rng(0).uniform(0.0, 1.0, 5_000_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    assert histogram.scale(255) == pytest.approx(1.0 / 255, rel=0.01)
    # The range grows in powers of two, and what was counted before stays where it was.
    histogram.add(np.array([7.9], np.float32))
    assert histogram.end == pytest.approx(8.0, rel=0.01)
    assert histogram.counts.sum() == 1_000_001
    assert histogram.scale(255) < 4.0 / 255
    assert Histogram().scale(255) > 0.0


def test_half_stored_weights_are_read_as_float(bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(bundle.onnx_path))
    from eloss_perception.export.onnx_graph import store_in_half

    weight = next(c for c in model.graph.initializer if c.name == "stages.0.1.0.weight")
    rounded = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    store_in_half(model)
    onnx.save(model, str(tmp_path / "half.onnx"))
    graph = Graph(tmp_path / "half.onnx")
    assert graph.constants["stages.0.1.0.weight"].dtype == np.float32
    for a, b in zip(answers(model), answers(graph.model()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_openvino_agrees_with_onnxruntime_on_the_cpu_network(
    bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from eloss_perception.runtime.backends import load_backend
    from eloss_perception.runtime.backends.base import BackendSettings

    written(bundle, tmp_path / "model.onnx")
    found = [
        load_backend(name, tmp_path / "model.onnx", bundle.grid, BackendSettings(num_threads=1))
        for name in ("openvino", "onnxruntime_cpu")
    ]
    ours, other = (backend.run(backend.pillarize(street(50))) for backend in found)
    for name in OUTPUTS[:2]:
        a, b = getattr(ours, name), getattr(other, name)
        assert np.sqrt(np.mean((a - b) ** 2) / np.var(b)) < 0.05
    np.testing.assert_allclose(ours.layer_entropy, other.layer_entropy, atol=0.01)
