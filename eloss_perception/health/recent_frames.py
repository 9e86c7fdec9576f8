# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a health monitor remembers of clean frames: the last few, and a slow drift."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_FRAMES = 1000
"""Most frames that are kept: a hundred seconds at 10 Hz."""

# With fewer frames than this their mean is no better than the clean mean.
_MIN_FRAMES = 5
# After so many frames without a clean one the scene has moved on: 3 s at 10 Hz.
_MAX_AGE = 30
# Share of the way that normal values follow in one frame: half of the way takes two minutes.
_DRIFT_RATE = 0.0006


class RecentFrames:
    """Mean readings of the last clean frames, as long as they are recent.

    Attributes:
        frames_ago: Frames since the last clean one.
    """

    def __init__(self, num_frames: int) -> None:
        """Keeps up to ``num_frames`` frames, and never more than `MAX_FRAMES`; 0 keeps none."""
        self._num_kept = min(num_frames, MAX_FRAMES)
        # Frames in the order in which they came, so that their mean is the same however it is
        # taken: (2 * num_kept, R), of which a window of num_kept rows moves down.
        self._rows: npt.NDArray[np.float64] = np.empty((0, 0))
        self._first = self._end = 0
        self.frames_ago = 0

    def add(self, readings: npt.NDArray[np.float64]) -> None:
        """Takes in (R,) readings of a clean frame."""
        self.frames_ago = 0
        if self._num_kept == 0:
            return
        if self._rows.shape[1] != len(readings):
            self._rows = np.empty((2 * self._num_kept, len(readings)))
        if self._end == len(self._rows):
            kept = self._rows[self._first + 1 : self._end]
            self._rows[: len(kept)] = kept
            self._first, self._end = 0, len(kept)
        self._rows[self._end] = readings
        self._end += 1
        self._first = max(self._first, self._end - self._num_kept)

    def age(self) -> None:
        """A frame went by that was not clean."""
        self.frames_ago += 1
        if self.frames_ago > _MAX_AGE:
            self._first = self._end = 0

    def mean(self) -> npt.NDArray[np.float64] | None:
        """(R,) mean of the frames kept; None while there are too few."""
        if self._end - self._first < _MIN_FRAMES:
            return None
        return np.asarray(self._rows[self._first : self._end].mean(axis=0))


class SlowDrift:
    """How far normal values have drifted, within bounds.

    Attributes:
        offset: (R,) what to add to the clean mean.
    """

    def __init__(self, std: npt.NDArray[np.float64], max_drift: float) -> None:
        """Bounds the drift to ``max_drift`` times the (R,) standard deviations."""
        self._bound = max_drift * std
        self.offset = np.zeros(len(std))

    def add(self, deviation: npt.NDArray[np.float64]) -> None:
        """Follows the (R,) deviation of a clean frame from the clean mean."""
        offset = self.offset + _DRIFT_RATE * (deviation - self.offset)
        self.offset = np.clip(offset, -self._bound, self._bound)
