# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU, the default backend, and the session that its GPU backends share.

By default ONNX Runtime silently runs on the CPU whatever it cannot run elsewhere: networks whose
provider lacks a library, single operators, and frames on which the GPU failed. Here each of these
is an error, or stated in the description.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillarizer, Pillars
from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends.base import (
    OUTPUT_NAMES,
    BackendSettings,
    NetworkInputs,
    NetworkOutputs,
    in_one_line,
    refuse_missing_outputs,
)
from eloss_perception.runtime.onnx_file import OnnxFile

_CPU = "CPUExecutionProvider"

# The network runs where these run. Shapes and indices may stay on the CPU.
_HEAVY_OPERATORS = frozenset({"Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul"})

# A provider by name, with its options.
Provider = tuple[str, Mapping[str, str]]


class OnnxRuntimeBackend:
    """See :class:`.base.Backend`; on the given providers."""

    def __init__(
        self,
        onnx: OnnxFile,
        grid: PillarGrid,
        options: onnxruntime.SessionOptions,
        providers: Sequence[Provider],
        inputs: Callable[[Pillars], NetworkInputs],
    ) -> None:
        """Loads the network.

        Args:
            onnx: The network.
            grid: The pillar grid.
            options: Options of the session.
            providers: Where it runs, in order of preference.
            inputs: Makes the network's inputs from a frame's pillars.

        Raises:
            BackendError: If the first provider is not available, or ONNX Runtime would not run the
                network there.
        """
        self.pillarize = Pillarizer(grid)
        self._inputs = inputs
        asked = providers[0][0]
        available = onnxruntime.get_available_providers()
        if asked not in available:
            raise BackendError(
                f"the installed ONNX Runtime {onnxruntime.__version__} has no {asked} "
                f"(it has {', '.join(available)}); GPU builds come in the package onnxruntime-gpu"
            )
        # Otherwise it may take the bytes for its own format.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                onnx.content,
                options,
                providers=[(name, dict(values)) for name, values in providers if name in available],
                enable_fallback=0,
            )
            # The argument above is new; this exists in every version.
            self._session.disable_fallback()
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise BackendError(
                f"ONNX Runtime cannot load {onnx.path}: {in_one_line(error)}"
            ) from None
        got = self._session.get_providers()
        if got[0] != asked:
            raise BackendError(
                f"asked for {asked}, ONNX Runtime uses {got[0]}: a library that it needs "
                "(CUDA, cuDNN, TensorRT) is missing or of another version"
            )
        refuse_missing_outputs(onnx.path, {output.name for output in self._session.get_outputs()})
        self._description = (
            f"ONNX Runtime {onnxruntime.__version__}, {asked}{self._elsewhere(asked)}"
        )
        self._binding = self._session.io_binding()
        self._outputs: tuple[npt.NDArray[np.float32], ...] = ()

    @property
    def description(self) -> str:
        """Runtime, version and device actually used."""
        return self._description

    def run(self, pillars: Pillars) -> NetworkOutputs:
        """Runs one frame."""
        inputs = self._inputs(pillars)
        try:
            # By address: no input is copied, and no output allocated.
            for name, array in zip(inputs._fields, inputs, strict=True):
                self._binding.bind_input(
                    name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data
                )
            if not self._outputs:
                self._outputs = self._bind_outputs()
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above
            raise BackendError(f"ONNX Runtime failed on a frame: {in_one_line(error)}") from None
        return NetworkOutputs(*(output[0] for output in self._outputs))

    def close(self) -> None:
        """Frees the network."""
        del self._binding, self._session

    def _bind_outputs(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Runs once to learn the outputs' shapes, which do not change, and binds buffers."""
        for name in OUTPUT_NAMES:
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        shapes = [value.shape for value in self._binding.copy_outputs_to_cpu()]
        self._binding.clear_binding_outputs()
        outputs = tuple(np.empty(shape, np.float32) for shape in shapes)
        for name, array in zip(OUTPUT_NAMES, outputs, strict=True):
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return outputs

    def _elsewhere(self, asked: str) -> str:
        """Returns what runs on other providers, for the description.

        Raises:
            BackendError: If the network's arithmetic runs on the CPU, or nothing where asked.
        """
        if asked == _CPU or not hasattr(self._session, "get_provider_graph_assignment_info"):
            return ""  # ONNX Runtime before 1.24 cannot tell
        nodes = [
            (part.ep_name, node.op_type)
            for part in self._session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        ]
        on_cpu = Counter(kind for provider, kind in nodes if provider == _CPU)
        heavy = {kind: count for kind, count in on_cpu.items() if kind in _HEAVY_OPERATORS}
        if heavy:
            listed = ", ".join(f"{count} {kind}" for kind, count in sorted(heavy.items()))
            raise BackendError(f"asked for {asked}, but ONNX Runtime runs {listed} on the CPU")
        counts = Counter(provider for provider, _ in nodes if provider != asked)
        if nodes and counts.total() == len(nodes):
            raise BackendError(
                f"asked for {asked}, but ONNX Runtime runs no operator there: {dict(counts)}"
            )
        return "".join(
            f", {count} of {len(nodes)} operators on {provider}"
            for provider, count in sorted(counts.items())
        )


class OnnxRuntimeCpu(OnnxRuntimeBackend):
    """See :class:`.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        super().__init__(onnx, grid, session_options(settings.num_threads), [(_CPU, {})], _inputs)
        self._description += f", {settings.num_threads} threads"


def _inputs(pillars: Pillars) -> NetworkInputs:
    return NetworkInputs(pillars.points, pillars.features, pillars.cell_to_pillar[None])


def session_options(num_threads: int) -> onnxruntime.SessionOptions:
    """Returns options that spare the cores of other processes, and memory traffic."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Waiting threads must not occupy cores that the rest of the vehicle needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # In this order the cells that entropies are measured on are read from each map as soon as it is
    # computed. The default order keeps all maps until the end, when they have left the cache, which
    # costs as much as measuring them.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # A memory plan for each number of pillars takes PointPillars from 410 to 670 MB, and saves the
    # light network 2 % of its time.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options
