# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the benchmark's scans come from: splits and sequences of KITTI, or the simulator."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiFrames, KittiSequence
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.errors import DataError
from eloss_perception.health.reference import Condition
from eloss_perception.simulation.corruptions import CORRUPTIONS, corrupt
from eloss_perception.simulation.drive import kitti_labels, simulate_drive, simulate_scan
from eloss_perception.simulation.lidar import SimulatedScan

# Scenes of these streams are no other part's: training, export, calibration and evaluation have
# their own.
_SCENE_STREAM, _CALIBRATION_STREAM, _DRIVE_STREAM = 5, 6, 7


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Scans under one name.

    Attributes:
        name: Short, and unique in a run.
        frames: The scans and their labels.
        description: What tells these scans from all others, in words.
        is_sequence: Whether they follow each other in time.
    """

    name: str
    frames: KittiFrames
    description: str
    is_sequence: bool = False


class SimulatedScans:
    """Simulated scans that look like a KITTI root, made when asked for.

    Args:
        num_frames: Number of scans.
        scans: Starts to make all of them, in order.
        keep: Keep them all, for those who come back; without it a scan before the last one asked
            for is made anew.
    """

    def __init__(
        self, num_frames: int, scans: Callable[[], Iterator[SimulatedScan]], keep: bool = True
    ) -> None:
        self.ids = tuple(f"{index:06d}" for index in range(num_frames))
        self._source = scans
        self._keep = keep
        self._calibration = Calibration.synthetic()
        self._labels: dict[int, list[KittiObject]] = {}
        self.release()

    def points(self, frame_id: str) -> NDArray[np.float32]:
        """(N, 4) float32 x, y, z [m], intensity [0, 1] of the full turn."""
        return self._points_of(int(frame_id))

    def calibration(self, frame_id: str) -> Calibration:
        """The simulator's camera, the same for every frame."""
        return self._calibration

    def objects(self, frame_id: str) -> list[KittiObject]:
        """Labels of the objects that the camera sees."""
        index = int(frame_id)
        if index not in self._labels:
            self._points_of(index)
        return self._labels[index]

    def image_path(self, frame_id: str) -> Path | None:
        """None: there are no images."""
        return None

    def release(self) -> None:
        """Forgets the points, but not the labels."""
        self._pending: Iterator[SimulatedScan] | None = None
        self._made = 0
        self._kept: dict[int, NDArray[np.float32]] = {}

    def _points_of(self, index: int) -> NDArray[np.float32]:
        if self._pending is None or (index < self._made and index not in self._kept):
            self.release()
            self._pending = iter(self._source())
        while self._made <= index:
            scan = next(self._pending)
            if not self._keep:
                self._kept.clear()
            self._kept[self._made] = scan.points
            self._labels[self._made] = kitti_labels(scan, self._calibration)
            self._made += 1
        return self._kept[index]


def kitti_splits(root: Path, splits: Sequence[str]) -> list[FrameSource]:
    """Return splits of a KITTI root.

    Raises:
        DataError: If one is missing, has no labels, or a frame is in two of them.
    """
    sources = []
    for split in splits:
        dataset = KittiDataset(root, split)
        digest = _listing(dataset.ids)
        sources.append(FrameSource(split, dataset, f"KITTI split {split} {digest}"))
    names = Counter([*splits, *(i for source in sources for i in source.frames.ids)])
    if repeated := [name for name, count in names.items() if count > 1]:
        raise DataError(f"tested twice: {', '.join(repeated[:5])}; name disjoint splits")
    for source in sources:
        check_labels(source)
    return sources


def check_labels(source: FrameSource) -> None:
    """Refuse frames without a labelled car: there would be no harm to measure.

    Raises:
        DataError: If there is none, or a label file is missing.
    """
    frames = source.frames
    if not any(item.type == "Car" for i in frames.ids for item in frames.objects(i)):
        raise DataError(f"{source.description}: no car is labelled, so no harm can be measured")


def simulated_frames(num_frames: int, seed: int) -> FrameSource:
    """Return labelled full-turn scans of streets that nothing else uses."""
    name = f"{num_frames} simulated scans, seed {seed}"
    return FrameSource("simulated", _scenes(num_frames, seed, _SCENE_STREAM), name)


