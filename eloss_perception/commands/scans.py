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
    if (path / "training").is_dir():
        from eloss_perception.kitti import read_image_set

        return [path / "training" / "velodyne" / f"{i}.bin" for i in read_image_set(path, split)]
    files = sorted(path.glob("*.bin"))
    if not files:
        raise DataError(f"{path}: neither .bin files nor a KITTI root (training/, ImageSets/)")
    return files


def _scan_file(path: Path) -> ScanFile:
    if path.parent.name != "velodyne":
        return ScanFile(path, None, None, None)
    root = path.parent.parent
    return ScanFile(
        path,
        calibration=_existing(root / "calib" / f"{path.stem}.txt"),
        labels=_existing(root / "label_2" / f"{path.stem}.txt"),
        image=_existing(root / "image_2" / f"{path.stem}.png")
        or _existing(root / "image_2" / f"{path.stem}.jpg"),
    )


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
