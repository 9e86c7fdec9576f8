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
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from eloss_perception.errors import ConfigError
from eloss_perception.training.batch_norm import synchronize_batch_norm
from eloss_perception.training.devices import choose_device


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: Number of this process; 0 writes the run's files.
        size: How many there are.
        device: What this one computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of equally shaped tensors over the processes; no gradient."""
        if self.size == 1:
            return values.detach()
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def normalizer(self, count: Tensor) -> Tensor:
        """What a process divides the sum of a loss by, given its own count of positives.

        DDP averages gradients over processes. Dividing by the mean count over processes therefore
        makes the gradient that of the total loss divided by the total count.
        """
        return (self.mean(count) * self.size).clamp(min=1.0) / self.size

    def wait(self) -> None:
        """Returns once every process has come here."""
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

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network as the processes train it together: the same parameters, wrapped."""
        if self.size == 1:
            return network
        network = synchronize_batch_norm(network, self.device)
        return nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)


@contextmanager
def join_processes(device: str, batch_size: int, parts: int = 1) -> Iterator[Processes]:
    """Joins the processes that torchrun started, if it did; leaves them at the end.

    Args:
        device: Setting ``device``; with torchrun, ``cuda`` is the GPU of the process's local rank.
        batch_size: Frames of a step, to be dealt out evenly.
        parts: That each process splits its share into.

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
