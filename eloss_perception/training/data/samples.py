# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to batches: augment, pillarize, draw targets, stack."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import HeadConfig
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.errors import ConfigError
from eloss_perception.training.data.augmentation import AugmentationConfig, augment
from eloss_perception.training.data.frames import Frame, FrameSource
from eloss_perception.training.data.object_database import ObjectDatabase
from eloss_perception.training.targets import Targets, make_targets


class Batch(NamedTuple):
    """A batch of B frames; shapes as in ``PillarNetwork.forward`` and ``make_targets``."""

    points: Tensor
    features: Tensor
    cell_to_pillar: Tensor
    targets: dict[str, Tensor]


class Arrays(NamedTuple):
    """A batch before it is tensors."""

    points: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    cell_to_pillar: npt.NDArray[np.int64]
    targets: Targets


class TrainingSamples(Dataset[tuple[Pillars, Targets]]):
    """Sample ``i`` of a training run, a pure function of the run's seed and ``i``.

    Simulating or reading a scan costs more than varying it, so each scan is used ``reuse`` times,
    with other scans in between: blocks of scans are gone through ``reuse`` times each. A source of
    so many frames is gone through in another order every time.

    Args:
        source: Labelled scans.
        grid: The pillar grid.
        num_classes: Number of classes.
        head: The network's head, which decides what targets are.
        augmentation: How a scan is varied.
        reuse: Variations drawn of each scan before the next block.
        seed: Of the run.
        length: Number of samples.
        objects: Objects of the training split; needed where the augmentation pastes some.
        block: Scans in a block. A multiple of batch size times workers keeps every scan in the
            worker that made it.

    Raises:
        ConfigError: If the augmentation pastes objects and there are none to paste.
    """

    def __init__(
        self,
        source: FrameSource,
        grid: PillarGrid,
        num_classes: int,
        head: HeadConfig,
        augmentation: AugmentationConfig,
        reuse: int,
        seed: int,
        length: int,
        objects: ObjectDatabase | None = None,
        block: int = 96,
    ) -> None:
        if augmentation.samples_objects and objects is None:
            raise ConfigError(
                "augmentation.sampled_objects needs an object database: a KITTI root, or num_scans"
            )
        self._source = source
        self._num_frames: int | None = getattr(source, "num_frames", None)
        self._grid = grid
        self._num_classes = num_classes
        self._head = head
        self._augmentation = augmentation
        self._reuse = reuse
        self._seed = seed
        self._length = length
        self._objects = objects
        self._block = block
        self._held: dict[int, Frame] = {}
        self._held_block = -1
        self._orders: OrderedDict[int, npt.NDArray[np.int64]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Pillars, Targets]:
        frame = self.frame(index)
        targets = make_targets(frame, self._grid, self._head, self._num_classes)
        return pillarize(frame.points, self._grid), targets

    def frame(self, index: int) -> Frame:
        """The varied scan that sample ``index`` is made of."""
        rng = np.random.default_rng([self._seed, index])
        return augment(self._scan(index), self._augmentation, rng, self._objects)

    def _scan(self, index: int) -> Frame:
        """The scan of a sample, kept until the next block where it is used again."""
        block, place = divmod(index, self._block * self._reuse)
        if block != self._held_block:
            self._held.clear()
            self._held_block = block
        position = block * self._block + place % self._block
        if position not in self._held:
            scan = self._source.frame(self._shuffled(position))
            if self._reuse == 1:
                return scan
            self._held[position] = scan
        return self._held[position]

    def _shuffled(self, position: int) -> int:
        """The frame at a position of the run: each round over the source in an order of its own."""
        if self._num_frames is None:
            return position
        epoch, place = divmod(position, self._num_frames)
        if epoch not in self._orders:
            rng = np.random.default_rng([self._seed, epoch, self._num_frames])
            self._orders[epoch] = rng.permutation(self._num_frames)
            while len(self._orders) > 2:  # a block may lie across the end of a round
                self._orders.popitem(last=False)
        return int(self._orders[epoch][place])


def collate(samples: list[tuple[Pillars, Targets]]) -> Batch:
    """Stacks samples; pillars are listed one after the other and cells point into that list."""
    return as_tensors(collate_arrays(samples))


def as_tensors(batch: Batch | Arrays) -> Batch:
    """A batch of :func:`collate_arrays` as tensors of the same memory; one of tensors as it is."""
    if isinstance(batch, Batch):
        return batch
    targets = {name: torch.from_numpy(array) for name, array in batch.targets.items()}
    points, features, cells = (torch.from_numpy(array) for array in batch[:3])
    return Batch(points, features, cells, targets)


def collate_arrays(samples: list[tuple[Pillars, Targets]]) -> Arrays:
    """What :func:`collate` gives, in NumPy: what goes through a pipe instead of shared memory."""
    pillars = [sample[0] for sample in samples]
    targets = [sample[1] for sample in samples]
    num_pillars = [len(p.points) for p in pillars]
    offsets = np.cumsum([0, *num_pillars])
    cell_to_pillar = np.stack(
        [
            np.where(p.cell_to_pillar == count, offsets[-1], p.cell_to_pillar + offset)
            for p, count, offset in zip(pillars, num_pillars, offsets, strict=False)
        ]
    )
    return Arrays(
        np.concatenate([p.points for p in pillars]),
        np.concatenate([p.features for p in pillars]),
        cell_to_pillar.astype(np.int64),
        {name: np.stack([t[name] for t in targets]) for name in targets[0]},
    )
