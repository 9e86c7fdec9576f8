# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether scans can tell what clean input looks like: enough of them, of a drive, all alike clean.

That all of them are disturbed in the same way cannot be seen from them: it is what they call clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import DataError
from eloss_perception.health.reference import HealthReference

Array = npt.NDArray[np.float64]

# With fewer frames than this neither where normal is nor how it varies can be told.
MIN_FRAMES = 30
# Median distance of a frame from the median frame, in standard deviations of the old reference.
# Streets differ from each other by 0.7; a minute of simulated driving has 0.45 to 0.57, a vehicle
# that stands among traffic 0.17 to 0.19.
_MIN_SPREAD = 0.3
# A frame is odd if its distance from the median frame exceeds the median distance by so many
# standard deviations, told from the MAD as if distances were Gaussian. On simulated drives clean
# frames stay below 5; 10 s of lost beams or a tilted sensor in a minute reach 7 to 25.
_ODD = 5.0
_MAD_TO_STD = 1.4826
# The least standard deviation that is trusted, relative to the median distance.
_MIN_STD = 0.1
_MAX_ODD_SHARE = 0.05
_MAX_NAMED = 5


def check_enough(num_frames: int) -> None:
    """Refuses too few frames.

    Raises:
        DataError: If there are fewer than ``MIN_FRAMES``.
    """
    if num_frames < MIN_FRAMES:
        raise DataError(f"{num_frames} scans are too few to calibrate on; {MIN_FRAMES} are needed")


def check_clean(old: HealthReference, readings: Array, labels: Sequence[str]) -> None:
    """Refuses a vehicle that stands, and recordings that are clean in part.

    Args:
        old: The reference to be moved; only its scales are used, not where it has normal.
        readings: (N, R) readings of frames in order of time, all finite.
        labels: (N,) what each frame is called in messages.

    Raises:
        DataError: If the frames cannot serve as clean.
    """
    median = np.median(readings, axis=0)
    squares = old.deviations(readings, median) ** 2
    spread = float(np.median(np.sqrt(squares.mean(axis=1))))
    if spread < _MIN_SPREAD:
        raise DataError(
            f"the scans are too much alike ({spread:.2f} standard deviations, {_MIN_SPREAD} are "
            "needed): the vehicle stood or hardly moved; record it driving"
        )
    own = replace(old, mean=median, gap=np.zeros_like(old.gap))
    odd = odd_frames(own.judge(readings).distance)
    if odd.mean() > _MAX_ODD_SHARE:
        raise DataError(
            f"{odd.sum()} of {len(odd)} scans are unlike the others and cannot be clean with "
            f"them: {_spans(odd, labels)}; leave that part out"
        )


def odd_frames(distance: Array) -> npt.NDArray[np.bool_]:
    """(N,) whether each frame is far from the median frame, compared with the other frames.

    Args:
        distance: (N,) distance of each frame from the median one.
    """
    middle = float(np.median(distance))
    std = _MAD_TO_STD * float(np.median(np.abs(distance - middle)))
    return np.asarray(distance > middle + _ODD * max(std, _MIN_STD * middle))


def _spans(odd: npt.NDArray[np.bool_], labels: Sequence[str]) -> str:
    """The longest runs of odd frames, by their labels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], odd, [False]]).astype(np.int8)))
    runs = sorted(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[0] - run[1])
    named = [
        labels[first] if end - first == 1 else f"{labels[first]} to {labels[end - 1]}"
        for first, end in sorted(runs[:_MAX_NAMED])
    ]
    return ", ".join(named) + (" and others" if len(runs) > _MAX_NAMED else "")
