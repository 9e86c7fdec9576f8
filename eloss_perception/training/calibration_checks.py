# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether scans can tell what clean input looks like: enough of them, of a drive, all alike clean.

That all of them are disturbed in the same way cannot be seen from them: it is what they call clean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eloss_perception.core.health_reference import HealthReference
from eloss_perception.errors import DataError

Array = npt.NDArray[np.float64]

# With fewer frames than this neither where normal is nor how it varies can be told.
MIN_FRAMES = 30
# Spread of the median reading, in standard deviations of the old reference. Streets differ from
# each other by 1; on simulated drives it is 0.4 to 0.7 after half a minute, standing 0.1.
_MIN_SPREAD = 0.2
# A frame is odd if its distance from the median frame exceeds the median distance by so many
# standard deviations, told from the MAD as if distances were Gaussian.
_ODD = 6.0
_MAD_TO_STD = 1.4826
# Distances vary by a fifth from street to street: a MAD that happens to be smaller is not trusted.
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
    deviations = np.arcsinh((readings - np.median(readings, axis=0)) / old.std)
    spread = float(np.median(deviations.std(axis=0)))
    if spread < _MIN_SPREAD:
        raise DataError(
            f"the scans are too much alike ({spread:.2f} of the spread between streets, "
            f"{_MIN_SPREAD} are needed): the vehicle stood still; record it driving"
        )
    odd = odd_frames(deviations)
    if odd.mean() > _MAX_ODD_SHARE:
        raise DataError(
            f"{odd.sum()} of {len(odd)} scans are unlike the others and cannot be clean with "
            f"them: {_spans(odd, labels)}; leave that part out"
        )


def odd_frames(deviations: Array) -> npt.NDArray[np.bool_]:
    """(N,) whether each frame is far from the median one, compared with the other frames.

    Args:
        deviations: (N, R) squashed deviations from the median frame.
    """
    distance = np.sqrt((deviations**2).mean(axis=1))
    middle = np.median(distance)
    std = max(_MAD_TO_STD * float(np.median(np.abs(distance - middle))), _MIN_STD)
    return np.asarray(distance > middle + _ODD * std)


def _spans(odd: npt.NDArray[np.bool_], labels: Sequence[str]) -> str:
    """The longest runs of odd frames, by their labels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], odd, [False]]).astype(np.int8)))
    runs = sorted(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[0] - run[1])
    named = [
        labels[first] if end - first == 1 else f"{labels[first]} to {labels[end - 1]}"
        for first, end in sorted(runs[:_MAX_NAMED])
    ]
    return ", ".join(named) + (" and others" if len(runs) > _MAX_NAMED else "")
