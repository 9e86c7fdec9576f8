# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The batches of a run: which samples, in which order, for which process."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch.utils.data import DataLoader

from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.errors import DataError, ElossError
from eloss_perception.interrupts import leave_to_parent
from eloss_perception.training.data.samples import (
    Batch,
    TrainingSamples,
    as_tensors,
    collate,
    collate_arrays,
)
from eloss_perception.training.data.sources import TrainingData, open_training_data
from eloss_perception.training.settings import TrainingSettings

# Batches that a worker prepares ahead.
_PREFETCHED = 4

# Where PyTorch's workers put tensors; 64 MB in a container unless it asks for more.
_SHARED_MEMORY = "/dev/shm"

# Of a batch's index of pillars (int64) and its targets, a few numbers a cell.
_BYTES_PER_CELL = 8 + 4 * 16

_LOG = logging.getLogger(__name__)


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
    fits = _fit_shared_memory(settings, share // settings.accumulate)
    indices = range(
        first_step * settings.batch_size + rank, settings.steps * settings.batch_size, num_processes
    )
    loader = DataLoader(
        make_samples(settings),
        batch_size=share // settings.accumulate,
        sampler=indices,
        num_workers=settings.num_workers,
        collate_fn=collate if fits else collate_arrays,
        prefetch_factor=_PREFETCHED if settings.num_workers else None,
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
    try:
        batches = iter(loader)
        try:
            while group := [as_tensors(batch) for batch in islice(batches, size)]:
                yield group
        finally:
            # At once: an error's traceback keeps the loader, and with it workers that heed no
            # signal, for which the process would wait at its end.
            if loader.num_workers:
                batches._shutdown_workers()
    except ElossError as error:
        # A worker's error arrives with the worker's traceback in front of its text.
        text = str(error).rsplit(f"{type(error).__name__}: ", 1)[-1]
        raise type(error)(" ".join(text.split())) from None
    except (RuntimeError, OSError) as error:
        if isinstance(error, OSError) or "DataLoader worker" in str(error):
            raise DataError(
                f"the workers that prepare samples failed: {' '.join(str(error).split())}; memory "
                f"or {_SHARED_MEMORY} is short, or one was killed: lower num_workers (0 needs "
                "neither)"
            ) from None
        raise


def _fit_shared_memory(settings: TrainingSettings, frames_per_batch: int) -> bool:
    """Whether the batches under way fit where workers share tensors; says so if not.

    A page of shared memory that cannot be had kills the worker with a bus error.
    """
    if not settings.num_workers:
        return True
    grid = settings.grid.build(settings.training_half_width)
    num_values = grid.max_pillars * (
        grid.max_points_per_pillar * NUM_POINT_FEATURES + NUM_PILLAR_FEATURES
    )
    num_cells = grid.num_x * grid.num_y
    frame_bytes = 4 * num_values + _BYTES_PER_CELL * num_cells
    num_batches = settings.num_workers * _PREFETCHED + 2  # and those in the trainer's hands
    needed = frames_per_batch * num_batches * frame_bytes
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        free = 0
    if needed <= free:
        return True
    _LOG.warning(
        "%s has %.0f MB free and batches may need %.0f: they go through pipes, which is slower "
        "(in a container, --shm-size gives more)",
        _SHARED_MEMORY,
        free / 1e6,
        needed / 1e6,
    )
    return False
