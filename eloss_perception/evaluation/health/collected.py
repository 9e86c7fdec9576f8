# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector said of the frames of one source under one condition, as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import DataError
from eloss_perception.files import new_file


@dataclass(frozen=True, slots=True)
class Collected:
    """F frames.

    Attributes:
        readings: (F, R) float64 what the health reference judges.
        layer_entropy: (F, L) float64.
        layer_log_rms: (F, L) float64.
        num_points: (F,) float64 points of the scan.
        range_histogram: (F, B) float64 points in each range bin.
        morans_i: (F, 2) float64 autocorrelation of log range and of intensity.
        confidence: (F, 2) float64: mean score of the boxes, and mean over the map of the greatest
            class probability.
        boxes: (M, 7) float32 boxes of all frames, LiDAR frame.
        box_scores: (M,) float32.
        box_labels: (M,) int64.
        num_boxes: (F,) int64 how many of them belong to each frame.
    """

    readings: NDArray[np.float64]
    layer_entropy: NDArray[np.float64]
    layer_log_rms: NDArray[np.float64]
    num_points: NDArray[np.float64]
    range_histogram: NDArray[np.float64]
    morans_i: NDArray[np.float64]
    confidence: NDArray[np.float64]
    boxes: NDArray[np.float32]
    box_scores: NDArray[np.float32]
    box_labels: NDArray[np.int64]
    num_boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.num_boxes)

    def take(self, frames: NDArray[np.int64] | NDArray[np.bool_]) -> Collected:
        """Return some frames without their boxes, which only whole sources are scored by."""
        empty = slice(0, 0)
        return Collected(
            **{
                item.name: getattr(self, item.name)[empty if item.name in _BOXES else frames]
                for item in fields(self)
                if item.name != "num_boxes"
            },
            num_boxes=np.zeros(len(self.num_boxes[frames]), np.int64),
        )

    def save(self, path: Path) -> None:
        """Write the arrays; a crash leaves no half a file under the name.

        Raises:
            DataError: If the file cannot be written.
        """
        with new_file(path) as file:
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Collected:
        """Read what `save` wrote.

        Raises:
            DataError: If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{item.name: arrays[item.name] for item in fields(cls)})
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(f"{path}: cannot be read, delete it: {error}") from error


_BOXES = frozenset({"boxes", "box_scores", "box_labels"})


def join(parts: Sequence[Collected]) -> Collected:
    """Return the frames of several sources, one after the other."""
    return Collected(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(Collected)
        }
    )


def stack(frames: Iterable[dict[str, NDArray[np.generic]]]) -> Collected:
    """Return single frames, each an array a field without the first axis, as one."""
    rows = list(frames)
    stacked = {}
    for item in fields(Collected):
        if item.name == "num_boxes":
            continue
        values = [row[item.name] for row in rows]
        stacked[item.name] = np.concatenate(values) if item.name in _BOXES else np.stack(values)
    lengths = np.array([len(row["boxes"]) for row in rows], np.int64)
    return Collected(**stacked, num_boxes=lengths)
