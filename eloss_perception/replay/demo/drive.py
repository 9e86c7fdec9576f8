# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The bag that the demo plays: a simulated drive or a KITTI sequence, made once and kept."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from eloss_perception.datasets.kitti.dataset import KittiSequence
from eloss_perception.errors import DataError
from eloss_perception.replay.drives import Progress, write_drive_bag, write_kitti_bag
from eloss_perception.simulation import SIMULATOR_VERSION


def drive_bag(folder: Path, seed: int, num_frames: int, progress: Progress) -> Path:
    """Returns the bag of a simulated drive, made now unless this version made it before.

    Args:
        folder: Holds this one bag and nothing else; an older one is removed.
        seed: Of the drive.
        num_frames: Scans at 10 Hz.
        progress: Told of every frame that is made.
    """
    name = f"drive_seed{seed}_{num_frames}_{SIMULATOR_VERSION}"

    def make(path: Path) -> None:
        from eloss_perception.simulation.drive import simulate_drive

        drive = simulate_drive(seed, num_frames)
        write_drive_bag(drive, path, num_frames=num_frames, progress=progress)

    return _kept(folder, name, make)


def kitti_bag(
    folder: Path, sequence: KittiSequence, max_frames: int | None, progress: Progress
) -> Path:
    """Returns the bag of a KITTI tracking sequence, made now unless its files are unchanged."""
    files = (path for path in sequence.root.glob(f"training/*/{sequence.sequence}*"))
    digest = _fingerprint([*files, *sequence.root.glob(f"training/*/{sequence.sequence}/*")])
    frames = max_frames if max_frames is not None else "all"
    name = f"kitti_{sequence.sequence}_{frames}_{digest}"

    def make(path: Path) -> None:
        write_kitti_bag(sequence, path, max_frames=max_frames, progress=progress)

    return _kept(folder, name, make)


def find_sequence(root: Path) -> KittiSequence:
    """Returns the first tracking sequence below a folder.

    Args:
        root: Holds `training/velodyne/0001/`, or a folder `tracking` that does.

    Raises:
        DataError: There is none.
    """
    for candidate in (root, root / "tracking"):
        sequences = sorted(
            path.name
            for path in (candidate / "training" / "velodyne").glob("[0-9]" * 4)
            if path.is_dir()
        )
        if sequences:
            return KittiSequence(candidate, sequences[0])
    raise DataError(
        f"{root} holds no tracking sequence; expected scans in {root}/training/velodyne/0001/"
    )


def _kept(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    path = folder / name
    if path.is_dir():
        return path
    make(path)
    # A drive takes 300 MB: the one before is not kept beside it.
    for other in folder.iterdir():
        if other != path and (other / "metadata.yaml").is_file():
            shutil.rmtree(other)
    return path


def _fingerprint(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
