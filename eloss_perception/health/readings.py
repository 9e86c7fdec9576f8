# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The readings of a frame: everything that its health is judged by, as one vector; and in words.

A reading is called ``check.reading``. Readings of one *check* are judged together: the entropy of
the layers, their scale, the counts, the ranges and so on. A new reading is a name, a number and
its words here; reference, calibration, messages and benchmark follow the names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.scan_statistics import SCAN_READINGS, scan_readings

_PILLAR_READINGS = ("isolation.lone_pillars", "isolation.single_points")
_COUNT_READINGS = ("counts.in_range", "counts.pillars")

NETWORK_CHECKS = ("entropy", "scale")
"""Checks that read the network's layers; all others read the scan."""

READINGS_VERSION = 1
"""To be raised with any change of a reading's value: readings kept of another version are taken
anew."""

RETIRED_READINGS = ("counts.non_finite",)
"""Read by earlier versions, and left out of their references: how many points a driver sends for
"no return" is its format. Returns that are lost show in all other counts."""


# Squashed deviations further out than this (some three standard deviations) are named.
_NOTABLE = 1.8
_MAX_NAMED = 3

# (reading or check) -> words for low, words for high. A reading's own entry goes first, the check's
# stands for the rest of it.
_WORDS: dict[str, tuple[str, str]] = {
    "entropy": ("layer entropy low", "layer entropy high"),
    "entropy.stage1": ("early-layer entropy low", "early-layer entropy high"),
    "entropy.stage3": ("late-layer entropy low", "late-layer entropy high"),
    "scale": ("activations weak", "activations strong"),
    "counts": ("fewer points", "more points"),
    "isolation": ("fewer lone points", "more lone points"),
    "range": ("ranges shifted", "ranges shifted"),
    "range.to_2.5m": ("fewer returns at the sensor", "more returns at the sensor"),
    "range.to_45m": ("fewer far returns", "more far returns"),
    "range.to_65m": ("fewer far returns", "more far returns"),
    "range.beyond": ("fewer far returns", "more far returns"),
    "height": ("heights shifted", "heights shifted"),
    "height.to_-2.4m": ("fewer points underground", "points underground"),
    "elevation": ("beam pattern changed", "beam pattern changed"),
    "elevation.gaps": ("fewer gaps between beams", "gaps between beams"),
    "elevation.unevenness": ("beams blurred", "beams uneven"),
    "sectors": ("uneven around the sensor", "uneven around the sensor"),
    "sectors.emptiest": ("a sector is empty", "sectors more even"),
    "intensity": ("intensities shifted", "intensities shifted"),
    "intensity.mean": ("intensities low", "intensities high"),
    "intensity.spread": ("intensities alike", "intensities spread"),
    "intensity.saturated": ("fewer saturated returns", "intensities saturated"),
    "envelope": ("lowest beam tilted or lost", "lowest beam tilted or lost"),
    "ground": ("ground changed", "ground changed"),
    "ground.pitch": ("ground falls ahead", "ground rises ahead"),
    "ground.roll": ("ground falls to the left", "ground rises to the left"),
    "ground.height": ("ground too low", "ground too high"),
    "ground.roughness": ("ground smoother", "ground rough"),
    "ground.points_share": ("ground sparse", "ground dense"),
    "ground.flat_share": ("little flat ground", "more flat ground"),
    "ground.brightness": ("ground dark", "ground bright"),
    "ground.below": ("fewer points underground", "points underground"),
}

# Causes that are no disturbance of a reference.
_CAUSES = {
    "": "unusual",
    "unknown": "like nothing known",
    "unreadable": "a reading is not finite",
    "blind": "no point in range",
    "stale_scan": "the same scan again",
}


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


def cause_in_words(cause: str, texts: Mapping[str, str]) -> str:
    """A likely cause as the beginning of a sentence; ``texts`` are those of the profiles."""
    return _CAUSES.get(cause) or texts.get(cause) or f"like {cause.replace('_', ' ')}"


def reason_in_words(names: Sequence[str], deviations: npt.NDArray[np.float64]) -> str:
    """The readings that depart most, each thing said once.

    Args:
        names: Names of the R readings.
        deviations: (R,) squashed deviations, ``HealthReference.deviations``.
    """
    unreadable = checks_of([names[int(i)] for i in np.flatnonzero(~np.isfinite(deviations))])
    if unreadable:
        return f"{', '.join(unreadable)} cannot be read"
    said: list[str] = []
    for index in np.argsort(-np.abs(deviations)):
        if abs(deviations[index]) < _NOTABLE or len(said) == _MAX_NAMED:
            break
        words = _words_of(names[index])[int(deviations[index] > 0)]
        if words not in said:
            said.append(words)
    return ", ".join(said) if said else "in combination only"


def _words_of(name: str) -> tuple[str, str]:
    check, _, reading = name.partition(".")
    for key in (name, f"{check}.{reading.partition('.')[0]}", check):
        if key in _WORDS:
            return _WORDS[key]
    return (f"{name} low", f"{name} high")
