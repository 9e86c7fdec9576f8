# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The batches of a run: which samples, in which order, for which process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch.utils.data import DataLoader

from eloss_perception.interrupts import leave_to_parent
from eloss_perception.training.data.samples import Batch, TrainingSamples, collate
from eloss_perception.training.data.sources import TrainingData, open_training_data
from eloss_perception.training.settings import TrainingSettings


def open_data(
    settings: TrainingSettings, progress: Callable[[int], None] = lambda done: None
) -> TrainingData:
    """Opens and checks what the run is trained on; see :func:`open_training_data`.

    Raises:
        ConfigError: If the settings contradict each other.
        DataError: Naming bad files, or frames that are in the validation split too.
    """
    return open_training_data(
        data=settings.data,
        split=settings.split,
        validation_split=settings.validation_split,
        seed=settings.seed,
        lidar=settings.lidar,
        num_scans=settings.num_scans,
        full_turn=settings.full_turn,
        class_names=settings.class_names,
        augmentation=settings.augmentation,
        cache=settings.cache_dir,
        progress=progress,
    )


def load_batches(
    settings: TrainingSettings,
    first_step: int = 0,
    rank: int = 0,
    num_processes: int = 1,
    pin_memory: bool = False,
) -> Iterator[list[Batch]]:
    """A process's batches from ``first_step`` on: for each step, ``accumulate`` of them.

    Step ``s`` takes the samples ``s * batch_size`` and following, dealt out over the processes in
    turn, whoever computes them and whether or not the run was interrupted.

    Args:
        settings: The run.
        first_step: Steps already done.
        rank: This process.
        num_processes: How many share each step.
        pin_memory: Put batches where a GPU fetches them from by itself.

    Raises:
        DataError: If the data cannot be read.
    """
    share = settings.batch_size // num_processes
    indices = range(
        first_step * settings.batch_size + rank, settings.steps * settings.batch_size, num_processes
    )
    loader = DataLoader(
        make_samples(settings),
        batch_size=share // settings.accumulate,
        sampler=indices,
        num_workers=settings.num_workers,
        collate_fn=collate,
        prefetch_factor=4 if settings.num_workers else None,
        pin_memory=pin_memory,
        worker_init_fn=leave_to_parent,
        # Its own generator: the loader's draws must not move the run's.
        generator=torch.Generator().manual_seed(settings.seed),
    )
    return _in_groups(loader, settings.accumulate)


def make_samples(settings: TrainingSettings) -> TrainingSamples:
    """All samples of the run, by index.

    Raises:
        ConfigError, DataError: As of :func:`open_data`.
    """
    frames, objects = open_data(settings)
    return TrainingSamples(
        frames,
        settings.grid.build(settings.training_half_width),
        len(settings.class_names),
        settings.network.head,
        settings.augmentation,
        settings.reuse,
        settings.seed,
        settings.steps * settings.batch_size,
        objects,
    )


def move(batch: Batch, device: torch.device) -> Batch:
    """A batch on another device; a copy to a GPU goes on while the host does."""
    if device.type == "cpu":
        return batch
    points, features, cell_to_pillar = (t.to(device, non_blocking=True) for t in batch[:3])
    targets = {k: v.to(device, non_blocking=True) for k, v in batch.targets.items()}
    return Batch(points, features, cell_to_pillar, targets)


def _in_groups(loader: DataLoader[Batch], size: int) -> Iterator[list[Batch]]:
    batches = iter(loader)
    while group := list(islice(batches, size)):
        yield group
