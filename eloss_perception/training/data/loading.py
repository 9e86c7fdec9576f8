# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The data of a run, checked before it begins, and its batches: which samples, in which order."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from eloss_perception.datasets.kitti.check import check_split, refuse_shared_frames, require_objects
from eloss_perception.datasets.kitti.dataset import KittiDataset
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.errors import ConfigError, DataError, ElossError
from eloss_perception.files import write_file
from eloss_perception.interrupts import leave_to_parent
from eloss_perception.training.data.frames import (
    FrameSource,
    KittiSplit,
    SimulatedFrames,
    StoredFrames,
)
from eloss_perception.training.data.object_database import ObjectDatabase, build_object_database
from eloss_perception.training.data.samples import (
    Batch,
    TrainingSamples,
    as_tensors,
    collate,
    collate_arrays,
)
from eloss_perception.training.settings import TrainingSettings

# Size of a simulated HDL-64E scan on disk [bytes]: 60,000 points ahead, 120,000 all around.
_FRONT_BYTES, _SWEEP_BYTES = 1_000_000, 2_000_000

# Batches that a worker prepares ahead.
_PREFETCHED = 4

# Where PyTorch's workers put tensors; 64 MB in a container unless it asks for more.
_SHARED_MEMORY = "/dev/shm"

# Of a batch's index of pillars (int64) and its targets, a few numbers a cell.
_BYTES_PER_CELL = 8 + 4 * 16

_LOG = logging.getLogger(__name__)


class TrainingData(NamedTuple):
    """Scans to train on, and objects to paste into them where the run does that."""

    frames: FrameSource
    objects: ObjectDatabase | None


def open_data(
    settings: TrainingSettings, progress: Callable[[int], None] = lambda done: None
) -> TrainingData:
    """Opens the data of a run: a KITTI split, or simulated scans.

    Every file of a split is read and checked once (remembered in the cache until a file changes),
    and none of its frames may be in the validation split. Call it before workers start.

    Args:
        settings: The run.
        progress: Called with the number of frames done, by the check and by the object database.

    Raises:
        ConfigError: If the settings contradict each other.
        DataError: Naming bad files, shared frames, the disk space that is missing, or that no
            object is of a class to be learned.
    """
    cache, class_names = settings.cache_dir, settings.class_names
    sampled = settings.augmentation.sampled_objects
    samples_objects = settings.augmentation.samples_objects
    if settings.data is None:
        simulated = SimulatedFrames(
            settings.seed, settings.lidar, settings.num_scans, settings.full_turn
        )
        if settings.num_scans is None:
            if samples_objects:
                raise ConfigError(
                    "augmentation.sampled_objects cuts objects from a finite number of scans: "
                    "set num_scans, or data to a KITTI root"
                )
            return TrainingData(simulated, None)
        frames = StoredFrames(simulated, cache)
        scan_bytes = _SWEEP_BYTES if settings.full_turn else _FRONT_BYTES
        _require_space(frames, settings.num_scans * scan_bytes)
    else:
        frames = StoredFrames(_open_kitti(settings, settings.data, progress), cache)
    if not samples_objects:
        return TrainingData(frames, None)
    if len(sampled) > len(class_names):
        raise ConfigError(
            f"augmentation.sampled_objects has {len(sampled)} numbers for the {len(class_names)} "
            f"classes {', '.join(class_names)}"
        )
    return TrainingData(frames, build_object_database(frames, cache, progress))


def _open_kitti(
    settings: TrainingSettings, root: Path, progress: Callable[[int], None]
) -> KittiSplit:
    """The frames of a KITTI split, checked."""
    class_names = settings.class_names
    camera_view = not settings.full_turn
    kitti = KittiSplit(root, settings.split, camera_view=camera_view, class_names=class_names)
    if settings.validation_split is not None:
        refuse_shared_frames(kitti.dataset, KittiDataset(root, settings.validation_split))
    num_objects = _check_once(kitti, settings.cache_dir, progress)
    require_objects(num_objects, class_names, f"{root}: split {settings.split!r}")
    if camera_view:
        _LOG.warning("%s: %s", root, kitti.dataset.calibration(kitti.dataset.ids[0]).view)
    return kitti


def _check_once(
    kitti: KittiSplit, cache: Path, progress: Callable[[int], None]
) -> Mapping[str, int]:
    """Checks a split unless the same files have passed before; returns its objects by type."""
    digest = hashlib.blake2b(str(kitti.dataset.layout.scans.resolve()).encode(), digest_size=8)
    try:
        for index in range(kitti.num_frames):
            digest.update(kitti.name(index).encode() + b"\0" + kitti.stamp(index))
    except DataError:
        # A file is missing; the check lists all that are.
        check_split(kitti.dataset, progress=progress)
        raise
    passed = cache / f"checked-2-{digest.hexdigest()}.json"
    try:
        counts: dict[str, int] = json.loads(passed.read_bytes())
    except (OSError, ValueError):
        counts = check_split(kitti.dataset, progress=progress)
        write_file(passed, json.dumps(counts).encode())
    return counts


def _require_space(frames: StoredFrames, num_bytes: int) -> None:
    """Refuses a run whose scans would fill the disk."""
    stored = sum(path.stat().st_size for path in frames.folder.glob("*.frame"))
    missing = num_bytes - stored - shutil.disk_usage(frames.folder).free
    if missing > 0:
        raise DataError(
            f"{frames.folder}: {num_bytes / 1e9:.1f} GB of scans do not fit, {missing / 1e9:.1f} "
            "GB are missing: lower num_scans or move the cache"
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
        # Its own generator: the loader's draws must not advance the run's.
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
            # At once: an error's traceback keeps the loader alive, and with it workers that
            # ignore signals, for which the process would wait at its end.
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
    """Whether prefetched batches fit into shared memory; logs a warning if not.

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
    num_batches = settings.num_workers * _PREFETCHED + 2  # and those that the trainer holds
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
