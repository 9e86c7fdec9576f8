# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a bundle's network in integers or half precision, as the settings ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.export.quantization.activations import (
    Histogram,
    add_missing_biases,
    collect_histograms,
    correct_background,
    correct_objects,
)
from eloss_perception.export.quantization.graph import Graph, split_points, split_upsampling
from eloss_perception.export.quantization.precision import (
    CPU,
    CPU_7_BIT,
    TENSORRT,
    IntegerFormat,
    choose_layers,
    layers_of,
    quantize_layers,
    sources_of,
    to_half,
)
from eloss_perception.runtime.bundle import Bundle

Points = npt.NDArray[np.float32]
Precision = Literal["int8", "float16"]
Target = Literal["cpu", "tensorrt"]

# Empty cells hold the same values in every scan, so few scans suffice.
_NUM_BACKGROUND = 2

# What stays in floating point, from fast to accurate: nothing; the layers that put out boxes and
# scores; the first layer as well, which reads the sparse canvas. The first that passes is taken.
LADDER: tuple[tuple[str, ...], ...] = ((), ("head.*",), ("head.*", "stages.0.0.*"))


class QuantizationSettings(BaseModel):
    """How ``eloss quantize`` works, and the accuracy and drift that it may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "int8"
    target: Target = "cpu"
    num_scans: int = Field(64, ge=1, description="scans that ranges of activations are taken from")
    num_pairs: int = Field(
        60,
        ge=2,
        description="clean simulated scans on which readings are compared, and as many "
        "of other units of the sensor",
    )
    num_frames: int = Field(
        100, ge=1, description="simulated labelled frames, where no data is given"
    )
    keep_float: tuple[str, ...] | None = Field(
        None, description="patterns of layers; None tries few layers first, then more"
    )
    reduce_range: bool = Field(
        False, description="weights of 7 bits, for CPUs without VNNI; see precision.py"
    )
    max_ap_drop: float = Field(0.5, ge=0.0, description="of Car, moderate [points]")
    max_drift: float = Field(1.0, gt=0.0, description="of a layer's reading [spreads]")

    @model_validator(mode="after")
    def _check(self) -> QuantizationSettings:
        if self.precision == "float16" and self.target == "cpu":
            raise ValueError("float16 is slower than float32 on CPUs; use int8, or tensorrt")
        if self.precision == "float16" and (self.keep_float or self.reduce_range):
            raise ValueError("keep_float and reduce_range belong to int8")
        if self.target == "tensorrt" and self.reduce_range:
            raise ValueError("reduce_range belongs to the target cpu")
        return self


class Progress(Protocol):
    """Receives the current activity and its progress."""

    def __call__(self, activity: str, done: int, total: int) -> None:
        """Called after every scan, or layer."""


class NetworkWriter:
    """Writes a float32 bundle's network quantised, once per attempt.

    Attributes:
        bundle: The float32 bundle.
        settings: How to quantise it.
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
        """Prepares writing; ranges of activations are taken from the scans."""
        self.attempts: tuple[tuple[str, ...], ...] = LADDER
        if settings.precision == "float16":
            self.attempts = ((),)
        elif settings.keep_float is not None:
            self.attempts = (settings.keep_float,)
        self.bundle = bundle
        self._scans = scans
        self.settings = settings
        self._num_threads = num_threads
        self._progress = progress
        self._histograms: dict[str, Histogram] = {}

    def write(self, keep_float: Sequence[str], onnx_path: Path) -> tuple[str, ...]:
        """Writes the network and returns the names of its float32 layers.

        Raises:
            BundleError: If a weight does not fit into half precision.
            ConfigError: If a pattern matches no layer, or leaves nothing to quantise.
        """
        graph = Graph(self.bundle.onnx_path)
        if self.settings.precision == "float16":
            to_half(graph)
            graph.save(onnx_path)
            return ()
        if self.settings.target == "cpu":
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
        add_missing_biases(graph, [layer.node for layer in layers_of(graph)])
        few = [pillarize(points, self.bundle.grid) for points in self._scans[:_NUM_BACKGROUND]]
        outputs = [layer.node.output[0] for layer in layers]
        expected = list(graph.run(outputs, few, self._num_threads))
        quantize_layers(graph, layers, sources, self._histograms, self._format())
        correct_background(
            graph,
            [layer.node for layer in layers],
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
                Graph(self.bundle.onnx_path),
                self.bundle.facts.head,
                layer.node,
                self._pillars("scans, boxes compared"),
                self._num_threads,
            )
        graph.save(onnx_path)
        chosen = {layer.name for layer in layers}
        return tuple(name for name in everything if name not in chosen)

    def _format(self) -> IntegerFormat:
        if self.settings.target == "tensorrt":
            return TENSORRT
        return CPU_7_BIT if self.settings.reduce_range else CPU

    def _pillars(self, activity: str) -> Iterator[Pillars]:
        for number, points in enumerate(self._scans, 1):
            yield pillarize(points, self.bundle.grid)
            self._progress(activity, number, len(self._scans))
