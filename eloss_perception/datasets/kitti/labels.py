# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI labels: one object a line, in the rectified camera frame.

The format is that of the object development kit's readme: type, truncation, occlusion, alpha, 2D
box, dimensions, location, rotation_y and, for a result, a score. The tracking set puts a frame
number and a track number in front.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eloss_perception.errors import DataError, printable
from eloss_perception.files import write_file

DONT_CARE = "DontCare"

# Columns of a label; a result has the score as well.
_NUM_COLUMNS = 15

# KITTI's end at 3; other sets have levels of their own, and -1 or -10 for unknown.
_MAX_OCCLUSION = 100

_INTEGER = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class KittiObject:
    """One annotated or detected object, as a KITTI file states it.

    Attributes:
        type: `Car`, `Van`, `Truck`, `Pedestrian`, `Person_sitting`, `Cyclist`, `Tram`, `Misc` or
            `DontCare`.
        truncation: Share of the object outside the image, 0 to 1; -1 where unknown.
        occlusion: 0 fully visible, 1 partly occluded, 2 largely occluded, 3 unknown; -1 in a
            result.
        alpha: Observation angle [rad]; -10 where unknown.
        bbox2d: left, top, right, bottom [px] in the left colour image.
        dimensions: height, width, length [m]; -1 where unknown.
        location: x, y, z [m] of the centre of the bottom face, rectified camera frame.
        rotation_y: Rotation [rad] about the camera's y axis (down); -10 where unknown.
        score: Confidence of a result; None for a label.
    """

    type: str
    truncation: float
    occlusion: int
    alpha: float
    bbox2d: tuple[float, float, float, float]
    dimensions: tuple[float, float, float]
    location: tuple[float, float, float]
    rotation_y: float
    score: float | None = None

    @property
    def has_box(self) -> bool:
        """Whether the object has a 3D box; a `DontCare` region has none."""
        return not self.is_dont_care and min(self.dimensions) >= 0.0

    @property
    def is_dont_care(self) -> bool:
        """Whether it is a region of the image without labels, not an object."""
        return self.type.lower() == DONT_CARE.lower()

    @property
    def has_bbox2d(self) -> bool:
        """Whether the 2D box has an area; sets that were labelled in 3D alone have zeros or -1."""
        left, top, right, bottom = self.bbox2d
        return right > left and bottom > top

    def to_line(self) -> str:
        """Returns the object as a line of a label file, without the line end."""
        numbers = [self.alpha, *self.bbox2d, *self.dimensions, *self.location, self.rotation_y]
        if self.score is not None:
            numbers.append(self.score)
        fields = [f"{self.type} {self.truncation:.6f} {self.occlusion:d}"]
        return " ".join(fields + [f"{number:.6f}" for number in numbers])


def parse_object(fields: Sequence[str]) -> KittiObject:
    """Reads the 15 columns of a label or the 16 of a result.

    Raises:
        ValueError: If the number of columns is another or one is not a finite number; the text says
            which.
    """
    if len(fields) not in (_NUM_COLUMNS, _NUM_COLUMNS + 1):
        raise ValueError(
            f"{len(fields)} columns, must be {_NUM_COLUMNS} (label) or {_NUM_COLUMNS + 1} (result)"
        )
    values = []
    for column, field in enumerate(fields[1:], start=2):
        try:
            value = parse_number(field)
        except ValueError:
            raise ValueError(f"column {column} is {printable(field)!r}, must be a number") from None
        if not math.isfinite(value):
            raise ValueError(f"column {column} is {printable(field)!r}, must be finite")
        values.append(value)
    if not values[1].is_integer() or abs(values[1]) > _MAX_OCCLUSION:
        raise ValueError(
            f"column 3 (occlusion) is {printable(fields[2])!r}, must be an integer, 0 to 3"
        )
    return KittiObject(
        type=fields[0],
        truncation=values[0],
        occlusion=int(values[1]),
        alpha=values[2],
        bbox2d=(values[3], values[4], values[5], values[6]),
        dimensions=(values[7], values[8], values[9]),
        location=(values[10], values[11], values[12]),
        rotation_y=values[13],
        score=values[14] if len(values) == _NUM_COLUMNS else None,
    )


def parse_number(text: str) -> float:
    """Reads a number as KITTI's own programs would: no underscores and no digits but ASCII's.

    Raises:
        ValueError: If it is none.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"{printable(text)} is no number")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{printable(text)} is no number") from None


def read_labels(path: str | Path) -> list[KittiObject]:
    """Reads a label or result file; an empty file is a frame without objects.

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
    """Writes a label or result file with six decimals, replacing it whole or not at all.

    Raises:
        DataError: If the file cannot be written.
    """
    write_file(Path(path), "".join(item.to_line() + "\n" for item in objects))


def read_tracking_labels(path: str | Path) -> dict[int, list[tuple[int, KittiObject]]]:
    """Reads a label file of the tracking set.

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
    """Returns the lines that hold anything, with their numbers from 1."""
    lines = read_lines(path, "labels")
    return [(n, line) for n, line in enumerate(lines, start=1) if line.strip()]


def read_lines(path: Path, what: str, advice: str = "") -> list[str]:
    """Returns the lines of a text file.

    Raises:
        DataError: If it cannot be read; says what it should have held, and the advice.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()  # editors on Windows add a mark
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot read the {what}: it is not UTF-8 text{advice}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot read the {what}: {error.strerror}{advice}") from error
