# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames kept on disk, ready to use: a scan is simulated, or read and cropped, once."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from pathlib import Path

import numpy as np

from eloss_perception.errors import ConfigError, DataError
from eloss_perception.files import write_file
from eloss_perception.training.data.frames import CountedSource, Frame

# Magic and version, numbers of points and boxes, stamp of the source.
_HEADER = struct.Struct("<8sqq16s")
_MAGIC = b"ELFRAME1"

_LOG = logging.getLogger(__name__)


class StoredFrames:
    """A source whose frames are written to a folder when they are first asked for.

    What decides all frames names the folder below ``cache``; what decides one frame is in its
    header, so that a frame whose files change is made again. Any number of processes may read and
    write at the same time: a file appears whole or not at all.

    Args:
        source: Makes the frames.
        cache: Folder of all caches.

    Raises:
        ConfigError: If the source is endless.
        DataError: If the folder cannot be written.
    """

    def __init__(self, source: CountedSource, cache: Path) -> None:
        if source.num_frames is None:
            raise ConfigError("an endless source cannot be stored: set num_scans")
        self._source = source
        self._is_full = False
        text = json.dumps(source.settings, indent=2, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = cache / f"frames-{source.settings['source']}-{digest}"
        if not (self.folder / "settings.json").exists():
            write_file(self.folder / "settings.json", text.encode())

    def frame(self, index: int) -> Frame:
        """Reads the frame, after writing it where it is missing or no longer true."""
        path = self.folder / f"{self.name(index)}.frame"
        stamp = self.stamp(index)
        frame = _read(path, stamp)
        if frame is None:
            frame = self._source.frame(index)
            try:
                write_file(path, _encode(frame, stamp))
            except DataError as error:  # A full disk costs time, not the run.
                if not self._is_full:
                    _LOG.warning("scans are made again each time they are needed: %s", error)
                self._is_full = True
        return frame

    @property
    def num_frames(self) -> int | None:
        """As of the source."""
        return self._source.num_frames

    @property
    def settings(self) -> dict[str, str]:
        """As of the source."""
        return self._source.settings

    def name(self, index: int) -> str:
        """As of the source."""
        return self._source.name(index)

    def stamp(self, index: int) -> bytes:
        """As of the source."""
        return self._source.stamp(index)


def _encode(frame: Frame, stamp: bytes) -> bytes:
    """The header, then points, labels and boxes: each aligned to its own item size."""
    header = _HEADER.pack(_MAGIC, len(frame.points), len(frame.boxes), stamp)
    return b"".join(
        [
            header,
            frame.points.astype("<f4").tobytes(),
            frame.labels.astype("<i8").tobytes(),
            frame.boxes.astype("<f4").tobytes(),
        ]
    )


def _read(path: Path, stamp: bytes) -> Frame | None:
    """The frame, its arrays read-only, or None where there is none of this stamp."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < _HEADER.size:
        return None
    magic, num_points, num_boxes, written = _HEADER.unpack_from(content)
    size = _HEADER.size + 16 * num_points + (8 + 28) * num_boxes
    if magic != _MAGIC or written != stamp.ljust(16, b"\0") or len(content) != size:
        return None
    start = _HEADER.size
    points = np.frombuffer(content, "<f4", 4 * num_points, start).reshape(-1, 4)  # (N, 4)
    labels = np.frombuffer(content, "<i8", num_boxes, start + 16 * num_points)
    start += 16 * num_points + 8 * num_boxes
    boxes = np.frombuffer(content, "<f4", 7 * num_boxes, start).reshape(-1, 7)  # (M, 7)
    return Frame(points, boxes, labels)
