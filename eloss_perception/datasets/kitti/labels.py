# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI label files: one object a line, in the rectified camera frame.

The format is that of the object development kit's readme: type, truncation, occlusion, alpha, 2D
box, dimensions, location, rotation_y and, for a result, a score. The tracking set puts a frame
number and a track number in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from eloss_perception.datasets.kitti.convert import boxes_to_kitti, kitti_to_boxes
from eloss_perception.datasets.kitti.objects import DONT_CARE, KittiObject, parse_object, reason
from eloss_perception.errors import DataError, printable
from eloss_perception.files import write_file

__all__ = [
    "DONT_CARE",
    "KittiObject",
    "boxes_to_kitti",
    "kitti_to_boxes",
    "read_labels",
    "read_tracking_labels",
    "write_labels",
]


_INTEGER = re.compile(r"-?[0-9]{1,9}")


def read_labels(path: str | Path) -> list[KittiObject]:
    """Read a label or result file; an empty file is a frame without objects.

    Raises:
        DataError: If the file is missing or a line is malformed; names the file and the line.
    """
    path = Path(path)
    objects = []
    for number, line in _numbered_lines(path):
        try:
            objects.append(parse_object(line.split()))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    return objects


def write_labels(path: str | Path, objects: Iterable[KittiObject]) -> None:
    """Write a label or result file with six decimals, replacing it whole or not at all.

    Raises:
        DataError: If the file cannot be written.
    """
    write_file(Path(path), "".join(item.to_line() + "\n" for item in objects))


def read_tracking_labels(path: str | Path) -> dict[int, list[tuple[int, KittiObject]]]:
    """Read a label file of the tracking set.

    Returns:
        For each frame number that occurs: pairs of track number (-1 for `DontCare`) and object.

    Raises:
        DataError: If the file is missing or a line is malformed; names the file and the line.
    """
    path = Path(path)
    frames: dict[int, list[tuple[int, KittiObject]]] = {}
    for number, line in _numbered_lines(path):
        fields = line.split()
        try:
            frame, track = (_parse_integer(field) for field in fields[:2])
            item = parse_object(fields[2:])
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a tracking label: {error}") from None
        frames.setdefault(frame, []).append((track, item))
    return frames


def _parse_integer(field: str) -> int:
    if not _INTEGER.fullmatch(field):
        raise ValueError(f"{printable(field)} is no number of a frame or a track")
    return int(field)


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that hold anything, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows add a mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the labels: {reason(error)}") from error
    return [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
