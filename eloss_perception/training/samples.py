# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to batches: augment, pillarize, draw targets, stack."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.heads import HeadConfig
from eloss_perception.core.pillars import Pillars, pillarize
from eloss_perception.training.augmentation import AugmentationConfig, augment
from eloss_perception.training.frames import Frame, FrameSource
from eloss_perception.training.targets import Targets, make_targets


class Batch(NamedTuple):
    """A batch of B frames; shapes as in ``PillarNetwork.forward`` and ``make_targets``."""

    points: Tensor
    features: Tensor
    cell_to_pillar: Tensor
    targets: dict[str, Tensor]


class TrainingSamples(Dataset[tuple[Pillars, Targets]]):
    """Sample ``i`` of a training run, a pure function of the run's seed and ``i``.

    Simulating or reading a scan costs more than varying it, so each scan is used ``reuse`` times,
    with other scans in between: blocks of 16 scans are gone through ``reuse`` times each.
    """

    _BLOCK = 16

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
    ) -> None:
        self._source = source
        self._grid = grid
        self._num_classes = num_classes
        self._head = head
        self._augmentation = augmentation
        self._reuse = reuse
        self._seed = seed
        self._length = length
        self._cache: OrderedDict[int, Frame] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Pillars, Targets]:
        block, place = divmod(index, self._BLOCK * self._reuse)
        frame = self._frame(block * self._BLOCK + place % self._BLOCK)
        frame = augment(frame, self._augmentation, np.random.default_rng([self._seed, index]))
        targets = make_targets(frame, self._grid, self._head, self._num_classes)
        return pillarize(frame.points, self._grid), targets

    def _frame(self, index: int) -> Frame:
        if index not in self._cache:
            self._cache[index] = self._source.frame(index)
            while len(self._cache) > self._BLOCK:
                self._cache.popitem(last=False)
        return self._cache[index]


def collate(samples: list[tuple[Pillars, Targets]]) -> Batch:
    """Stacks samples; pillars are listed one after the other and cells point into that list."""
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
    return Batch(
        torch.from_numpy(np.concatenate([p.points for p in pillars])),
        torch.from_numpy(np.concatenate([p.features for p in pillars])),
        torch.from_numpy(cell_to_pillar.astype(np.int64)),
        {name: torch.from_numpy(np.stack([t[name] for t in targets])) for name in targets[0]},
    )