def calibration_frames(num_frames: int, seed: int) -> FrameSource:
    """Return clean full-turn scans that calibrate the baselines."""
    name = f"{num_frames} simulated calibration scans, seed {seed}"
    scenes = _scenes(num_frames, seed, _CALIBRATION_STREAM, keep=False)
    return FrameSource("calibration", scenes, name)


def simulated_drives(
    num_drives: int, num_frames: int, seed: int, rate_hz: float, first: int = 0, keep: bool = True
) -> list[FrameSource]:
    """Return drives of consecutive scans, each along its own street.

    Args:
        num_drives: Streets.
        num_frames: Scans of each.
        seed: Same seed, same streets.
        rate_hz: Scans per second.
        first: Number of the first street.
        keep: See `SimulatedScans`.
    """
    sources = []
    for drive in range(first, first + num_drives):
        key = np.random.SeedSequence(seed, spawn_key=(_DRIVE_STREAM, drive))
        street = int(key.generate_state(1)[0])

        def scans(street: int = street) -> Iterator[SimulatedScan]:
            return (frame.scan for frame in simulate_drive(street, num_frames, rate_hz))

        description = f"{num_frames} scans of simulated drive {street} at {rate_hz:g} Hz"
        frames = SimulatedScans(num_frames, scans, keep)
        sources.append(FrameSource(f"drive{drive}", frames, description, is_sequence=True))
    return sources


def kitti_sequences(root: Path, names: Sequence[str]) -> list[FrameSource]:
    """Return sequences of a KITTI tracking root.

    Raises:
        DataError: If one is missing or malformed.
    """
    sources = []
    for name in names:
        sequence = KittiSequence(root, name)
        described = f"KITTI tracking sequence {name} {_listing(sequence.ids)}"
        sources.append(FrameSource(f"sequence{name}", sequence, described, is_sequence=True))
    return sources


def _scenes(num_frames: int, seed: int, stream: int, keep: bool = True) -> SimulatedScans:
    def scans() -> Iterator[SimulatedScan]:
        for index in range(num_frames):
            key = np.random.SeedSequence(seed, spawn_key=(stream, index))
            yield simulate_scan(int(key.generate_state(1)[0]))

    return SimulatedScans(num_frames, scans, keep)


def _listing(ids: Sequence[str]) -> str:
    return f"({len(ids)} frames, {ids[0]} to {ids[-1]})"


PointArray = NDArray[np.float32]

# The one severity of a mistake without degree.
_ONLY_SEVERITY = 5


CLEAN = Condition("clean", 0)


def list_conditions(
    names: Sequence[str], severities: Sequence[int], in_sequence: bool = False
) -> list[Condition]:
    """Return clean and the conditions that can be seen.

    A corruption without degree has one condition whatever severities are asked for; one that shows
    only between scans has none where each scan stands for itself.
    """
    conditions = [CLEAN]
    for name in names:
        corruption = CORRUPTIONS[name]
        if corruption.needs_previous and not in_sequence:
            continue
        chosen = severities if corruption.has_degree else (_ONLY_SEVERITY,)
        conditions += [Condition(name, severity) for severity in chosen]
    return conditions


def is_repetition(condition: Condition) -> bool:
    """Return whether a condition is the scan before, over and over."""
    return condition.severity > 0 and CORRUPTIONS[condition.name].needs_previous


def apply_condition(
    condition: Condition,
    points: PointArray,
    seed: int,
    source: str,
    index: int,
    previous: PointArray | None = None,
    in_sequence: bool = False,
) -> PointArray:
    """Return the scan under a condition.

    Args:
        condition: What to do.
        points: (N, 4) float32 clean scan.
        seed: Of the benchmark.
        source: Name of the frame's source; no two are corrupted alike.
        index: Of the frame; each is corrupted differently, but for what persists in a sequence.
        previous: The clean scan before it, in a sequence.
        in_sequence: Whether the frames follow each other.
    """
    if condition.severity == 0:
        return points
    if in_sequence and CORRUPTIONS[condition.name].is_persistent:
        index = 0
    # Python's own hash of a string differs from run to run.
    names = (zlib.crc32(text.encode()) for text in (source, condition.name))
    key = [seed, *names, condition.severity, index]
    drawn = int(np.random.SeedSequence(key).generate_state(1)[0])
    return corrupt(points, condition.name, condition.severity, drawn, previous)
