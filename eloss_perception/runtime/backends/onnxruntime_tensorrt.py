# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on an NVIDIA GPU through TensorRT; operators that it lacks run through CUDA."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import onnxruntime

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.backends.cuda_device import require_cuda_device
from eloss_perception.runtime.backends.onnxruntime_cuda import (
    cuda_provider,
    gpu_session_options,
    load_nvidia_libraries,
)
from eloss_perception.runtime.backends.onnxruntime_session import OnnxRuntimeBackend, Provider
from eloss_perception.runtime.backends.padded_inputs import PaddedInputs
from eloss_perception.runtime.engines.cache import default_cache_dir, private_folder
from eloss_perception.runtime.onnx_file import OnnxFile

_LOG = logging.getLogger(__name__)


class OnnxRuntimeTensorRt(OnnxRuntimeBackend):
    """See :class:`eloss_perception.runtime.backends.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        require_cuda_device(settings.device_index)
        # This provider has no option for TF32 (ONNX Runtime issue 26029). Read once, by the first
        # library of NVIDIA's that computes; nothing of ours wants TF32 anywhere.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        load_nvidia_libraries()
        options = gpu_session_options()
        # TensorRT fuses quantized operators itself, and does not know what ONNX Runtime makes of
        # them.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        providers = [
            _tensorrt_provider(onnx, grid, settings),
            cuda_provider(settings.device_index),
        ]
        super().__init__(onnx, grid, options, providers, PaddedInputs(grid))


def _tensorrt_provider(onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> Provider:
    options = {
        "device_id": str(settings.device_index),
        # With no precision asked for, TensorRT takes each tensor's from the file.
        "trt_fp16_enable": "0",
        "trt_int8_enable": "0",
        # Without a profile, the engine is built anew, for minutes, whenever a scan fills more
        # pillars than any before it.
        "trt_profile_min_shapes": _shapes(1, grid),
        "trt_profile_opt_shapes": _shapes(PaddedInputs.num_rows(grid.max_pillars // 2), grid),
        "trt_profile_max_shapes": _shapes(PaddedInputs.num_rows(grid.max_pillars), grid),
    }
    folder = _cache_folder(onnx, settings.engine_cache)
    if folder is not None:
        options["trt_engine_cache_enable"] = "1"
        options["trt_engine_cache_path"] = str(folder)
        # Another build then takes the tactics of this one instead of timing them again.
        options["trt_timing_cache_enable"] = "1"
        options["trt_timing_cache_path"] = str(folder)
    return "TensorrtExecutionProvider", options


def _shapes(num_rows: int, grid: PillarGrid) -> str:
    points = f"{num_rows}x{grid.max_points_per_pillar}x{NUM_POINT_FEATURES}"
    return f"points:{points},features:{num_rows}x{NUM_PILLAR_FEATURES}"


def _cache_folder(onnx: OnnxFile, engine_cache: Path | None) -> Path | None:
    """A folder for this network and this ONNX Runtime, whose own file names tell neither."""
    name = f"onnxruntime-{onnxruntime.__version__}-{onnx.sha256[:16]}"
    folder = (engine_cache or default_cache_dir()) / name
    try:
        with private_folder(folder):  # made, and its owner and mode checked
            pass
    except OSError as error:
        _LOG.warning("no engine cache, so each start builds the engine again: %s", error)
        return None
    if not os.access(folder, os.W_OK):
        _LOG.warning("%s is read-only: an engine that is not in it is built at each start", folder)
    return folder
