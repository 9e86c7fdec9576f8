# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a KITTI root keeps what: folders, split lists, images and their size.

The size of an image decides what part of a scan the camera sees.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.datasets.kitti.labels import read_lines
from eloss_perception.errors import DataError, printable

# A frame's name becomes part of a path.
FRAME_ID = re.compile(r"[A-Za-z0-9_-]+")

# The whole scans, and what tools that crop to the camera view write beside or instead of them.
_SCAN_FOLDERS = ("velodyne", "velodyne_reduced")

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
# Start-of-frame markers, which carry the size (ITU-T T.81, table B.1); C4, C8 and CC are none.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# 2D boxes that reach farther beyond twice the principal point are not cut to the image.
_MAX_LABEL_EXTENT = 1.5


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """The folders of one object set.

    Attributes:
        scans: Holds `<frame>.bin`.
        calibrations: Holds `<frame>.txt`.
        labels: Holds `<frame>.txt`; need not exist for a test set.
        images: Holds `<frame>.png`; need not exist.
        is_reduced: Whether the scans hold only what the camera sees.
    """

    scans: Path
    calibrations: Path
    labels: Path
    images: Path
    is_reduced: bool


def find_layout(root: str | Path, split: str = "train") -> ObjectLayout:
    """Finds the folders of an object set.

    The frames are in `training/` or `object/training/` below the root, or in the root itself; the
    split `test` is in `testing/` where there is one, because its frames bear the same numbers.

    Raises:
        DataError: If none of these folders is there.
    """
    root = Path(root)
    part = "testing" if split == "test" and _frame_folders(root, "testing") else "training"
    folders = _frame_folders(root, part)
    if not folders and any((root / name).is_dir() for name in _SCAN_FOLDERS):
        folders = [root]
    if not folders:
        raise DataError(f"{root}: no folder training/; a KITTI root holds training/ and ImageSets/")
    folder = folders[0]
    scans = [folder / name for name in _SCAN_FOLDERS if (folder / name).is_dir()]
    # Without any the first is named by the error of the first scan.
    chosen = scans[0] if scans else folder / _SCAN_FOLDERS[0]
    return ObjectLayout(
        scans=chosen,
        calibrations=folder / "calib",
        labels=folder / "label_2",
        images=folder / "image_2",
        is_reduced=chosen.name == _SCAN_FOLDERS[1],
    )


def read_image_set(root: str | Path, split: str) -> tuple[str, ...]:
    """Reads the list of frames of a split.

    `ImageSets/` is looked for in the root, in its `training/`, in `object/` and beside the root.

    Raises:
        DataError: If the list is missing or empty, a name in it is no frame's, or one is there
            twice.
    """
    root = Path(root)
    folder = _image_sets(root)
    path = folder / f"{split}.txt"
    names = ", ".join(sorted(item.stem for item in folder.glob("*.txt"))) or "none"
    if not FRAME_ID.fullmatch(split):
        raise DataError(f"{printable(split)!r} is no name of a split; there are: {names}")
    advice = f"; it lists a frame's name a line, such as 000000; there are: {names}"
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, "split", advice), start=1):
        if not (frame_id := line.strip()):
            continue
        if not FRAME_ID.fullmatch(frame_id):
            raise DataError(
                f"{path}:{number}: {printable(frame_id)!r} is no frame name; must be the name of "
                "a scan without folder and suffix, such as 000000"
            )
        if frame_id in seen:
            raise DataError(f"{path}:{number}: {frame_id} is in line {seen[frame_id]} already")
        seen[frame_id] = number
    if not seen:
        raise DataError(f"{path}: the split names no frame")
    return tuple(seen)


def _frame_folders(root: Path, part: str) -> list[Path]:
    candidates = (root / part, root / "object" / part)
    return [folder for folder in candidates if folder.is_dir()]


def _image_sets(root: Path) -> Path:
    """Returns the folder with the lists; the root's own where there is none anywhere."""
    for parent in (root, root / "training", root / "object", root.absolute().parent):
        if (parent / "ImageSets").is_dir():
            return parent / "ImageSets"
    return root / "ImageSets"


def find_image(folder: Path, frame_id: str) -> Path | None:
    """Returns the frame's image in one of the formats that KITTI folders come in."""
    for suffix in _IMAGE_SUFFIXES:
        path = folder / f"{frame_id}{suffix}"
        if path.is_file():
            return path
    return None


def read_image_size(path: Path) -> tuple[int, int]:
    """Reads width and height [px] from the header of a PNG or JPEG file, whatever its suffix.

    Raises:
        DataError: If the file cannot be read or is neither.
    """
    try:
        with path.open("rb") as file:
            start = file.read(24)
            if start.startswith(_PNG_SIGNATURE):
                width, height = struct.unpack(">II", start[16:24])
            elif start.startswith(_JPEG_SIGNATURE):
                file.seek(len(_JPEG_SIGNATURE))
                width, height = _jpeg_size(file)
            else:
                raise ValueError("neither PNG nor JPEG")
        if width < 1 or height < 1:
            raise ValueError("no size in its header")
    except (OSError, ValueError, struct.error) as error:
        why = "cut off" if isinstance(error, struct.error) else error
        raise DataError(
            f"{path}: cannot read the image's size: {why}; replace the image, or remove it to have "
            "the size from the calibration and the labels"
        ) from None
    return width, height


def read_calibration(
    path: Path,
    image: Path | None,
    label_extent: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0),
) -> Calibration:
    """Reads a frame's calibration and the size of its image.

    Args:
        path: The calibration file.
        image: The frame's image, where there is one.
        label_extent: Gives the right and lower ends [px] of the 2D boxes of the set; asked where
            there is neither an image nor a calibration of KITTI's own.

    Raises:
        DataError: If a file cannot be read, or the image is not the one that P2 belongs to.
    """
    calibration = Calibration.from_file(path)
    if not calibration.has_camera:
        return calibration
    if image is not None:
        try:
            return calibration.with_image_size(read_image_size(image), "the image's header")
        except DataError as error:
            named = str(error).startswith(str(image))
            raise error if named else DataError(f"{image}: {error}") from None
    if calibration.is_kittis:
        return calibration
    guess = calibration.image_size
    width, height = (
        max(size, int(end) + 1) if end < _MAX_LABEL_EXTENT * size else size
        for size, end in zip(guess, label_extent(), strict=True)
    )
    if (width, height) == guess:
        return calibration
    return calibration.with_image_size((width, height), "the labels' 2D boxes and P2")


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    """Walks the segments up to the first frame header."""
    while True:
        marker = file.read(2)
        while marker[1:] == b"\xff":  # fill bytes
            marker = b"\xff" + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF:
            raise ValueError("a damaged JPEG header")
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD8:  # markers that stand alone
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker[1] in _JPEG_FRAMES:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
