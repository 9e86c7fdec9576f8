# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: the default backend."""

from __future__ import annotations

import onnxruntime

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.backends.onnxruntime_session import CPU, OnnxRuntimeBackend
from eloss_perception.runtime.backends.padded_inputs import NetworkInputs
from eloss_perception.runtime.onnx_file import OnnxFile


class OnnxRuntimeCpu(OnnxRuntimeBackend):
    """See :class:`eloss_perception.runtime.backends.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        super().__init__(onnx, grid, session_options(settings.num_threads), [(CPU, {})], _inputs)
        self._description += f", {settings.num_threads} threads"


def _inputs(pillars: Pillars) -> NetworkInputs:
    return NetworkInputs(pillars.points, pillars.features, pillars.cell_to_pillar[None])


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
    # A plan of all memory for each number of pillars that was met, beside the memory of the first
    # frame, takes PointPillars from 410 to 670 MB and spares the light network 2 % of its time.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options
