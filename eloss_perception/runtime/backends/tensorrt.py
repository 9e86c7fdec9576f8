# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT on an NVIDIA GPU, from JetPack or the user's installation.

A scan is uploaded once, pillarized and run on the GPU, and the outputs are downloaded: no pillar
tensor crosses the bus. All memory, on the GPU and on the host, is allocated at the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends.base import OUTPUT_NAMES, BackendSettings, NetworkOutputs
from eloss_perception.runtime.engines.build import MIN_PILLARS
from eloss_perception.runtime.engines.cache import EngineCache
from eloss_perception.runtime.engines.library import load_tensorrt, product_name, quietly
from eloss_perception.runtime.engines.progress import LoggedProgress
from eloss_perception.runtime.engines.provide import Device, ProvidedEngine, provide_engine
from eloss_perception.runtime.onnx_file import OnnxFile

if TYPE_CHECKING:
    from eloss_perception.runtime.gpu.cuda import CudaContext, DeviceBuffer
    from eloss_perception.runtime.gpu.pillarizer import DevicePillars

# Attributes of `DevicePillars` as well.
_INPUT_NAMES = ("points", "features", "cell_to_pillar")


class TensorRt:
    """See :class:`.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        trt = load_tensorrt()
        from eloss_perception.runtime.gpu.cuda import CudaContext
        from eloss_perception.runtime.gpu.pillarizer import DevicePillarizer

        self._cuda = CudaContext(settings.device_index)
        try:
            device = Device.of(self._cuda)
            self._provided: ProvidedEngine = provide_engine(
                trt, onnx, grid, device, EngineCache(settings.engine_cache), LoggedProgress()
            )
            self.pillarize = DevicePillarizer(self._cuda, grid, min_rows=MIN_PILLARS)
            _check_inputs(trt, self._provided.engine, grid, onnx.path)
            self._frame = _Frame(trt, self._provided, self._cuda, onnx.path)
        except BaseException:
            self._cuda.close()
            raise
        self._description = (
            f"{product_name(trt)}, {device.name} ({device.compute_capability}), "
            f"{self._provided.precision}"
        )

    @property
    def description(self) -> str:
        """Runtime, version and device actually used."""
        return self._description

    def run(self, pillars: DevicePillars) -> NetworkOutputs:
        """Runs one frame."""
        return self._frame.run(pillars)

    def close(self) -> None:
        """Frees all memory; nothing else may be called afterwards."""
        self._frame.close()
        self.__dict__.pop("_provided", None)  # the engine's memory belongs to the CUDA context
        self._cuda.close()


def _check_inputs(trt: Any, engine: Any, grid: PillarGrid, onnx_path: Path) -> None:
    """An engine reads as much as its shapes say, whatever the size of the buffers."""
    pillar_shape = (-1, grid.max_points_per_pillar, NUM_POINT_FEATURES)
    expected = {
        "points": (pillar_shape, trt.DataType.FLOAT),
        "features": ((-1, NUM_PILLAR_FEATURES), trt.DataType.FLOAT),
        "cell_to_pillar": ((1, grid.num_cells), trt.DataType.INT32),
    }
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != {*expected, *OUTPUT_NAMES}:
        raise BackendError(
            f"{onnx_path} has inputs and outputs {', '.join(sorted(names))}; export the bundle "
            "again"
        )
    for name, (shape, dtype) in expected.items():
        found = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
        if found != (shape, dtype):
            raise BackendError(
                f"{onnx_path}: input {name} is {found[1]} {found[0]}, the grid needs {dtype} "
                f"{shape}; export the bundle again"
            )


class _Frame:
    """An engine's execution context and its buffers, which every frame reuses."""

    def __init__(
        self, trt: Any, provided: ProvidedEngine, cuda: CudaContext, onnx_path: Path
    ) -> None:
        engine = provided.engine
        self._cuda = cuda
        self._log = provided.log
        self._log.errors.clear()
        # Allocates the scratch memory for the largest frame.
        self._context: Any = quietly(self._log, engine.create_execution_context)
        if self._context is None:
            raise BackendError(
                f"TensorRT cannot allocate memory for {onnx_path} on the GPU: "
                f"{self._log.reason('out of memory')}"
            )
        self._row_shapes = {
            name: tuple(engine.get_tensor_shape(name))[1:] for name in ("points", "features")
        }
        self._addresses: dict[str, int] = {}
        self._num_rows = -1
        self._outputs: list[tuple[DeviceBuffer, npt.NDArray[np.float32]]] = []
        for name in OUTPUT_NAMES:
            shape = tuple(engine.get_tensor_shape(name))
            if engine.get_tensor_dtype(name) != trt.DataType.FLOAT or min(shape, default=-1) < 0:
                raise BackendError(
                    f"{onnx_path}: output {name} is {engine.get_tensor_dtype(name)} {shape}; it "
                    "must be float32 of fixed size; export the bundle again"
                )
            array: npt.NDArray[np.float32] = cuda.pinned(shape, np.dtype(np.float32))
            buffer = cuda.allocate(array.nbytes)
            self._set_address(name, buffer)
            self._outputs.append((buffer, array))
        self._results = NetworkOutputs(*(array[0] for _, array in self._outputs))

    def run(self, pillars: DevicePillars) -> NetworkOutputs:
        """Runs the network on inputs that are on the GPU."""
        self._log.errors.clear()  # messages about skipped tactics explain nothing
        for name in _INPUT_NAMES:
            self._set_address(name, getattr(pillars, name))
        if pillars.num_rows != self._num_rows:
            self._set_shapes(pillars.num_rows)
        self._cuda.activate()  # the calling thread may be another than at the start
        if not quietly(self._log, self._context.execute_async_v3, self._cuda.stream):
            raise self._failure("it gave no reason")
        for buffer, array in self._outputs:
            self._cuda.download(buffer, array)
        self._cuda.synchronize()  # reports what failed on the GPU
        return self._results

    def close(self) -> None:
        """Ends the execution context, before the CUDA context that its memory belongs to."""
        self._context = None

    def _set_address(self, name: str, buffer: DeviceBuffer) -> None:
        if self._addresses.get(name) == buffer.pointer:
            return
        if not self._context.set_tensor_address(name, buffer.pointer):
            raise self._failure(f"it refuses the buffer of {name}")
        self._addresses[name] = buffer.pointer

    def _set_shapes(self, num_rows: int) -> None:
        self._num_rows = -1  # in case one is refused
        for name, shape in self._row_shapes.items():
            if not self._context.set_input_shape(name, (num_rows, *shape)):
                raise self._failure(f"it refuses {num_rows} pillars")
        self._num_rows = num_rows

    def _failure(self, otherwise: str) -> BackendError:
        return BackendError(f"TensorRT failed on a frame: {self._log.reason(otherwise)}")
