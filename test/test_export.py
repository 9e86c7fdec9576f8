# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Export: the file says what the network says, is small, and what would not run is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs torch")

import onnx
import onnx_ir
import onnxruntime
import torch

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import KITTI_ANCHORS, AnchorHead
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.errors import BackendError, BundleError, ConfigError
from eloss_perception.export import onnx_graph
from eloss_perception.export.onnx import _on_range, export_network, fold_batch_norm
from eloss_perception.export.onnx_graph import check_half_range, check_parity
from eloss_perception.network.network import NetworkConfig, PillarNetwork, network_inputs
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.backends.onnxruntime_cpu import session_options
from eloss_perception.training.settings import GridConfig

GRID = PillarGrid((0.0, -5.12, -3.0, 10.24, 5.12, 1.0), (0.32, 0.32), 2000, 8)


def scans(count: int = 2) -> list[Pillars]:
    rng = np.random.default_rng(8)
    points = rng.uniform((0, -5, -2, 0), (10, 5, 0.5, 1), (count, 3000, 4)).astype(np.float32)
    return [pillarize(p[: 3000 - 700 * i], GRID) for i, p in enumerate(points)]


def test_equal_constants_are_stored_once() -> None:
    same, other = np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32)
    constants = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in (("a", same), ("b", same.copy()), ("c", other), ("d", same[0]))
    ]
    nodes = [
        onnx.helper.make_node("Add", ["a", "b"], ["sum"]),
        onnx.helper.make_node("Add", ["c", "d"], ["rest"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [], constants)
    model = onnx.helper.make_model(graph)
    cleaned = onnx_ir.from_proto(model)
    onnx_graph.clean(cleaned)
    model = onnx_ir.to_proto(cleaned)
    assert [c.name for c in model.graph.initializer] == ["a", "c", "d"]
    assert [list(node.input) for node in model.graph.node] == [["a", "a"], ["c", "d"]]


def anchor_network() -> PillarNetwork:
    """PointPillars in small, its norms with statistics and its scores on both sides of 0.1."""
    torch.manual_seed(2)
    config = NetworkConfig(
        encoder_channels=16,
        encoder_mix=False,
        stage_channels=(16, 24),
        stage_layers=(2, 2),
        neck_channels=16,
        head=AnchorHead(anchors=KITTI_ANCHORS),
    )
    network = PillarNetwork(config, GRID.num_y, GRID.num_x).train()
    with torch.no_grad():
        network.head.class_logits.bias.fill_(-2.5)
        for _ in range(5):
            network.forward_taps(*network_inputs(scans(1)[0]))
    return network.eval()


def test_an_anchor_network_survives_the_export_in_either_precision(tmp_path: Path) -> None:
    network = anchor_network()
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    export_network(network, GRID, scans(), full)
    export_network(network, GRID, scans(), half, half_weights=True)
    graphs = [onnx.load(path).graph for path in (full, half)]
    for graph in graphs:
        operators = {node.op_type for node in graph.node}
        assert not operators & {"BatchNormalization", "Identity", "Dropout"}
        assert [output.name for output in graph.output] == onnx_graph.OUTPUT_NAMES
    weights = {c.data_type for c in graphs[1].initializer if np.prod(c.dims) >= 256}
    assert onnx.TensorProto.FLOAT16 in weights and onnx.TensorProto.FLOAT not in weights
    num_weights = sum(p.numel() for p in network.parameters())
    assert full.stat().st_size - half.stat().st_size > 1.7 * num_weights
    # Rounding moves the outputs, but little.
    a, b = (
        load_backend("onnxruntime_cpu", path, GRID, BackendSettings()).run(scans()[0])
        for path in (full, half)
    )
    assert 0.0 < np.abs(a.class_logits - b.class_logits).max() < 0.05
    # The file is not the one of a network whose weights differ.
    with torch.no_grad():
        network.head.class_logits.bias += 1e-2
    with pytest.raises(BundleError, match="differ in class_logits"):
        check_parity(network, full, scans(), GRID)


def wide_network() -> tuple[PillarNetwork, Pillars]:
    """A network whose first stage is large enough to be sampled, and a frame."""
    torch.manual_seed(3)
    grid = PillarGrid((0.0, -10.24, -3.0, 20.48, 10.24, 1.0), (0.32, 0.32), 2000, 8)
    config = NetworkConfig(
        stage_channels=(16, 32), stage_layers=(3, 2), neck_channels=16, head_channels=16
    )
    points = np.random.default_rng(4).uniform((0, -10, -2, 0), (20, 10, 0.5, 1), (3000, 4))
    network = PillarNetwork(config, grid.num_y, grid.num_x).eval()
    return fold_batch_norm(network), pillarize(points.astype(np.float32), grid)


def test_the_readout_is_a_few_operators_a_stage(tmp_path: Path) -> None:
    """What makes it cheap: layers are measured together, and only cells leave their map."""
    network, pillars = wide_network()
    path = tmp_path / "model.onnx"
    onnx_graph.write_onnx(network, pillars, path, half_weights=False)
    graph = onnx.load(str(path)).graph
    needed = {"class_logits", "box_regression"}
    readout = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
        else:
            readout.append(node)
    count = Counter(node.op_type for node in readout)
    num_stages, sampled_layers = 2, 3
    # Of each stage the mean and the Gram matrix.
    assert count["MatMul"] == 2 * num_stages
    assert count["Slice"] == num_stages  # the Gram matrices' diagonals, no maps
    # The pillars' reach, stage by stage and sampled once, and the sampled maps.
    assert count["MaxPool"] == num_stages + 1 + sampled_layers
    assert len(readout) <= 25 + 30 * num_stages + sampled_layers


def test_cells_are_taken_while_their_map_is_in_the_cache(tmp_path: Path) -> None:
    network, pillars = wide_network()
    path = tmp_path / "model.onnx"
    onnx_graph.write_onnx(network, pillars, path, half_weights=False)
    options = session_options(1)
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = (value.numpy() for value in network_inputs(pillars))
    names = ("points", "features", "cell_to_pillar")
    session.run(None, dict(zip(names, inputs, strict=True)))
    events = json.loads(Path(session.end_profiling()).read_text())
    run = [e for e in events if e["name"].endswith("_kernel_time")]
    if not any("nchwc" in event["name"] for event in run):
        pytest.skip("ONNX Runtime has no blocked layout on this machine")
    backbone = [e["args"]["op_name"] for e in run if "nchwc" in e["name"]]
    assert backbone[:6] == ["Conv", "MaxPool"] * 3


def test_a_network_without_a_reading_is_refused(tmp_path: Path) -> None:
    network, pillars = wide_network()
    path = tmp_path / "model.onnx"
    onnx_graph.write_onnx(network, pillars, path, half_weights=False)
    model = onnx.load(str(path))
    del model.graph.output[3]
    onnx.save(model, str(path))
    with pytest.raises(BackendError, match=r"no output layer_log_rms; export the bundle again"):
        load_backend("onnxruntime_cpu", path, GRID, BackendSettings())


def test_boxes_are_compared_as_sets() -> None:
    boxes = np.array([[5, 0, -1, 4, 1.6, 1.5, 0.1], [9, 2, -1, 4, 1.6, 1.5, -3.1]], np.float32)
    both = Boxes3D(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64))
    swapped = Boxes3D(boxes[::-1].copy(), both.scores, both.labels)
    one = Boxes3D(boxes[:1], both.scores[:1], both.labels[:1])
    other_class = Boxes3D(boxes, both.scores, np.ones(2, np.int64))
    assert onnx_graph._contains(both, swapped) and onnx_graph._contains(swapped, both)
    assert onnx_graph._contains(both, one) and not onnx_graph._contains(one, both)
    assert not onnx_graph._contains(both, other_class)
    at_the_threshold = Boxes3D(boxes, np.array([0.9, 0.1005], np.float32), both.labels)
    assert onnx_graph._contains(one, at_the_threshold)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("NonZero", ["x"]), "NonZero"),
        (("ScatterElements", ["x", "i", "x"]), "ScatterElements"),
        (("TopK", ["x", "many"]), "TopK of more than 3840"),
        (("TopK", ["x", "i"]), "TopK .* unknown number"),
        (("TopK", ["x", "few"]), None),
        (("Relu", ["x"]), None),
    ],
)
def test_operators_that_tensorrt_lacks_are_refused(
    node: tuple[str, list[str]], message: str | None
) -> None:
    operator, names = node
    constants = {"many": np.array([5000]), "few": np.array([512])}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, names, ["y"])],
        "graph",
        [],
        [],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph)
    if message is None:
        onnx_graph.check_operators(model)
    else:
        with pytest.raises(BundleError, match=f"TensorRT 10.3 refuses.*{message}"):
            onnx_graph.check_operators(model)


