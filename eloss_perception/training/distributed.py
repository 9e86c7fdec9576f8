# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training run in several processes, on one machine or many, as ``torchrun`` starts them.

The settings define the run and torchrun only says who computes it: a step's batch is dealt out over
the processes, its losses are divided by counts over all of them, batch norm sees all of it, and
gradients are averaged. So the same settings give the same network up to the order of summation,
whatever the number of processes, and a run may be resumed with another number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from eloss_perception.errors import ConfigError
from eloss_perception.network.network import PillarNetwork, Tap
from eloss_perception.training.optimization import choose_device


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: Number of this process; 0 writes the run's files.
        size: Number of processes.
        device: Device of this process.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of equally shaped tensors over the processes; no gradient."""
        if self.size == 1:
            return values.detach()
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def normalizer(self, count: Tensor) -> Tensor:
        """Divisor of a process's summed loss, given its own count of positives.

        DDP averages gradients over processes. Dividing by the mean count over processes therefore
        makes the gradient that of the total loss divided by the total count.
        """
        return (self.mean(count) * self.size).clamp(min=1.0) / self.size

    def wait(self) -> None:
        """Returns once every process has called this."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process goes through the context, then all others do."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def parallel(self, network: PillarNetwork) -> nn.Module:
        """``forward_taps`` of the network, as the processes train it together."""
        tapped = TappedNetwork(network)
        if self.size == 1:
            return tapped
        synchronized = synchronize_batch_norm(tapped, self.device)
        return nn.parallel.DistributedDataParallel(synchronized, gradient_as_bucket_view=True)


class TappedNetwork(nn.Module):
    """``forward_taps`` as the ``forward`` that parallel and compiled modules are called by."""

    def __init__(self, network: PillarNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, list[Tap]]:
        """See :meth:`PillarNetwork.forward_taps`."""
        return self.network.forward_taps(*inputs)


def without_averaging(model: nn.Module) -> AbstractContextManager[None]:
    """A context in which gradients add up without being averaged over processes."""
    context: AbstractContextManager[None] = getattr(model, "no_sync", nullcontext)()
    return context


@contextmanager
def join_processes(device: str, batch_size: int, parts: int = 1) -> Iterator[Processes]:
    """Joins the processes that torchrun started, if it did; leaves them at the end.

    Args:
        device: Setting ``device``; with torchrun, ``cuda`` is the GPU of the process's local rank.
        batch_size: Frames of a step, to be dealt out evenly.
        parts: Parts that each process splits its share into.

    Raises:
        ConfigError: If the device does not exist or the batch cannot be dealt out evenly.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % (size * parts):
        raise ConfigError(
            f"batch_size = {batch_size} is no multiple of processes ({size}) times accumulate "
            f"({parts})"
        )
    if size == 1:
        yield Processes(0, 1, choose_device(device))
        return
    chosen = choose_device(device, local_rank=int(os.environ["LOCAL_RANK"]))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, chosen)
    finally:
        dist.destroy_process_group()


def synchronize_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Replaces every batch norm of a network by a synchronised one with the same parameters."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, module in network.named_children():
        if isinstance(module, _BatchNorm):
            setattr(network, name, SynchronizedBatchNorm.from_batch_norm(module))
        else:
            synchronize_batch_norm(module, device)
    return network


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm over the frames of all processes, of (N, C) or (N, C, H, W); N may differ.

    PyTorch's own ``SyncBatchNorm`` runs on GPUs only; on a CPU this does the same.
    """

    @classmethod
    def from_batch_norm(cls, norm: _BatchNorm) -> SynchronizedBatchNorm:
        """Shares the parameters and statistics of a batch norm."""
        shared = cls(norm.num_features, norm.eps, norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
        return shared.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises; in evaluation mode with the running statistics, as any batch norm."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        shape = (1, -1) + (1,) * (values.ndim - 2)
        others = [0, *range(2, values.ndim)]
        own_count = values.new_tensor([values.numel() // values.shape[1]])
        sums = _Total.apply(torch.cat([values.sum(others), own_count]))  # (C + 1,)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        # A second pass: the difference of two large sums would lose the digits that matter.
        variance = _Total.apply((centred * centred).sum(others)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1.0), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape with channels second will do."""


class _Total(torch.autograd.Function):
    """Sum of a tensor over the processes; so is the sum of the gradients its derivative."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Total.forward(ctx, gradients[0])
