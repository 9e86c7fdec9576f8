# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run computes on, and in which precision."""

from __future__ import annotations

import os

import torch

from eloss_perception.errors import ConfigError


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device that a setting names.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU where there is one.
        local_rank: Which of the machine's processes asks; each takes the GPU of its number.

    Raises:
        ConfigError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device = {name!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda" or not torch.cuda.is_available():
        raise ConfigError(f"device = {name!r}: torch sees no such device here")
    index = device.index if device.index is not None else local_rank or 0
    if index >= torch.cuda.device_count():
        raise ConfigError(f"device = {name!r}: this machine has {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", index)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that the network's convolutions compute in.

    Args:
        name: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on a CPU and on a GPU
            that has it, else float16.
        device: What the network runs on.

    Raises:
        ConfigError: For float16 on a CPU, which has no fast arithmetic for it.
    """
    if name == "auto":
        has_bfloat16 = device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)
        name = "bfloat16" if has_bfloat16 else "float16"
    if name == "float16" and device.type == "cpu":
        raise ConfigError("precision = 'float16' needs a GPU; on a CPU use bfloat16 or float32")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def set_up_torch(num_threads: int, seed: int, deterministic: bool, device: torch.device) -> None:
    """Sets torch's global switches for a run.

    Args:
        num_threads: CPU threads of the process.
        seed: Of torch's generators, the same in every process.
        deterministic: Refuse algorithms that differ between two runs on the same machine. Without
            it a GPU is free to choose the fastest one.
        device: What the run computes on.
    """
    torch.set_num_threads(num_threads)
    torch.manual_seed(seed)
    if deterministic:
        # What cuBLAS needs to be deterministic; read when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
