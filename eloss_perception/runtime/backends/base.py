# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an inference backend has to do, and how pillars become the network's inputs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import (
    NUM_PILLAR_FEATURES,
    NUM_POINT_FEATURES,
    Pillars,
    PointCounts,
)
from eloss_perception.errors import BackendError
from eloss_perception.runtime.onnx_file import OnnxFile


class BackendSettings(BaseModel):
    """How a backend runs; each uses what applies to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_threads: int = Field(2, ge=1, le=64, description="CPU threads of the network")
    device_index: int = Field(0, ge=0, description="which GPU")
    engine_cache: Path | None = Field(
        None, description="folder of built engines; none is the user's cache folder"
    )


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """The network's outputs for one frame, float32.

    Attributes:
        class_logits: (num_classes, H, W) or, with A anchors a cell, (A, H, W) logits.
        box_regression: (9, H, W) or (A * 8, H, W) box parameters, see ``detection/decode.py``.
        layer_entropy: (L,) entropy of each tapped layer.
        layer_log_rms: (L,) logarithm of the RMS of each tapped layer's features over the cells that
            pillars feed.
    """

    class_logits: npt.NDArray[np.float32]
    box_regression: npt.NDArray[np.float32]
    layer_entropy: npt.NDArray[np.float32]
    layer_log_rms: npt.NDArray[np.float32]


# Names of the outputs in the network's file, in the order of `NetworkOutputs`.
OUTPUT_NAMES = tuple(field.name for field in fields(NetworkOutputs))


class NetworkInputs(NamedTuple):
    """The network's inputs, by their names in its file.

    Attributes:
        points: (R, K, 4) float32.
        features: (R, 6) float32.
        cell_to_pillar: (1, num_y * num_x) int32; R for an empty cell.
    """

    points: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cell_to_pillar: npt.NDArray[np.int32]


class Quantization(Protocol):
    """What a backend has to know of a quantized network; ``facts.quantization`` of a bundle."""

    @property
    def precision(self) -> str:
        """`int8` or `float16`."""

    @property
    def target(self) -> str:
        """What it was quantized for: `cpu` or `tensorrt`."""


class CountedPillars(Protocol):
    """What the pillars of all backends have in common."""

    @property
    def counts(self) -> PointCounts:
        """What became of the points."""


class Backend(Protocol):
    """Runs a bundle's network; equal input gives equal output, bit for bit."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        """Loads the network.

        Raises:
            BackendError: If the runtime is not installed or refuses the network, or the network
                lacks an output.
        """

    @property
    def description(self) -> str:
        """Runtime, version and device actually used, for diagnostics."""

    def pillarize(self, points: npt.NDArray[np.float32]) -> CountedPillars:
        """Sorts points into pillars where the network runs; see ``detection/pillars.py``.

        Args:
            points: (N, 4) float32 x, y, z [m] in the network frame, intensity in [0, 1].

        Returns:
            What :meth:`run` takes; valid until the next call.

        Raises:
            CloudError: If ``points`` has another shape or dtype.
            BackendError: If the device fails.
        """

    def run(self, pillars: Any) -> NetworkOutputs:
        """Runs one frame.

        Args:
            pillars: What this backend's :meth:`pillarize` returned.

        Returns:
            The outputs; their arrays are valid until the next call.

        Raises:
            BackendError: If the runtime fails on it.
        """

    def close(self) -> None:
        """Frees the network; nothing else may be called afterwards."""


def refuse_missing_outputs(path: Path, names: Collection[str]) -> None:
    """Checks that a network has all outputs.

    Raises:
        BackendError: If it lacks one.
    """
    missing = set(OUTPUT_NAMES) - set(names)
    if missing:
        raise BackendError(
            f"{path} has no output {', '.join(sorted(missing))}; export the bundle again"
        )


def in_one_line(said: object) -> str:
    """Returns what a runtime said or raised, short enough for a health message."""
    return " ".join(str(said).split())[:400] or type(said).__name__


class PaddedInputs:
    """Pads pillars to a few different numbers, for runtimes that prepare code for each number.

    No cell refers to a row of the padding, so the network's outputs are the same bit for bit.
    """

    step = 1024

    def __init__(self, grid: PillarGrid) -> None:
        num_rows = self.num_rows(grid.max_pillars)
        self._points = np.zeros(
            (num_rows, grid.max_points_per_pillar, NUM_POINT_FEATURES), np.float32
        )
        self._features = np.zeros((num_rows, NUM_PILLAR_FEATURES), np.float32)
        self._cell_to_pillar = np.empty((1, grid.num_cells), np.int32)

    @classmethod
    def num_rows(cls, num_pillars: int) -> int:
        """Returns the rows that a number of pillars is padded to; at least one step."""
        return max(-(-num_pillars // cls.step), 1) * cls.step

    def __call__(self, pillars: Pillars) -> NetworkInputs:
        """Returns a frame's padded pillars, valid until the next call."""
        num_pillars = len(pillars.points)
        num_rows = self.num_rows(num_pillars)
        self._points[:num_pillars] = pillars.points
        self._features[:num_pillars] = pillars.features
        # Nothing reads the padding's results, but what an earlier frame left may be slow denormals.
        self._points[num_pillars:num_rows] = 0.0
        self._features[num_pillars:num_rows] = 0.0
        # The row past the last one is the empty cell.
        np.copyto(self._cell_to_pillar[0], pillars.cell_to_pillar)
        np.copyto(self._cell_to_pillar[0], num_rows, where=pillars.cell_to_pillar == num_pillars)
        return NetworkInputs(
            self._points[:num_rows], self._features[:num_rows], self._cell_to_pillar
        )
