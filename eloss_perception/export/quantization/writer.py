# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a bundle's network in integers or half precision, as the settings ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.export.quantization.background import (
    add_missing_biases,
    correct_background,
    correct_objects,
    run_layers,
)
from eloss_perception.export.quantization.graph import Graph
from eloss_perception.export.quantization.half import to_half
from eloss_perception.export.quantization.integers import (
    CPU,
    CPU_7_BIT,
    TENSORRT,
    IntegerFormat,
    quantize_layers,
)
from eloss_perception.export.quantization.layers import choose_layers, layers_of, sources_of
from eloss_perception.export.quantization.ranges import Histogram, collect_histograms
from eloss_perception.export.quantization.rewrites import split_points, split_upsampling
from eloss_perception.export.quantization.settings import QuantizationSettings
from eloss_perception.runtime.bundle import Bundle

Points = npt.NDArray[np.float32]

# The background is the same in every scan; what differs is how much of it is seen.
_NUM_BACKGROUND = 2

# What stays in floating point, from fast to accurate: nothing; the layers that put out boxes and
# scores; the first layer as well, which reads the sparse canvas. The first that passes is taken.
LADDER: tuple[tuple[str, ...], ...] = ((), ("head.*",), ("head.*", "stages.0.0.*"))


class Progress(Protocol):
    """Told what is being done, and how far along it is."""

    def __call__(self, activity: str, done: int, total: int) -> None:
        """Called after every scan, or layer."""


class NetworkWriter:
    """Writes a float32 bundle's network quantised, as often as it takes.

    Attributes:
        attempts: Patterns of the layers to leave in floating point, from fast to accurate.
    """

    def __init__(
        self,
        bundle: Bundle,
        scans: Sequence[Points],
        settings: QuantizationSettings,
        num_threads: int,
        progress: Progress,
    ) -> None:
        """Takes the scans that ranges of activations are to be found on."""
        self.attempts: tuple[tuple[str, ...], ...] = LADDER
        if settings.precision == "float16":
            self.attempts = ((),)
        elif settings.keep_float is not None:
            self.attempts = (settings.keep_float,)
        self._bundle = bundle
        self._scans = scans
        self._settings = settings
        self._num_threads = num_threads
        self._progress = progress
        self._histograms: dict[str, Histogram] = {}

    def write(self, keep_float: Sequence[str], onnx_path: Path) -> tuple[str, ...]:
        """Writes the network and returns the names of its float32 layers.

        Raises:
            BundleError: If a weight does not fit into half precision.
            ConfigError: If a pattern matches no layer, or leaves nothing to quantise.
        """
        graph = Graph(self._bundle.onnx_path)
        if self._settings.precision == "float16":
            to_half(graph)
            graph.save(onnx_path)
            return ()
        if self._settings.target == "cpu":
            split_upsampling(graph)
            split_points(graph)
        everything = [layer.name for layer in layers_of(graph)]
        layers = choose_layers(graph, keep_float)
        sources = sources_of(graph, layers)
        missing = [source for source in sources if source.entry not in self._histograms]
        if missing:  # In the first attempt only, which has all tensors of the later ones.
            groups = {root: source.entry for source in missing for root in source.roots}
            found = collect_histograms(
                graph, groups, self._pillars("scans, ranges of activations"), self._num_threads
            )
            self._histograms |= found
        add_missing_biases(graph, layers_of(graph))
        few = [pillarize(points, self._bundle.grid) for points in self._scans[:_NUM_BACKGROUND]]
        outputs = [layer.node.output[0] for layer in layers]
        expected = list(run_layers(graph, outputs, few, self._num_threads))
        quantize_layers(graph, layers, sources, self._histograms, self._format())
        correct_background(
            graph,
            layers,
            expected,
            few,
            self._num_threads,
            lambda number: self._progress("layers, background corrected", number, len(layers)),
        )
        for layer in layers_of(graph):
            if "box_regression" not in layer.node.output:
                continue
            correct_objects(
                graph,
                Graph(self._bundle.onnx_path),
                self._bundle.facts.head,
                layer,
                self._pillars("scans, boxes compared"),
                self._num_threads,
            )
        graph.save(onnx_path)
        chosen = {layer.name for layer in layers}
        return tuple(name for name in everything if name not in chosen)

    def _format(self) -> IntegerFormat:
        if self._settings.target == "tensorrt":
            return TENSORRT
        return CPU_7_BIT if self._settings.reduce_range else CPU

    def _pillars(self, activity: str) -> Iterator[Pillars]:
        for number, points in enumerate(self._scans, 1):
            yield pillarize(points, self._bundle.grid)
            self._progress(activity, number, len(self._scans))
