# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The data of a training run, checked before the run begins."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from eloss_perception.datasets.kitti.check import check_split, require_objects
from eloss_perception.datasets.kitti.dataset import KittiDataset
from eloss_perception.datasets.kitti.leaks import refuse_shared_frames
from eloss_perception.detection.boxes import CLASS_NAMES
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.files import write_file
from eloss_perception.training.data.augmentation import AugmentationConfig
from eloss_perception.training.data.frame_store import StoredFrames
from eloss_perception.training.data.frames import FrameSource, KittiFrames, SimulatedFrames
from eloss_perception.training.data.object_database import ObjectDatabase, build_object_database

# What a simulated HDL-64E scan takes on disk [bytes]: 60,000 points ahead, 120,000 all around.
_FRONT_BYTES, _TURN_BYTES = 1_000_000, 2_000_000

_LOG = logging.getLogger(__name__)


class TrainingData(NamedTuple):
    """Scans to train on, and objects to paste into them where the run does that."""

    frames: FrameSource
    objects: ObjectDatabase | None


def open_training_data(
    *,
    data: Path | None,
    split: str = "train",
    validation_split: str | None = None,
    seed: int = 0,
    lidar: str = "hdl64e",
    num_scans: int | None = None,
    full_turn: bool = False,
    class_names: tuple[str, ...] = CLASS_NAMES,
    augmentation: AugmentationConfig,
    cache: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> TrainingData:
    """Opens the data of a run: a KITTI split, or simulated scans.

    Every file of a split is read and checked once (remembered in the cache until a file changes),
    and none of its frames may be in the validation split. Call it before workers start.

    Args:
        data: KITTI root; None simulates.
        split: List in ``ImageSets/`` to train on.
        validation_split: List that the split must share no frame with; None for no comparison.
        seed: Of the simulation.
        lidar: Simulated sensor.
        num_scans: Simulated scans, each written to the cache once; None simulates without end.
        full_turn: All around instead of the camera view.
        class_names: Names whose index is the label.
        augmentation: Decides whether an object database is needed.
        cache: Folder for cropped and simulated scans and for the object database.
        progress: Called with the number of frames gone through, of the check and of the database.

    Raises:
        ConfigError: If the settings contradict each other.
        DataError: Naming bad files, shared frames, the disk space that is missing, or that no
            object is of a class to be learned.
    """
    if data is None:
        simulated = SimulatedFrames(seed, lidar, num_scans, full_turn)
        if num_scans is None:
            if augmentation.samples_objects:
                raise ConfigError(
                    "augmentation.sampled_objects cuts objects from a finite number of scans: "
                    "set num_scans, or data to a KITTI root"
                )
            return TrainingData(simulated, None)
        frames = StoredFrames(simulated, cache)
        _require_space(frames, num_scans * (_TURN_BYTES if full_turn else _FRONT_BYTES))
    else:
        kitti = KittiFrames(data, split, camera_view=not full_turn, class_names=class_names)
        if validation_split is not None:
            refuse_shared_frames(kitti.dataset, KittiDataset(data, validation_split))
        num_objects = _check_once(kitti, cache, progress)
        require_objects(num_objects, class_names, f"{data}: split {split!r}")
        if not full_turn:
            _LOG.warning("%s: %s", data, kitti.dataset.calibration(kitti.dataset.ids[0]).view)
        frames = StoredFrames(kitti, cache)
    objects = None
    if augmentation.samples_objects:
        if len(augmentation.sampled_objects) > len(class_names):
            raise ConfigError(
                f"augmentation.sampled_objects has {len(augmentation.sampled_objects)} numbers for "
                f"the {len(class_names)} classes {', '.join(class_names)}"
            )
        objects = build_object_database(frames, cache, progress)
    return TrainingData(frames, objects)


def _check_once(
    kitti: KittiFrames, cache: Path, progress: Callable[[int], None]
) -> Mapping[str, int]:
    """Checks a split unless the same files have passed before; the objects of each type in it."""
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
    """Refuses to begin what would fill the disk."""
    stored = sum(path.stat().st_size for path in frames.folder.glob("*.frame"))
    missing = num_bytes - stored - shutil.disk_usage(frames.folder).free
    if missing > 0:
        raise DataError(
            f"{frames.folder}: {num_bytes / 1e9:.1f} GB of scans do not fit, {missing / 1e9:.1f} "
            "GB are missing: lower num_scans or move the cache"
        )
