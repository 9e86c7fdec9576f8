# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: the default backend."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.pillars import Pillarizer, Pillars
from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends.base import OUTPUT_NAMES, BackendSettings, NetworkOutputs

_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeCpu:
    """See :class:`eloss_perception.runtime.backends.base.Backend`."""

    def __init__(self, onnx_path: Path, grid: PillarGrid, settings: BackendSettings) -> None:
        self.pillarize = Pillarizer(grid)
        try:
            self._session = onnxruntime.InferenceSession(
                str(onnx_path),
                session_options(settings.num_threads),
                providers=[_PROVIDER],
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise BackendError(
                f"ONNX Runtime cannot load {onnx_path}: {_one_line(error)}"
            ) from None
        if self._session.get_providers() != [_PROVIDER]:
            raise BackendError(f"asked for {_PROVIDER}, got {self._session.get_providers()}")
        missing = set(OUTPUT_NAMES) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise BackendError(
                f"{onnx_path} has no output {', '.join(sorted(missing))}; export the bundle again"
            )

    @property
    def description(self) -> str:
        """Runtime, version and device actually used."""
        return f"ONNX Runtime {onnxruntime.__version__}, {_PROVIDER}"

    def run(self, pillars: Pillars) -> NetworkOutputs:
        """Runs one frame."""
        inputs = {
            "points": pillars.points,
            "features": pillars.features,
            "cell_to_pillar": pillars.cell_to_pillar[None],
        }
        try:
            outputs = self._session.run(OUTPUT_NAMES, inputs)
        except Exception as error:  # as above
            raise BackendError(f"ONNX Runtime failed on a frame: {_one_line(error)}") from None
        return NetworkOutputs(*(output[0] for output in outputs))


def session_options(num_threads: int) -> onnxruntime.SessionOptions:
    """How networks run: sparing of the other processes' cores and of memory traffic."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Waiting threads must not burn the cores that the rest of the vehicle needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # In this order the cells that the entropies are measured on are taken out of each map as soon
    # as it is computed. The default order keeps all maps until the end, out of the cache, which
    # costs as much as measuring them.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.log_severity_level = 3
    return options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
