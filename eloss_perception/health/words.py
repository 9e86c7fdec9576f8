# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Departures of readings in words for a person: "like fog: fewer far returns, ground darker"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eloss_perception.health.readings import checks_of

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

NETWORK_FAULT = "network_fault"
"""A cause that lies behind the input: the network no longer computes what it was trained to."""

_CAUSES = {
    NETWORK_FAULT: "like a damaged network",
    "beam_missing": "like lost beams",
    "cross_sensor": "like fewer beams",
    "crosstalk": "like cross-talk",
    "dirt": "like dirt on the cover",
    "field_of_view": "like a narrow view",
    "halved_rotation": "like half of a turn",
    "height_offset": "like another mounting height",
    "incomplete_echo": "like lost dark returns",
    "intensity_saturated": "like intensities off the scale",
    "intensity_scale": "like a wrong intensity scale",
    "local_dropout": "like holes in the scan",
    "pitch": "like a pitched sensor",
    "point_dropout": "like lost points",
    "roll": "like a rolled sensor",
    "time_shift": "like a turn torn in time",
    "wrong_frame": "like a turned frame",
    "": "unusual",
    "unknown": "like nothing known",
    "unreadable": "a reading is not finite",
    "blind": "no point in range",
    "stale_scan": "the same scan again",
}


def cause_in_words(cause: str) -> str:
    """A likely cause as the beginning of a sentence."""
    return _CAUSES.get(cause, f"like {cause.replace('_', ' ')}")


def reason_in_words(names: Sequence[str], deviations: npt.NDArray[np.float64]) -> str:
    """The readings that depart most, each thing said once.

    Args:
        names: Names of the R readings.
        deviations: (R,) squashed deviations, ``HealthReference.deviations``.
    """
    unreadable = checks_of([names[int(i)] for i in np.flatnonzero(~np.isfinite(deviations))])
    if unreadable:
        return f"{', '.join(unreadable)} cannot be told"
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
