# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an inference backend has to do."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eloss_perception.core.pillars import Pillars


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """The network's outputs for one frame, float32.

    Attributes:
        class_logits: (num_classes, H, W) or, with A anchors a cell, (A, H, W) logits.
        box_regression: (9, H, W) or (A * 8, H, W) box parameters, see ``core/decode.py``.
        layer_entropy: (L,) entropy of each tapped layer.
        layer_log_rms: (L,) logarithm of the RMS of each tapped layer's features over the cells that
            pillars feed.
    """

    class_logits: npt.NDArray[np.float32]
    box_regression: npt.NDArray[np.float32]
    layer_entropy: npt.NDArray[np.float32]
    layer_log_rms: npt.NDArray[np.float32]


# What a network's outputs are called in its file, in the order of `NetworkOutputs`.
OUTPUT_NAMES = tuple(field.name for field in fields(NetworkOutputs))


class Backend(Protocol):
    """Runs a bundle's network; equal input gives equal output, bit for bit."""

    def __init__(self, onnx_path: Path, num_threads: int) -> None:
        """Loads the network.

        Raises:
            BackendError: If the runtime is not installed or refuses the network, or the network
                lacks an output.
        """

    @property
    def description(self) -> str:
        """Runtime, version and device actually used, for diagnostics."""

    def run(self, pillars: Pillars) -> NetworkOutputs:
        """Runs one frame.

        Raises:
            BackendError: If the runtime fails on it.
        """
