# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The readings of a frame: everything that its health is judged by, as one vector.

A reading is called ``check.reading``. Readings of one *check* are judged together: the entropy of
the layers, their scale, the counts, the ranges and so on. A new reading is a name and a number
here; reference, calibration, messages and benchmark follow the names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.scan_statistics import SCAN_READINGS, scan_readings

_PILLAR_READINGS = ("isolation.lone_pillars", "isolation.single_points")
_COUNT_READINGS = ("counts.in_range", "counts.pillars")

NETWORK_CHECKS = ("entropy", "scale")
"""Checks that read the network's layers; all others read the scan."""

RETIRED_READINGS = ("counts.non_finite",)
"""Read by earlier versions, and left out of their references: how many points a driver sends for
"no return" is its format. Returns that are lost show in all other counts."""


def reading_names(layer_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the R readings of a network with these tapped layers."""
    return (
        *(f"{check}.{layer}" for check in NETWORK_CHECKS for layer in layer_names),
        *_COUNT_READINGS,
        *_PILLAR_READINGS,
        *SCAN_READINGS,
    )


def check_of(reading: str) -> str:
    """The check that a reading belongs to."""
    return reading.partition(".")[0]


def checks_of(names: Sequence[str]) -> tuple[str, ...]:
    """The checks of readings, each once, in their order."""
    return tuple(dict.fromkeys(check_of(name) for name in names))


def make_readings(
    layer_entropy: npt.NDArray[np.floating],
    layer_log_rms: npt.NDArray[np.floating],
    sample: npt.NDArray[np.float32],
    counts: PointCounts,
) -> npt.NDArray[np.float64]:
    """The readings of one frame.

    Args:
        layer_entropy: (L,) entropy of each tapped layer.
        layer_log_rms: (L,) log RMS of each tapped layer.
        sample: (M, 4) float32, a quarter of the whole scan in the network frame, intensity in
            [0, 1]; see ``detection/points.py``.
        counts: What the pillarizer counted in it.

    Returns:
        (R,) float64 in the order of :func:`reading_names`; the same for any order of the points.
    """
    return np.concatenate(
        [
            np.asarray(layer_entropy, np.float64),
            np.asarray(layer_log_rms, np.float64),
            _count_readings(counts),
            _pillar_readings(counts),
            scan_readings(sample),
        ]
    )


def _count_readings(counts: PointCounts) -> list[float]:
    return [math.log1p(counts.num_in_range), math.log1p(counts.num_occupied)]


def _pillar_readings(counts: PointCounts) -> list[float]:
    """Log shares of pillars without a neighbour, and of those with a single point."""
    return [
        math.log((counts.num_lone_pillars + 5.0) / (counts.num_pillars + 5.0)),
        math.log((counts.num_single_pillars + 5.0) / (counts.num_pillars + 5.0)),
    ]
