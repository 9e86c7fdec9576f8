# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to batches: augment, pillarize, draw targets, stack."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor
from torch.utils.data import Dataset

from eloss_perception.detection.boxes import wrap_angle
from eloss_perception.detection.compiled import njit
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import HeadConfig
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.errors import ConfigError
from eloss_perception.training.data.frames import Frame, FrameSource
from eloss_perception.training.data.object_augmentation import move_objects, paste_objects
from eloss_perception.training.data.object_database import MIN_STORED_POINTS, ObjectDatabase
from eloss_perception.training.targets import Targets, make_targets

# Half the horizontal field of view of the crop [deg]; KITTI's camera has 40.
_MIN_HALF_VIEW, _MAX_HALF_VIEW = 38.0, 46.0


class AugmentationConfig(BaseModel):
    """Ranges of the random changes; the default suits simulated and real scans alike.

    Objects are neither pasted nor moved by default: the simulator draws them anew in every scan,
    with correct occlusion, which a pasted object lacks. KITTI's few scans gain from both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_probability: float = Field(0.5, ge=0, le=1)
    rotation_deg: float = Field(35.0, ge=0, le=180, description="± about the sensor, uniform")
    scaling: float = Field(0.04, ge=0, lt=0.5, description="± of 1, uniform")
    translation: float = Field(0.0, ge=0, le=10, description="std of a shift in x and y [m]")
    height_jitter: float = Field(0.08, ge=0, le=1, description="std of the sensor height [m]")
    intensity_gain: float = Field(0.25, ge=0, le=1)
    dropout_probability: float = Field(0.3, ge=0, le=1)
    max_dropout: float = Field(0.5, ge=0, lt=1)
    camera_crop_probability: float = Field(
        0.5, ge=0, le=1, description="share of frames cut to a forward wedge, as KITTI labels are"
    )
    sampled_objects: tuple[NonNegativeInt, ...] = Field(
        (), description="fill each class up to this many objects cut from other scans; () is off"
    )
    sampled_min_points: int = Field(
        MIN_STORED_POINTS, ge=MIN_STORED_POINTS, description="of an object that is pasted"
    )
    sampled_on_ground: bool = Field(
        True, description="raise or lower a pasted object to the ground where it is put"
    )
    object_rotation_deg: float = Field(
        0.0, ge=0, le=180, description="± about each object's own axis, uniform"
    )
    object_translation: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = Field(
        (0.0, 0.0, 0.0), description="std of each object's own shift in x, y and z [m]"
    )

    @property
    def samples_objects(self) -> bool:
        """Whether objects of other scans are pasted, which takes an object database."""
        return any(self.sampled_objects)

    @property
    def moves_objects(self) -> bool:
        """Whether objects are moved one by one."""
        return self.object_rotation_deg > 0 or any(self.object_translation)


def augment(
    frame: Frame,
    config: AugmentationConfig,
    rng: np.random.Generator,
    objects: ObjectDatabase | None = None,
) -> Frame:
    """Draws one variation of a frame.

    Args:
        frame: The scan; not changed.
        config: What is varied, and how much.
        rng: All randomness.
        objects: Objects to paste; without them none are, whatever the configuration says.
    """
    if objects is not None and config.samples_objects:
        frame = paste_objects(
            frame,
            objects,
            config.sampled_objects,
            config.sampled_min_points,
            config.sampled_on_ground,
            rng,
        )
    if config.moves_objects:
        frame = move_objects(frame, config.object_rotation_deg, config.object_translation, rng)
    if rng.random() < config.camera_crop_probability:
        frame = _crop(frame, math.radians(rng.uniform(_MIN_HALF_VIEW, _MAX_HALF_VIEW)))
    frame = _vary_scene(frame, config, rng)
    if rng.random() < config.dropout_probability:
        lost = np.float32(rng.uniform(0.0, config.max_dropout))
        keep = rng.random(len(frame.points), dtype=np.float32) >= lost
        frame = Frame(frame.points[keep], frame.boxes, frame.labels)
    return frame


def _crop(frame: Frame, half_view: float) -> Frame:
    """The wedge of a forward camera: points by their azimuth, objects by their centre's."""
    slope = np.float32(math.tan(half_view))
    points = frame.points[np.abs(frame.points[:, 1]) < slope * frame.points[:, 0]]
    inside = np.abs(frame.boxes[:, 1]) < slope * frame.boxes[:, 0]
    return Frame(points, frame.boxes[inside], frame.labels[inside])


def _vary_scene(frame: Frame, config: AugmentationConfig, rng: np.random.Generator) -> Frame:
    """Flip across x, rotation about z, scaling, shift, sensor height and intensity gain."""
    side = -1.0 if rng.random() < config.flip_probability else 1.0
    angle = math.radians(rng.uniform(-config.rotation_deg, config.rotation_deg))
    scale = 1.0 + rng.uniform(-config.scaling, config.scaling)
    spread = (config.translation, config.translation, config.height_jitter)
    shift = rng.normal(0.0, 1.0, 3) * np.array(spread)
    gain = math.exp(rng.uniform(-config.intensity_gain, config.intensity_gain))
    # Rows of points and of box centres: p' = p @ linear + shift.
    cos, sin = math.cos(angle), math.sin(angle)
    linear = scale * np.array([[cos, sin, 0.0], [-side * sin, side * cos, 0.0], [0.0, 0.0, 1.0]])
    boxes = frame.boxes.copy()
    boxes[:, :3] = frame.boxes[:, :3] @ linear + shift
    boxes[:, 3:6] *= np.float32(scale)
    boxes[:, 6] = wrap_angle(side * frame.boxes[:, 6] + np.float32(angle))
    return Frame(_vary_points(frame.points, linear, shift, gain), boxes, frame.labels)


@njit
def _vary_points(points, linear, shift, gain):  # type: ignore[no-untyped-def]
    """(N, 4) float32 points moved as the boxes are, intensity times ``gain`` within [0, 1]."""
    varied = np.empty(points.shape, np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        varied[i, 0] = x * linear[0, 0] + y * linear[1, 0] + shift[0]
        varied[i, 1] = x * linear[0, 1] + y * linear[1, 1] + shift[1]
        varied[i, 2] = z * linear[2, 2] + shift[2]
        varied[i, 3] = min(max(points[i, 3] * gain, 0.0), 1.0)
    return varied


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
    with other scans in between: each block of scans is repeated ``reuse`` times. A finite source
    is shuffled anew in every epoch.

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
        """The frame at a position of the run; every epoch has an order of its own."""
        if self._num_frames is None:
            return position
        epoch, place = divmod(position, self._num_frames)
        if epoch not in self._orders:
            rng = np.random.default_rng([self._seed, epoch, self._num_frames])
            self._orders[epoch] = rng.permutation(self._num_frames)
            while len(self._orders) > 2:  # a block may span two epochs
                self._orders.popitem(last=False)
        return int(self._orders[epoch][place])


def collate(samples: list[tuple[Pillars, Targets]]) -> Batch:
    """Stacks samples; pillars are listed one after the other and cells point into that list."""
    return as_tensors(collate_arrays(samples))


def as_tensors(batch: Batch | Arrays) -> Batch:
    """A batch as tensors that share the arrays' memory."""
    if isinstance(batch, Batch):
        return batch
    targets = {name: torch.from_numpy(array) for name, array in batch.targets.items()}
    points, features, cells = (torch.from_numpy(array) for array in batch[:3])
    return Batch(points, features, cells, targets)


def collate_arrays(samples: list[tuple[Pillars, Targets]]) -> Arrays:
    """The batch in NumPy, which goes through a pipe instead of shared memory."""
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