@pytest.mark.parametrize(
    ("layer", "value", "message"),
    [
        ("head.class_logits.bias", 2e4, "weight head.class_logits.bias reaches 2e"),
        ("encoder.point_linear.weight", 1e4, "the output of .* reaches"),
        ("necks.0.0.weight", float("nan"), "weight necks.0.0.weight reaches nan"),
    ],
)
def test_what_half_precision_cannot_hold_is_refused(layer: str, value: float, message: str) -> None:
    network = fold_batch_norm(anchor_network())
    check_half_range(network, scans())
    with torch.no_grad():
        dict(network.named_parameters())[layer].fill_(value)
    with pytest.raises(BundleError, match=message):
        check_half_range(network, scans())


def test_a_bundle_may_cover_another_range() -> None:
    front = GridConfig()
    assert _on_range(front, None) is front
    around = _on_range(front, (-69.12, -39.68, 69.12, 39.68))
    grid = around.build()
    assert (grid.num_x, grid.num_y) == (432, 248) and grid.max_pillars == 2 * front.max_pillars
    assert grid.point_cloud_range[2::3] == front.point_cloud_range[2::3]
    with pytest.raises(ConfigError, match="min must be below max"):
        _on_range(front, (10.24, -39.68, 0.0, 39.68)).build()
    with pytest.raises(ConfigError, match="no multiple"):
        _on_range(front, (0.0, -39.68, 69.0, 39.68)).build()
