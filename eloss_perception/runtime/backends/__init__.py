# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backends by name; a new one is a class in this folder and a line in :data:`BACKENDS`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime.backends.base import (
    Backend,
    BackendSettings,
    CountedPillars,
    NetworkOutputs,
    Quantization,
)
from eloss_perception.runtime.gpu.driver import require_cuda_device
from eloss_perception.runtime.onnx_file import OnnxFile


class BackendEntry(NamedTuple):
    """Where a backend is and which quantized networks it runs.

    Attributes:
        module: Imported only when chosen, because each needs a runtime that others lack.
        class_name: The class in it.
        quantizations: Precision and target of the quantized networks that it runs correctly.
        needs_gpu: Whether it runs on an NVIDIA GPU.
    """

    module: str
    class_name: str
    quantizations: tuple[tuple[str, str], ...]
    needs_gpu: bool = False


_FOR_CPU = (("int8", "cpu"), ("float16", "cpu"))
_FOR_TENSORRT = (("int8", "tensorrt"), ("float16", "tensorrt"))

# `auto` takes the first of these that works. Fastest first; the last one is always installed.
AUTO = "auto"
AUTO_ORDER = ("tensorrt", "onnxruntime_cuda", "openvino", "onnxruntime_cpu")

BACKENDS: dict[str, BackendEntry] = {
    AUTO: BackendEntry("", "Auto", (*_FOR_CPU, *_FOR_TENSORRT)),
    "tensorrt": BackendEntry("tensorrt", "TensorRt", _FOR_TENSORRT, needs_gpu=True),
    "onnxruntime_cuda": BackendEntry(
        "onnxruntime_gpu", "OnnxRuntimeCuda", (("float16", "tensorrt"),), needs_gpu=True
    ),
    "onnxruntime_tensorrt": BackendEntry(
        "onnxruntime_gpu", "OnnxRuntimeTensorRt", _FOR_TENSORRT, needs_gpu=True
    ),
    "onnxruntime_cpu": BackendEntry("onnxruntime_cpu", "OnnxRuntimeCpu", _FOR_CPU),
    "openvino": BackendEntry("openvino", "OpenVino", _FOR_CPU),
}


def load_backend(
    name: str,
    onnx: OnnxFile | Path,
    grid: PillarGrid,
    settings: BackendSettings,
    quantization: Quantization | None = None,
) -> Backend:
    """Loads a network on a backend.

    Args:
        name: One of :data:`BACKENDS`.
        onnx: The network: the verified file of a bundle, or the path of a file to read.
        grid: The pillar grid that it was built for.
        settings: How the backend runs.
        quantization: How the network was quantized; ``None`` for one in float32.

    Raises:
        ConfigError: If there is no backend of this name.
        BundleError: If the file cannot be read.
        BackendError: If its runtime is not installed or refuses the network, or the network was
            quantized for another runtime.
    """
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; valid: {', '.join(sorted(BACKENDS))}")
    if isinstance(onnx, Path):
        onnx = OnnxFile.read(onnx)
    if name == AUTO:
        return _load_first(
            lambda other: load_backend(other, onnx, grid, settings, quantization),
            settings.device_index,
        )
    entry = BACKENDS[name]
    if quantization is not None:
        _refuse_foreign(name, entry, quantization)
    try:
        module = import_module(f"{__name__}.{entry.module}")
    except ImportError as error:
        raise BackendError(f"backend {name} is not installed: {error}") from None
    backend: Backend = getattr(module, entry.class_name)(onnx, grid, settings)
    return backend


def _refuse_foreign(name: str, entry: BackendEntry, quantization: Quantization) -> None:
    """On a runtime it was not made for, a quantized network gives wrong answers, not errors."""
    kind = (quantization.precision, quantization.target)
    if kind in entry.quantizations:
        return
    valid = [
        other for other, its in BACKENDS.items() if kind in its.quantizations and other != AUTO
    ]
    raise BackendError(
        f"backend {name} does not run {quantization.precision} networks quantized for "
        f"{quantization.target}; use {' or '.join(valid)}, or quantize for another target"
    )


class Auto:
    """`auto`: the first backend that works here; see :class:`.base.Backend`.

    Attributes:
        name: Which one it is.
        passed_over: Those tried before, each with the reason why it did not start.
    """

    def __init__(self, name: str, backend: Backend, passed_over: tuple[str, ...]) -> None:
        self.name = name
        self.passed_over = passed_over
        self._backend = backend

    @property
    def description(self) -> str:
        """Runtime, version and device actually used, and why no other."""
        if not self.passed_over:
            return self._backend.description
        return f"{self._backend.description}; auto passed over {'; '.join(self.passed_over)}"

    def pillarize(self, points: npt.NDArray[np.float32]) -> CountedPillars:
        """Sorts points into pillars where the network runs."""
        return self._backend.pillarize(points)

    def run(self, pillars: Any) -> NetworkOutputs:
        """Runs one frame."""
        return self._backend.run(pillars)

    def close(self) -> None:
        """Frees the network."""
        self._backend.close()


def _load_first(load: Callable[[str], Backend], device_index: int) -> Auto:
    """Loads the first backend that works.

    Raises:
        BackendError: If none does, with the reason of each.
    """
    passed_over: list[str] = []
    for name in AUTO_ORDER:
        try:
            if BACKENDS[name].needs_gpu:  # checked before anything large is imported
                require_cuda_device(device_index)
            backend = load(name)
        except BackendError as error:
            passed_over.append(f"{name} ({error})")
        else:
            return Auto(name, backend, tuple(passed_over))
    raise BackendError(f"no backend works here: {'; '.join(passed_over)}")
