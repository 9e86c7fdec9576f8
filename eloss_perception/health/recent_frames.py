# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a health monitor remembers: the last scan's fingerprints, recent clean frames, slow drift.

Ranges are noisy: no two scans give the same numbers, not even of a static scene. A sector whose
points equal those of the last scan bit for bit is old data, from a driver that hands out a buffer
twice. Nothing else shows that half of a scan is a tenth of a second late.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit
from eloss_perception.detection.points import NEAREST_RETURN
from eloss_perception.health.scan_statistics import NUM_SECTORS, sector_of

MAX_FRAMES = 1000
"""Most frames that are kept: a hundred seconds at 10 Hz."""

# With fewer frames than this their mean is no better than the clean mean.
_MIN_FRAMES = 5
# After so many frames without a clean one the scene has moved on: 3 s at 10 Hz.
_MAX_AGE = 30
# Share of the way that normal values follow in one frame: half of the way takes two minutes.
_DRIFT_RATE = 0.0006

_NEAREST_SQUARE, _FARTHEST_SQUARE = np.float32(NEAREST_RETURN**2), np.float32(1e12)

Fingerprints = npt.NDArray[np.uint64]


def sector_fingerprints(points: npt.NDArray[np.float32]) -> Fingerprints:
    """A number for the points of each sector of the scan; the same for any order of the points.

    Args:
        points: (N, 4) float32 x, y, z [m], intensity: a scan, or a sample of its points that their
            content draws (``detection/points.py``).

    Returns:
        (16,) uint64 sums of hashes of the points; 0 where there are none.
    """
    points = np.ascontiguousarray(points)
    return np.asarray(_sum_hashes(points, points.view(np.uint32)))


def repeated_share(fingerprints: Fingerprints, last: Fingerprints) -> float:
    """Share of the sectors with points that are the same as in the last scan."""
    is_seen = fingerprints != 0
    if not is_seen.any():
        return 0.0
    return float((fingerprints == last)[is_seen].mean())


@njit(error_model="numpy")
def _sum_hashes(points, bits):  # type: ignore[no-untyped-def]
    sums = np.zeros(NUM_SECTORS, np.uint64)
    for i in range(len(points)):
        x, y, z, intensity = points[i, 0], points[i, 1], points[i, 2], points[i, 3]
        # What is no return is the same in every scan, whichever way a driver says it: NaN, for
        # which comparisons are false, infinity or the origin.
        if not (_NEAREST_SQUARE <= x * x + y * y + z * z < _FARTHEST_SQUARE):
            continue
        if not np.isfinite(intensity):
            continue
        sector = sector_of(x, y)
        # Mixing steps of SplitMix64 (Steele et al. 2014), as in detection/pillars.py.
        mixed = np.uint64(bits[i, 0]) << np.uint64(32) | np.uint64(bits[i, 1])
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= np.uint64(bits[i, 2]) << np.uint64(32) | np.uint64(bits[i, 3])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        sums[sector] += mixed ^ (mixed >> np.uint64(31))
    return sums


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
