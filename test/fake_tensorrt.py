# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A TensorRT without a GPU: its engines are the ONNX file, run by ONNX Runtime on the CPU.

It has the part of the Python API that the package uses, and its strictness: an engine of another
version is not opened, shapes have to be in the profile, buffers have to be aligned. It reads and
writes its tensors at the addresses it is given.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt_network import (
    NUMPY_TYPES,
    DataType,
    LayerType,
    Network,
    Parser,
    graph_of,
    tensor_of,
)


class ILogger:
    ERROR = 1

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class FakeTensorRt:
    """The module.

    Attributes:
        num_builds: Engines built, or tried.
        num_shapes_set: Calls of `set_input_shape`.
        networks: The creation flags, builder flags and profile of each build.
        refused_operators: What the parser does not take.
        build_error: Logged in place of building.
        refused_engines: How many engines are not opened from now on.
        cuda: Where its engines run.
        has_memory: Whether there is room for an execution context.
        frame_error: Logged in place of running; "raise" raises instead.
    """

    def __init__(
        self, version: str = "10.3.0", name: str = "tensorrt", cuda: FakeCuda | None = None
    ) -> None:
        self.cuda = cuda if cuda is not None else FakeCuda()
        self.__version__ = version
        self.__name__ = name
        self.num_builds = 0
        self.num_shapes_set = 0
        self.networks: list[dict[str, Any]] = []
        self.refused_operators: set[str] = set()
        self.build_error = ""
        self.refused_engines = 0
        self.has_memory = True
        self.frame_error = ""
        self.loggers: list[Any] = []
        self.ILogger = ILogger
        self.IProgressMonitor = IProgressMonitor
        self.DataType = DataType
        self.LayerType = LayerType
        self.MemoryPoolType = SimpleNamespace(WORKSPACE=0)
        # 10: explicit batch is flag 0 and does nothing. 11: strongly typed is, and does nothing.
        if version.startswith("10."):
            flags = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
        else:
            flags = {"STRONGLY_TYPED": 0}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
        self.BuilderFlag = SimpleNamespace(TF32=7 if version.startswith("10.") else 6)

    def error(self, message: str) -> None:
        """Logs as TensorRT does: to the first logger that it was given."""
        self.loggers[0].log(ILogger.ERROR, message)

    def Builder(self, logger: Any) -> _Builder:  # noqa: N802 -- TensorRT's name
        self.loggers.append(logger)
        return _Builder(self)

    def OnnxParser(self, network: Network, logger: Any) -> Parser:  # noqa: N802
        return Parser(self, network)

    def Runtime(self, logger: Any) -> _Runtime:  # noqa: N802
        self.loggers.append(logger)
        return _Runtime(self)


class _Builder:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config(self._trt)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: Network, config: _Config) -> bytes | None:
        self._trt.num_builds += 1
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
            for step in range(2):
                monitor.phase_start("Timing tactics", "Building engine", 4)
                for inner in range(4):
                    if not monitor.step_complete("Timing tactics", inner):
                        return None
                monitor.phase_finish("Timing tactics")
                if not monitor.step_complete("Building engine", step):
                    return None
            monitor.phase_finish("Building engine")
        if self._trt.build_error:
            self._trt.error(self._trt.build_error)
            return None
        facts = {
            "version": self._trt.__version__,
            "creation_flags": network.flags,
            "builder_flags": sorted(config.flags),
            "workspace": config.workspace,
            "profile": config.profile.shapes,
        }
        self._trt.networks.append(facts)
        return b"PLAN" + json.dumps(facts).encode() + b"\n" + network.model


class _Config:
    def __init__(self, trt: FakeTensorRt) -> None:
        tf32 = getattr(trt.BuilderFlag, "TF32", None)
        self.flags = set() if tf32 is None else {tf32}  # on unless it is cleared
        self.workspace = 0
        self.profile = _Profile()
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: int, num_bytes: int) -> None:
        self.workspace = num_bytes

    def clear_flag(self, flag: int) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profile = profile
        return 0


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = [list(shape) for shape in shapes]


class _Runtime:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        assert plan.startswith(b"PLAN"), "a damaged file was given to TensorRT"
        header, model = plan[4:].split(b"\n", 1)
        facts = json.loads(header)
        assert facts["version"] == self._trt.__version__, "an engine of another version"
        if self._trt.refused_engines:
            self._trt.refused_engines -= 1
            self._trt.error("Serialization assertion stdVersionRead == kSERIAL failed.")
            return None
        return _Engine(self._trt, facts, model)


class _Engine:
    def __init__(self, trt: FakeTensorRt, facts: dict[str, Any], model: bytes) -> None:
        self.trt = trt
        self.profile = facts["profile"]
        graph = graph_of(model)
        self.inputs = [value.name for value in graph.input]
        self.tensors = {value.name: tensor_of(value) for value in (*graph.input, *graph.output)}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def create_execution_context(self) -> _Context | None:
        if not self.trt.has_memory:
            self.trt.error("Requested amount of GPU memory (1 bytes) could not be allocated.")
            return None
        return _Context(self)

    num_io_tensors = property(lambda self: len(self.tensors))

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name].dtype


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes = {name: engine.tensors[name].shape for name in engine.inputs}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address % 256 == 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._engine.trt.num_shapes_set += 1
        least, _, most = self._engine.profile[name]
        self._shapes[name] = shape
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def execute_async_v3(self, stream: int) -> bool:
        trt = self._engine.trt
        assert stream in trt.cuda.streams
        assert trt.cuda._stack(), "no CUDA context on this thread"
        assert all(-1 not in shape for shape in self._shapes.values())
        if trt.frame_error == "raise":
            raise RuntimeError("CUDA error\n700")
        if trt.frame_error:
            trt.error(trt.frame_error)
            return False
        trt.cuda.enqueue(self._run)
        return True

    def _run(self) -> None:
        inputs = {name: self._at(name, self._shapes[name]) for name in self._engine.inputs}
        names = [name for name in self._engine.tensors if name not in inputs]
        for name, value in zip(names, self._engine.session.run(names, inputs), strict=True):
            self._at(name, value.shape)[...] = value

    def _at(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        dtype = np.dtype(NUMPY_TYPES[self._engine.tensors[name].dtype])
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        memory = self._engine.trt.cuda.memory(self._addresses[name], num_bytes)
        return memory.view(dtype).reshape(shape)


def install(
    monkeypatch: pytest.MonkeyPatch,
    cuda: FakeCuda,
    version: str = "10.3.0",
    without: tuple[str, ...] = (),
) -> FakeTensorRt:
    """Makes `import tensorrt` find a fake one; `without` names what this version lacks."""
    trt = FakeTensorRt(version, cuda=cuda)
    for name in without:
        holder, _, member = name.rpartition(".")
        delattr(getattr(trt, holder) if holder else trt, member)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)  # type: ignore[arg-type]
    return trt
