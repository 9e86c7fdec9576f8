# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How large a frame's image is, which decides what part of a scan the camera sees."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.errors import DataError

_SUFFIXES = (".png", ".jpg", ".jpeg")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
# Start-of-frame markers, which carry the size (ITU-T T.81, table B.1); C4, C8 and CC are none.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# 2D boxes that reach farther beyond twice the principal point are not cut to the image.
_MAX_LABEL_EXTENT = 1.5


def find_image(folder: Path, frame_id: str) -> Path | None:
    """Return the frame's image in one of the formats that KITTI folders come in."""
    for suffix in _SUFFIXES:
        path = folder / f"{frame_id}{suffix}"
        if path.is_file():
            return path
    return None


def read_image_size(path: Path) -> tuple[int, int]:
    """Read width and height [px] from the header of a PNG or JPEG file, whatever its suffix.

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
    """Read a frame's calibration and the size of its image.

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
    """Walk the segments up to the first frame header."""
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
