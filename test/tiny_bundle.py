# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A real bundle with a network of a dozen operators, for tests that start the real node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from health_reference_factory import make_reference
from onnx import TensorProto, helper, numpy_helper

from eloss_perception.detection.heads import CenterHead
from eloss_perception.health.reference import HealthReference
from eloss_perception.runtime.bundle import (
    FORMAT_VERSION,
    BundleFacts,
    GridFacts,
    sha256_of,
    write_facts,
    write_reference,
)

_HEAD = 64  # cells of the head along each side


def write_tiny_bundle(folder: Path) -> Path:
    """Writes a bundle whose network finds one car ahead in every scan.

    The readings of the layers are the means of two columns of the pillars' features, so they answer
    to the input; the box does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    heatmap = np.full((1, 3, _HEAD, _HEAD), -9.0, np.float32)
    heatmap[0, 0, 16, 5] = 3.0
    boxes = np.zeros((1, 9, _HEAD, _HEAD), np.float32)
    boxes[0, 2] = -1.0
    boxes[0, 3:6] = np.log(np.array([3.9, 1.6, 1.5], np.float32))[:, None, None]
    boxes[0, 7:9] = 1.0
    nodes = [
        # Every input takes part, else the runtime would not know the name.
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Gather", ["mean", "columns"], ["picked"], axis=1),
        helper.make_node("Abs", ["picked"], ["layer_entropy"]),
        helper.make_node("Identity", ["picked"], ["layer_log_rms"]),
        helper.make_node("ReduceMax", ["points"], ["top"], keepdims=0),
        helper.make_node("Cast", ["cell_to_pillar"], ["cells"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["cells"], ["last"], keepdims=0),
        helper.make_node("Add", ["top", "last"], ["sum"]),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["heatmap_values", "nothing"], ["class_logits"]),
        helper.make_node("Add", ["box_values", "nothing"], ["box_regression"]),
    ]
    constants = {
        "columns": np.array([3, 4], np.int64),
        "zero": np.zeros((), np.float32),
        "heatmap_values": heatmap,
        "box_values": boxes,
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("points", TensorProto.FLOAT, ["P", 20, 4]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["P", 6]),
            helper.make_tensor_value_info("cell_to_pillar", TensorProto.INT32, [1, 128 * 128]),
        ],
        [
            helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("box_regression", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("layer_entropy", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("layer_log_rms", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    facts = BundleFacts(
        format_version=FORMAT_VERSION,
        name="tiny",
        onnx_sha256=sha256_of(folder / "model.onnx"),
        class_names=("Car", "Pedestrian", "Cyclist"),
        sensor="kitti_hdl64",
        grid=GridFacts(
            point_cloud_range=(0.0, -20.48, -3.0, 40.96, 20.48, 1.0),
            voxel_size=(0.32, 0.32),
            max_pillars=8000,
            max_points_per_pillar=20,
        ),
        head=CenterHead(),
        entropy_measure="renyi2",
        layer_names=("intensity", "count"),
        layer_stages=(0, 0),
        health=None,
        training={},
    )
    write_facts(folder, facts)
    write_reference(folder, _tolerant_reference(facts), false_alarms_per_hour=1.0, rate_hz=10.0)
    return folder


def _tolerant_reference(facts: BundleFacts) -> HealthReference:
    """Whatever comes is normal."""
    reference = make_reference(facts.layer_names, facts.layer_stages)
    return make_reference(
        facts.layer_names, facts.layer_stages, std=np.full_like(reference.std, 1e4)
    )
