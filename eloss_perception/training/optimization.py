# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How weights are updated: device and precision, optimiser, schedule, moving average."""

from __future__ import annotations

import os

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from eloss_perception.errors import ConfigError


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device that a setting names.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU where there is one.
        local_rank: Number of the process on its machine; each takes the GPU of its number.

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
        device: Device that the network runs on.

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
    """Sets torch's global switches: CPU threads, seed, and whether algorithms must be repeatable.

    Without ``deterministic`` a GPU is free to choose the fastest algorithm.
    """
    torch.set_num_threads(num_threads)
    torch.manual_seed(seed)
    if deterministic:
        # What cuBLAS needs to be deterministic; read when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic


def make_optimizer(
    network: nn.Module, learning_rate: float, weight_decay: float, device: torch.device
) -> Optimizer:
    """AdamW without weight decay on biases and norms: shrinking those regularises nothing."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, learning_rate, fused=device.type == "cuda")


def make_schedule(
    optimizer: Optimizer, learning_rate: float, steps: int, warm_up: float
) -> LRScheduler:
    """One cycle (Smith and Topin, 2018): up to the peak for ``warm_up`` of the run, then down."""
    return OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=warm_up)


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Updates the exponential moving average; it forgets faster at first, when weights are poor.

    Args:
        averaged: Network that is evaluated and exported.
        network: Network that is trained, of the same shape.
        decay: Weight of the old average once it has settled.
        step: Updates so far.
    """
    share = 1.0 - min(decay, (1.0 + step) / (10.0 + step)) if step else 1.0
    old, new = averaged.state_dict(), network.state_dict()
    floats = [name for name, value in old.items() if value.is_floating_point()]
    torch._foreach_lerp_([old[n] for n in floats], [new[n] for n in floats], share)
    for name in old.keys() - set(floats):
        old[name].copy_(new[name])
