# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backends by name; a new one is a file here and a line in :data:`BACKENDS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from eloss_perception.core.grid import PillarGrid
from eloss_perception.errors import BackendError, ConfigError
from eloss_perception.runtime.backends.base import Backend, BackendSettings

# Module and class; imported only when chosen, because each needs a runtime that others lack.
BACKENDS = {
    "onnxruntime_cpu": ("onnxruntime_cpu", "OnnxRuntimeCpu"),
}


def load_backend(
    name: str, onnx_path: Path, grid: PillarGrid, settings: BackendSettings
) -> Backend:
    """Starts a backend.

    Raises:
        ConfigError: If there is no backend of this name.
        BackendError: If its runtime is not installed or refuses the network.
    """
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; valid: {', '.join(sorted(BACKENDS))}")
    module_name, class_name = BACKENDS[name]
    try:
        module = import_module(f"{__name__}.{module_name}")
    except ImportError as error:
        raise BackendError(f"backend {name} is not installed: {error}") from None
    backend: Backend = getattr(module, class_name)(onnx_path, grid, settings)
    return backend
