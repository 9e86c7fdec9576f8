# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backends by name; a new one is a file here and a line in :data:`BACKENDS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime.backends.base import Backend, BackendSettings, Quantization
from eloss_perception.runtime.onnx_file import OnnxFile


class BackendEntry(NamedTuple):
    """Where a backend is and what it runs besides float32 networks.

    Attributes:
        module: Imported only when chosen, because each needs a runtime that others lack.
        class_name: The class in it.
        quantizations: Precision and target of the quantized networks that it runs rightly.
        needs_gpu: Whether it runs on an NVIDIA GPU.
    """

    module: str
    class_name: str
    quantizations: tuple[tuple[str, str], ...]
    needs_gpu: bool


_FOR_CPU = (("int8", "cpu"), ("float16", "cpu"))
_FOR_TENSORRT = (("int8", "tensorrt"), ("float16", "tensorrt"))

# Takes the first that works; see `auto.py`. Fastest first; the last one is always installed.
AUTO = "auto"
AUTO_ORDER = ("tensorrt", "onnxruntime_cuda", "openvino", "onnxruntime_cpu")

BACKENDS: dict[str, BackendEntry] = {
    AUTO: BackendEntry("auto", "Auto", (*_FOR_CPU, *_FOR_TENSORRT), needs_gpu=False),
    "tensorrt": BackendEntry("tensorrt", "TensorRt", _FOR_TENSORRT, True),
    "onnxruntime_cuda": BackendEntry(
        "onnxruntime_cuda", "OnnxRuntimeCuda", (("float16", "tensorrt"),), True
    ),
    "onnxruntime_tensorrt": BackendEntry(
        "onnxruntime_tensorrt", "OnnxRuntimeTensorRt", _FOR_TENSORRT, True
    ),
    "onnxruntime_cpu": BackendEntry("onnxruntime_cpu", "OnnxRuntimeCpu", _FOR_CPU, False),
    "openvino": BackendEntry("openvino", "OpenVino", _FOR_CPU, False),
}


def load_backend(
    name: str,
    onnx: OnnxFile | Path,
    grid: PillarGrid,
    settings: BackendSettings,
    quantization: Quantization | None = None,
) -> Backend:
    """Starts a backend.

    Args:
        name: One of :data:`BACKENDS`.
        onnx: The network; of a bundle, what was verified, or a file that is read now.
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
        from eloss_perception.runtime.backends.auto import load_first

        return load_first(
            [(other, BACKENDS[other].needs_gpu) for other in AUTO_ORDER],
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
    """Quantized networks give wrong answers, not errors, on a runtime they were not made for."""
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
