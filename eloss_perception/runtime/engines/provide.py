# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The engine of a network on this machine: from the cache, or built and kept there."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.errors import BackendError
from eloss_perception.runtime.engines.build import BuiltEngine, PillarProfile, build_engine
from eloss_perception.runtime.engines.cache import EngineCache, EngineKey
from eloss_perception.runtime.engines.library import TensorRtLog, product_name, quietly, shared_log
from eloss_perception.runtime.engines.progress import Progress
from eloss_perception.runtime.onnx_file import OnnxFile

if TYPE_CHECKING:
    from eloss_perception.runtime.gpu.cuda import CudaContext

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """The GPU that an engine is built for.

    Attributes:
        name: As the driver calls it.
        compute_capability: ``sm_87``.
    """

    name: str
    compute_capability: str

    @classmethod
    def of(cls, cuda: CudaContext) -> Device:
        """Returns the GPU of a CUDA context."""
        major, minor = cuda.compute_capability
        return cls(cuda.device_name, f"sm_{major}{minor}")


@dataclass(frozen=True)
class ProvidedEngine:
    """An engine that is ready to run.

    Attributes:
        engine: TensorRT's ``ICudaEngine``.
        runtime: TensorRT's ``Runtime``; has to live as long as the engine.
        log: Their log.
        precision: What the convolutions compute in.
        path: Its entry in the cache; ``None`` if it could not be stored.
        num_bytes: Size of the serialized engine.
        build_s: Time that building took [s]; ``None`` for one from the cache.
    """

    engine: Any
    runtime: Any
    log: TensorRtLog
    precision: str
    path: Path | None
    num_bytes: int
    build_s: float | None


def provide_engine(
    trt: Any,
    onnx: OnnxFile,
    grid: PillarGrid,
    device: Device,
    cache: EngineCache,
    progress: Progress,
) -> ProvidedEngine:
    """Returns the engine of a network: opened from the cache, or built and stored there.

    Args:
        trt: The TensorRT module.
        onnx: The network.
        grid: Its grid.
        device: The current GPU.
        cache: Where engines are stored.
        progress: Called with the progress of a build.

    Raises:
        BackendError: If the network cannot be built or opened.
    """
    key = EngineKey(
        onnx_sha256=onnx.sha256,
        runtime=trt.__name__,
        version=str(trt.__version__),
        device_name=device.name,
        compute_capability=device.compute_capability,
        profile=PillarProfile.of(grid),
    )
    log = shared_log(trt)
    runtime = quietly(log, trt.Runtime, log.logger)
    if runtime is None:
        raise BackendError(f"{product_name(trt)} does not start: {log.reason('no reason given')}")
    found = _open_cached(runtime, cache, key, log)
    if found is None:
        with cache.building(key, lambda: progress("another process is building it", 0.0)):
            # The process that held the lock may have built it.
            found = _open_cached(runtime, cache, key, log)
            if found is None:
                return _build(trt, runtime, onnx, key, cache, progress, log)
    engine, built = found
    return ProvidedEngine(
        engine, runtime, log, built.precision, cache.path(key), len(built.plan), build_s=None
    )


def _open_cached(
    runtime: Any, cache: EngineCache, key: EngineKey, log: TensorRtLog
) -> tuple[Any, BuiltEngine] | None:
    built = cache.load(key)
    if built is None:
        return None
    log.errors.clear()
    engine = quietly(log, runtime.deserialize_cuda_engine, built.plan)
    if engine is None:
        reason = log.reason("it gave no reason")
        _LOG.warning(
            "TensorRT refuses its own engine %s, so it is built again: %s", cache.path(key), reason
        )
        cache.discard(key)
        return None
    return engine, built


def _build(
    trt: Any,
    runtime: Any,
    onnx: OnnxFile,
    key: EngineKey,
    cache: EngineCache,
    progress: Progress,
    log: TensorRtLog,
) -> ProvidedEngine:
    _LOG.info(
        "building the TensorRT engine of %s for %s; this is done once and may take minutes",
        onnx.path,
        key.device_name,
    )
    start = time.monotonic()
    built = build_engine(trt, onnx, key.profile, progress)
    build_s = time.monotonic() - start
    engine = quietly(log, runtime.deserialize_cuda_engine, built.plan)
    if engine is None:
        raise BackendError(
            f"TensorRT cannot open the engine that it built of {onnx.path}: "
            f"{log.reason('it gave no reason')}"
        )
    path = cache.store(key, built)
    _LOG.info("the engine took %.0f s to build; it is %s", build_s, path or "not kept")
    return ProvidedEngine(engine, runtime, log, built.precision, path, len(built.plan), build_s)
