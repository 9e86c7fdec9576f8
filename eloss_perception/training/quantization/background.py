# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The empty road of a quantised network, brought back to where the float network has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from eloss_perception.core.pillars import Pillars
from eloss_perception.training.quantization.graph import Graph
from eloss_perception.training.quantization.layers import Layer

Medians = npt.NDArray[np.float64]


def add_missing_biases(graph: Graph, layers: Sequence[Layer]) -> None:
    """Gives every layer a bias, of zeros where it has none."""
    for layer in layers:
        if len(layer.node.input) == 2:
            weight = graph.constants[layer.node.input[1]]
            channels = weight.shape[0 if layer.node.op_type == "Conv" else 1]
            zeros = np.zeros(channels, np.float32)
            layer.node.input.append(graph.add_constant(f"{layer.name}.bias", zeros))


def background(
    graph: Graph, tensors: Sequence[str], scans: Sequence[Pillars], num_threads: int
) -> list[Medians]:
    """(C,) median over cells of each channel of (1, C, H, W) tensors, averaged over scans."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.model(
            [name for name in tensors if name not in graph.output_names]
        ).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    rows: list[list[Medians]] = []
    for pillars in scans:
        inputs = {
            "points": pillars.points,
            "features": pillars.features,
            "cell_to_pillar": pillars.cell_to_pillar[None],
        }
        maps = session.run(list(tensors), inputs)
        rows.append([np.median(bev[0].reshape(bev.shape[1], -1), axis=1) for bev in maps])
    return [np.mean(layer, axis=0) for layer in zip(*rows, strict=True)]


def correct_background(
    graph: Graph,
    layers: Sequence[Layer],
    expected: Sequence[Medians],
    scans: Sequence[Pillars],
    num_threads: int,
    corrected: Callable[[int], None] = lambda number: None,
) -> None:
    """Moves the biases of a quantised network, layer after layer, to the float one's background.

    Most cells of a scan are empty, and all of them hold the same values. What rounding does to
    these is no noise: it is the same in every cell, adds up over the kernel and from layer to
    layer, and shifts what every object is seen against. Nearly all of the error that 8 bits bring
    is this (on the light network without it the error of logits is five times, of boxes three times
    as large), and a bias takes it away. The median over cells finds the background; a mean, as in
    the usual bias correction (Nagel et al. 2019, section 4.2), mixes it with the objects.

    Args:
        graph: The quantised network, changed in place.
        layers: Its quantised layers, in order, with biases.
        expected: (C,) background of each layer's output in the float network.
        scans: On which that was measured.
        num_threads: CPU threads.
        corrected: Told how many layers are done.
    """
    for number, (layer, wanted) in enumerate(zip(layers, expected, strict=True), 1):
        (found,) = background(graph, [layer.node.output[0]], scans, num_threads)
        _add_to_bias(graph, layer.node.input[2], wanted - found)
        corrected(number)


def _add_to_bias(graph: Graph, bias: str, change: Medians) -> None:
    """Adds to a bias, be it floats or integers in some step."""
    node = graph.producer(bias)
    if node is None:
        graph.constants[bias] = (graph.constants[bias] + change).astype(np.float32)
        return
    integers, scale = (graph.constants[name] for name in node.input[:2])
    limits = np.iinfo(integers.dtype)
    moved = integers + np.round(change / scale.astype(np.float64))
    graph.constants[node.input[0]] = np.clip(moved, limits.min, limits.max).astype(integers.dtype)
