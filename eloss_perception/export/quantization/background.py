# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is systematic in the error of a quantised network, taken away by its biases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee

import numpy as np
import numpy.typing as npt
import onnxruntime

from eloss_perception.detection.heads import AnchorHead, HeadConfig
from eloss_perception.detection.pillars import Pillars
from eloss_perception.export.quantization.graph import Graph
from eloss_perception.export.quantization.layers import Layer

Maps = list[npt.NDArray[np.float32]]

# Cells that show an object: those of a score above 0.1.
_OBJECT_LOGIT = -2.2
_MIN_OBJECTS = 50


def add_missing_biases(graph: Graph, layers: Sequence[Layer]) -> None:
    """Gives every layer a bias, of zeros where it has none."""
    for layer in layers:
        if len(layer.node.input) == 2:
            weight = graph.constants[layer.node.input[1]]
            channels = weight.shape[0 if layer.node.op_type == "Conv" else 1]
            zeros = np.zeros(channels, np.float32)
            layer.node.input.append(graph.add_constant(f"{layer.name}.bias", zeros))


def run_layers(
    graph: Graph, tensors: Sequence[str], scans: Iterable[Pillars], num_threads: int
) -> Iterator[Maps]:
    """Yields the maps (1, C, H, W) that some tensors hold, of one scan after the other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    inner = [name for name in tensors if name not in graph.output_names]
    session = onnxruntime.InferenceSession(
        graph.model(inner).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for pillars in scans:
        inputs = {
            "points": pillars.points,
            "features": pillars.features,
            "cell_to_pillar": pillars.cell_to_pillar[None],
        }
        yield session.run(list(tensors), inputs)


def correct_background(
    graph: Graph,
    layers: Sequence[Layer],
    expected: Sequence[Maps],
    scans: Sequence[Pillars],
    num_threads: int,
    corrected: Callable[[int], None] = lambda number: None,
) -> None:
    """Moves the biases of a quantised network, layer after layer, to the float one's background.

    Most cells of a scan are empty, and all of them hold the same values. What rounding does to
    these is no noise: it is the same in every cell, adds up over the kernel and from layer to
    layer, and shifts what every object is seen against. Most of the error that 8 bits bring is
    this, and a bias takes it away. The median over cells finds it; a mean, as in the usual bias
    correction (Nagel et al., "Data-free quantization through weight equalization and bias
    correction", 2019, section 4.2), mixes it with the objects.

    Args:
        graph: The quantised network, changed in place.
        layers: Its quantised layers, in order, with biases.
        expected: What each layer puts out in the float network, of every scan.
        scans: On which that was computed.
        num_threads: CPU threads.
        corrected: Told how many layers are done.
    """
    for number, layer in enumerate(layers, 1):
        found = run_layers(graph, [layer.node.output[0]], scans, num_threads)
        changes = [
            np.median((wanted[number - 1] - maps[0])[0], axis=(1, 2))
            for wanted, maps in zip(expected, found, strict=True)
        ]
        _add_to_bias(graph, layer.node.input[2], np.mean(changes, axis=0))
        corrected(number)


def correct_objects(
    graph: Graph,
    float_graph: Graph,
    head: HeadConfig,
    layer: Layer,
    scans: Iterable[Pillars],
    num_threads: int,
) -> None:
    """Moves the bias of the layer that puts out boxes to where the float network's objects are.

    A box that is one centimetre too low costs more average precision than noise of ten. What the
    layers before have shifted at objects, not on the empty road, is taken away here.

    Args:
        graph: The quantised network, changed in place.
        float_graph: The one that it was made from.
        head: What the outputs mean.
        layer: The layer that puts out box parameters.
        scans: Frames to find objects on.
        num_threads: CPU threads.
    """
    names = ("class_logits", "box_regression")
    first, second = tee(scans)
    pairs = zip(
        run_layers(float_graph, names, first, num_threads),
        run_layers(graph, names, second, num_threads),
        strict=True,
    )
    rows: list[list[npt.NDArray[np.float32]]] = []
    for wanted, found in pairs:
        logits, boxes = wanted[0][0], wanted[1][0]
        groups = logits.shape[0] if isinstance(head, AnchorHead) else 1
        likely = logits if groups > 1 else logits.max(axis=0, keepdims=True)
        difference = (boxes - found[1][0]).reshape(groups, -1, *boxes.shape[1:])
        rows.append([d[:, at > _OBJECT_LOGIT] for d, at in zip(difference, likely, strict=True)])
    changes = []
    for group in zip(*rows, strict=True):
        at_objects = np.concatenate(group, axis=1)  # (channels of a group, objects)
        # A class that the scans hardly show keeps what the background says of it.
        enough = at_objects.shape[1] >= _MIN_OBJECTS
        changes.append(np.median(at_objects, axis=1) if enough else np.zeros(len(at_objects)))
    _add_to_bias(graph, layer.node.input[2], np.concatenate(changes))


def _add_to_bias(graph: Graph, bias: str, change: npt.NDArray[np.floating]) -> None:
    """Adds to a bias, be it floats or integers in some step."""
    node = graph.producer(bias)
    if node is None:
        graph.constants[bias] = (graph.constants[bias] + change).astype(np.float32)
        return
    integers, scale = (graph.constants[name] for name in node.input[:2])
    limits = np.iinfo(integers.dtype)
    moved = integers + np.round(change / scale.astype(np.float64))
    graph.constants[node.input[0]] = np.clip(moved, limits.min, limits.max).astype(integers.dtype)
