# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Activations over scans: ranges that round with least error, and systematic errors of rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import tee

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from eloss_perception.detection.heads import AnchorHead, HeadConfig
from eloss_perception.detection.pillars import Pillars
from eloss_perception.export.quantization.graph import Graph, Maps

_NUM_BINS = 2048
# Shares of the largest value that are tried as the end of the range.
_SHARES = np.linspace(0.2, 1.0, 81)
# Of large maps every fifth value is counted: millions settle a histogram as well as all.
_MANY, _STRIDE = 100_000, 5

# Cells that show an object: those of a score above 0.1.
_OBJECT_LOGIT = -2.2
_MIN_OBJECTS = 50


class Histogram:
    """Magnitudes of a tensor's values; what is exactly zero is rounded without error anyway."""

    def __init__(self) -> None:
        self.counts = np.zeros(_NUM_BINS)
        self.end = 0.0
        self.minimum = 0.0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Counts values; the range grows in powers of two, so that bins merge exactly."""
        flat = values.ravel()
        self.minimum = min(self.minimum, float(flat.min()))
        largest = max(float(flat.max()), -float(flat.min()))
        if largest == 0.0:
            return
        if self.end == 0.0:
            self.end = largest
        while largest > self.end:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(_NUM_BINS // 2)])
            self.end *= 2.0
        counted = flat[::_STRIDE] if len(flat) > _MANY else flat
        magnitudes = np.abs(counted[counted != 0.0])
        self.counts += np.histogram(magnitudes, _NUM_BINS, (0.0, self.end))[0]

    def scale(self, num_steps: int) -> float:
        """Step of a range of ``num_steps`` steps that has the least squared error.

        What lies inside is rounded, an error of a twelfth of the squared step; what lies outside
        is cut off. A single far value is worth cutting off when all others get finer steps for it.
        """
        if self.end == 0.0:
            return 1.0
        edges = np.linspace(0.0, self.end, _NUM_BINS + 1)
        centres = 0.5 * (edges[:-1] + edges[1:])
        largest = edges[np.flatnonzero(self.counts)[-1] + 1]
        ends = largest * _SHARES
        errors = []
        for end in ends:
            inside = centres <= end
            cut = ((centres - end) ** 2 * self.counts)[~inside].sum()
            errors.append(cut + (end / num_steps) ** 2 / 12.0 * self.counts[inside].sum())
        return float(ends[int(np.argmin(errors))] / num_steps)


def collect_histograms(
    graph: Graph, tensors: Mapping[str, str], scans: Iterable[Pillars], num_threads: int
) -> dict[str, Histogram]:
    """Runs a network on scans and counts the values of some of its tensors.

    Args:
        graph: The float network.
        tensors: Tensor -> the group that it is counted in.
        scans: Frames to run it on.
        num_threads: CPU threads.

    Returns:
        The histogram of each group.
    """
    histograms = {group: Histogram() for group in tensors.values()}
    for maps in graph.run(list(tensors), scans, num_threads):
        for group, values in zip(tensors.values(), maps, strict=True):
            histograms[group].add(values)
    return histograms


def add_missing_biases(graph: Graph, layers: Sequence[NodeProto]) -> None:
    """Gives every layer a bias, of zeros where it has none."""
    for layer in layers:
        if len(layer.input) == 2:
            weight = graph.constants[layer.input[1]]
            channels = weight.shape[0 if layer.op_type == "Conv" else 1]
            zeros = np.zeros(channels, np.float32)
            layer.input.append(
                graph.add_constant(f"{layer.input[1].removesuffix('.weight')}.bias", zeros)
            )


def correct_background(
    graph: Graph,
    layers: Sequence[NodeProto],
    expected: Sequence[Maps],
    scans: Sequence[Pillars],
    num_threads: int,
    corrected: Callable[[int], None],
) -> None:
    """Corrects the biases of a quantised network, layer after layer, by the error at empty cells.

    Most cells of a scan are empty, and all of them hold the same values. Their rounding error is no
    noise: it is the same in every cell, adds up over the kernel and from layer to layer, and
    shifts the background of every object. It is most of the error of 8 bits, and a bias removes
    it. The median over cells finds it; a mean, as in the usual bias
    correction (Nagel et al., "Data-free quantization through weight equalization and bias
    correction", 2019, section 4.2), mixes it with the objects.

    Args:
        graph: The quantised network, changed in place.
        layers: Its quantised layers, in order, with biases.
        expected: Output of each layer in the float network, per scan.
        scans: On which that was computed.
        num_threads: CPU threads.
        corrected: Called with the number of layers done.
    """
    for number, layer in enumerate(layers, 1):
        found = graph.run([layer.output[0]], scans, num_threads)
        changes = [
            np.median((wanted[number - 1] - maps[0])[0], axis=(1, 2))
            for wanted, maps in zip(expected, found, strict=True)
        ]
        _add_to_bias(graph, layer.input[2], np.mean(changes, axis=0))
        corrected(number)


def correct_objects(
    graph: Graph,
    float_graph: Graph,
    head: HeadConfig,
    layer: NodeProto,
    scans: Iterable[Pillars],
    num_threads: int,
) -> None:
    """Corrects the bias of the box regression by the median error at objects.

    A box that is one centimetre too low costs more average precision than noise of ten. This
    removes the error that is systematic at objects and not on the empty road.

    Args:
        graph: The quantised network, changed in place.
        float_graph: The one that it was made from.
        head: What the outputs mean.
        layer: The convolution that outputs box parameters.
        scans: Frames to find objects on.
        num_threads: CPU threads.
    """
    names = ("class_logits", "box_regression")
    first, second = tee(scans)
    pairs = zip(
        float_graph.run(names, first, num_threads),
        graph.run(names, second, num_threads),
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
        # A class that the scans hardly show keeps the background's correction.
        enough = at_objects.shape[1] >= _MIN_OBJECTS
        changes.append(np.median(at_objects, axis=1) if enough else np.zeros(len(at_objects)))
    _add_to_bias(graph, layer.input[2], np.concatenate(changes))


def _add_to_bias(graph: Graph, bias: str, change: npt.NDArray[np.floating]) -> None:
    """Adds to a bias that is stored as floats, or as integers with a scale."""
    node = graph.producer(bias)
    if node is None:
        graph.constants[bias] = (graph.constants[bias] + change).astype(np.float32)
        return
    integers, scale = (graph.constants[name] for name in node.input[:2])
    limits = np.iinfo(integers.dtype)
    moved = integers + np.round(change / scale.astype(np.float64))
    graph.constants[node.input[0]] = np.clip(moved, limits.min, limits.max).astype(integers.dtype)
