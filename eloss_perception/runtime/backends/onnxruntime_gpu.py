# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on an NVIDIA GPU: through CUDA and cuDNN, or through TensorRT.

Operators that TensorRT lacks run through CUDA.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from pathlib import Path

import onnxruntime

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.runtime.backends.base import BackendSettings, PaddedInputs
from eloss_perception.runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend, Provider
from eloss_perception.runtime.engines.cache import default_cache_dir, private_folder
from eloss_perception.runtime.gpu.driver import require_cuda_device
from eloss_perception.runtime.onnx_file import OnnxFile

_LOG = logging.getLogger(__name__)


class OnnxRuntimeCuda(OnnxRuntimeBackend):
    """See :class:`.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        require_cuda_device(settings.device_index)
        _load_nvidia_libraries()
        super().__init__(
            onnx,
            grid,
            _gpu_session_options(),
            [_cuda_provider(settings.device_index)],
            PaddedInputs(grid),
        )


class OnnxRuntimeTensorRt(OnnxRuntimeBackend):
    """See :class:`.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        require_cuda_device(settings.device_index)
        # This provider has no option for TF32 (ONNX Runtime issue 26029). The first of NVIDIA's
        # libraries that computes reads the variable, once; nothing of ours uses TF32.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        _load_nvidia_libraries()
        options = _gpu_session_options()
        # TensorRT fuses quantized operators itself, and does not know ONNX Runtime's fused ones.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        providers = [
            _tensorrt_provider(onnx, grid, settings),
            _cuda_provider(settings.device_index),
        ]
        super().__init__(onnx, grid, options, providers, PaddedInputs(grid))


def _load_nvidia_libraries() -> None:
    """Loads CUDA and cuDNN from pip's packages, where ONNX Runtime alone does not look."""
    preload = getattr(onnxruntime, "preload_dlls", None)  # since 1.21
    if preload is not None:
        # It prints what it does not find, which may be installed elsewhere.
        with contextlib.redirect_stdout(io.StringIO()):
            preload(directory="")


def _cuda_provider(device_index: int) -> Provider:
    """Returns the CUDA provider, with equal results in every run."""
    return "CUDAExecutionProvider", {
        "device_id": str(device_index),
        # TF32 keeps ten bits of the fraction: readings would leave their reference.
        "use_tf32": "0",
        # The default times the algorithms of a convolution, and may choose another one next time.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Copies on a stream of their own race with the network (ONNX Runtime issue 4829).
        "do_copy_in_default_stream": "1",
        "tunable_op_enable": "0",
        # Other processes need the GPU's memory too: no doubling in advance.
        "arena_extend_strategy": "kSameAsRequested",
    }


def _gpu_session_options() -> onnxruntime.SessionOptions:
    """Returns the options of a session whose arithmetic is on the GPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # for what is left to the CPU: shapes
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return options


def _tensorrt_provider(onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> Provider:
    options = {
        "device_id": str(settings.device_index),
        # Without these, TensorRT takes the precision of each tensor from the file.
        "trt_fp16_enable": "0",
        "trt_int8_enable": "0",
        # Without a profile, the engine is rebuilt, for minutes, whenever a scan fills more pillars
        # than any before it.
        "trt_profile_min_shapes": _shapes(1, grid),
        "trt_profile_opt_shapes": _shapes(PaddedInputs.num_rows(grid.max_pillars // 2), grid),
        "trt_profile_max_shapes": _shapes(PaddedInputs.num_rows(grid.max_pillars), grid),
    }
    folder = _cache_folder(onnx, settings.engine_cache)
    if folder is not None:
        options["trt_engine_cache_enable"] = "1"
        options["trt_engine_cache_path"] = str(folder)
        # Another build then reuses the tactics of this one instead of timing them again.
        options["trt_timing_cache_enable"] = "1"
        options["trt_timing_cache_path"] = str(folder)
    return "TensorrtExecutionProvider", options


def _shapes(num_rows: int, grid: PillarGrid) -> str:
    points = f"{num_rows}x{grid.max_points_per_pillar}x{NUM_POINT_FEATURES}"
    return f"points:{points},features:{num_rows}x{NUM_PILLAR_FEATURES}"


def _cache_folder(onnx: OnnxFile, engine_cache: Path | None) -> Path | None:
    """Returns a folder for this network and ONNX Runtime, whose own file names tell neither."""
    name = f"onnxruntime-{onnxruntime.__version__}-{onnx.sha256[:16]}"
    folder = (engine_cache or default_cache_dir()) / name
    try:
        with private_folder(folder):  # creates it, and checks its owner and mode
            pass
    except OSError as error:
        _LOG.warning("no engine cache, so each start builds the engine again: %s", error)
        return None
    if not os.access(folder, os.W_OK):
        _LOG.warning("%s is read-only: an engine that is not in it is built at each start", folder)
    return folder
