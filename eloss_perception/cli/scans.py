# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finding the scans that a command line names, what lies beside them, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eloss_perception.cli.terminal import warn
from eloss_perception.errors import CloudError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eloss_perception.detection.sensors import SensorModel


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


def read_scan(path: Path, sensor: SensorModel) -> NDArray[np.float32]:
    """Reads a scan of any format.

    Args:
        path: A `.bin` file of float32 records; or a `.pcd`, `.ply` or `.npy` file, whose fields
            are looked for as in a message of the sensor's driver. Unnamed columns of the last are
            x, y, z, intensity.
        sensor: What measured it.

    Returns:
        (N, 4) float32 x, y, z [m] in the network frame and intensity in [0, 1].

    Raises:
        DataError: The file cannot be read or is not what the sensor writes.
    """
    from eloss_perception.datasets import cloud_files
    from eloss_perception.datasets.scan_files import (
        SUFFIXES,
        coordinate_fault,
        read_content,
        read_scan_file,
    )
    from eloss_perception.detection.points import intensity_fault
    from eloss_perception.ros.convert import points_from_msg

    if path.suffix.lower() not in SUFFIXES[1:]:
        points = read_scan_file(path, sensor)
        if fault := intensity_fault(points, sensor):
            warn(f"{path}: {fault}")
        return points
    content = read_content(path)
    try:
        if path.suffix.lower() == ".pcd":
            cloud = cloud_files.read_pcd(content)
        elif path.suffix.lower() == ".ply":
            cloud = cloud_files.read_ply(content)
        else:
            cloud = cloud_files.read_npy(content, next(iter(sensor.intensity_fields), "intensity"))
        points = points_from_msg(cloud, sensor)
    except CloudError as error:
        raise DataError(f"{path}: {error}") from None
    if fault := coordinate_fault(points) or intensity_fault(points, sensor):
        raise DataError(f"{path}: {fault}")
    return points


def find_scans(paths: Sequence[Path], split: str) -> list[ScanFile]:
    """Returns the scans of files, of folders of them and of splits of KITTI roots.

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
        from eloss_perception.datasets.kitti import KittiDataset

        dataset = KittiDataset(path, split)
        return [dataset.scan_path(frame_id) for frame_id in dataset.ids]
    from eloss_perception.datasets.scan_files import SUFFIXES

    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        suffixes = ", ".join(SUFFIXES)
        raise DataError(f"{path}: neither {suffixes} nor a KITTI root (training/, ImageSets/)")
    return files


def _scan_file(path: Path) -> ScanFile:
    if path.parent.name not in ("velodyne", "velodyne_reduced"):
        return ScanFile(path, None, None, None)
    from eloss_perception.datasets.kitti.layout import find_image

    root = path.parent.parent
    return ScanFile(
        path,
        calibration=_existing(root / "calib" / f"{path.stem}.txt"),
        labels=_existing(root / "label_2" / f"{path.stem}.txt"),
        image=find_image(root / "image_2", path.stem),
    )


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
