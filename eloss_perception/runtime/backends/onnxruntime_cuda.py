# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on an NVIDIA GPU through CUDA and cuDNN."""

from __future__ import annotations

import contextlib
import io

import onnxruntime

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.backends.cuda_device import require_cuda_device
from eloss_perception.runtime.backends.onnxruntime_session import OnnxRuntimeBackend, Provider
from eloss_perception.runtime.backends.padded_inputs import PaddedInputs
from eloss_perception.runtime.onnx_file import OnnxFile


class OnnxRuntimeCuda(OnnxRuntimeBackend):
    """See :class:`eloss_perception.runtime.backends.base.Backend`."""

    def __init__(self, onnx: OnnxFile, grid: PillarGrid, settings: BackendSettings) -> None:
        require_cuda_device(settings.device_index)
        load_nvidia_libraries()
        super().__init__(
            onnx,
            grid,
            gpu_session_options(),
            [cuda_provider(settings.device_index)],
            PaddedInputs(grid),
        )


def load_nvidia_libraries() -> None:
    """Loads CUDA and cuDNN from pip's packages, where ONNX Runtime alone does not look."""
    preload = getattr(onnxruntime, "preload_dlls", None)  # since 1.21
    if preload is not None:
        # It prints what it does not find, which may yet be installed elsewhere.
        with contextlib.redirect_stdout(io.StringIO()):
            preload(directory="")


def cuda_provider(device_index: int) -> Provider:
    """The CUDA provider, set up to give equal results in every run."""
    return "CUDAExecutionProvider", {
        "device_id": str(device_index),
        # TF32 keeps ten bits of the fraction: readings would leave their reference.
        "use_tf32": "0",
        # The default times the algorithms of each convolution, and takes another one another day.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Copies on a stream of their own race with the network (ONNX Runtime issue 4829).
        "do_copy_in_default_stream": "1",
        "tunable_op_enable": "0",
        # The vehicle's other processes need the GPU's memory too: no doubling in advance.
        "arena_extend_strategy": "kSameAsRequested",
    }


def gpu_session_options() -> onnxruntime.SessionOptions:
    """How a session runs whose arithmetic is on the GPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # for what is left to the CPU: shapes
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return options
