# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finding the scans that a command line names, and what lies beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eloss_perception.errors import DataError


class ScanFile(NamedTuple):
    """One raw scan and the files that KITTI's layout keeps beside it, where they exist."""

    path: Path
    calibration: Path | None
    labels: Path | None
    image: Path | None

    @property
    def name(self) -> str:
        """What its results are called."""
        return self.path.stem


def find_scans(paths: Sequence[Path], split: str) -> list[ScanFile]:
    """Return the scans of `.bin` files, of folders of them and of splits of KITTI roots.

    Raises:
        DataError: If a path holds no scan, or two scans would write the same results.
    """
    scans: list[ScanFile] = []
    for path in paths:
        scans.extend(_scan_file(file) for file in _files(path, split))
    seen: dict[str, Path] = {}
    for scan in scans:
        if scan.name in seen:
            raise DataError(
                f"{seen[scan.name]} and {scan.path} would write the same results; "
                "detect in them separately"
            )
        seen[scan.name] = scan.path
    return scans


def _files(path: Path, split: str) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_file():
        return [path]
    if any((path / name).is_dir() for name in ("training", "testing", "object/training")):
        from eloss_perception.kitti import KittiDataset

        dataset = KittiDataset(path, split)
        return [dataset.scan_path(frame_id) for frame_id in dataset.ids]
    files = sorted(path.glob("*.bin"))
    if not files:
        raise DataError(f"{path}: neither .bin files nor a KITTI root (training/, ImageSets/)")
    return files


def _scan_file(path: Path) -> ScanFile:
    if path.parent.name not in ("velodyne", "velodyne_reduced"):
        return ScanFile(path, None, None, None)
    from eloss_perception.kitti.images import find_image

    root = path.parent.parent
    return ScanFile(
        path,
        calibration=_existing(root / "calib" / f"{path.stem}.txt"),
        labels=_existing(root / "label_2" / f"{path.stem}.txt"),
        image=find_image(root / "image_2", path.stem),
    )


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
