# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A health reference whose answers can be worked out by hand.

Readings of a clean frame are independent, and three disturbances are known: fog and lost beams,
which cost much, and rain, which costs next to nothing. Each moves its checks by whole numbers of
squashed deviations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eloss_perception.health.readings import check_of, checks_of, reading_names
from eloss_perception.health.reference import HealthReference, Profiles

LAYERS = ("stage1.conv1", "stage1.conv2", "stage2.conv1")
STAGES = (0, 0, 1)
ENTROPY, ENTROPY_STD = (0.7, 0.6, 0.5), 0.02
OTHER_STD = 0.1

# Disturbance -> severity, points of average precision that it costs, {check or reading: shift}.
KNOWN: dict[str, tuple[int, float, dict[str, float]]] = {
    "fog": (5, 40.0, {"entropy": 4.0, "range.to_45m": -4.0, "range.to_65m": -4.0}),
    "beam_missing": (5, 30.0, {"counts": -3.0, "elevation": 3.0}),
    "rain": (2, 0.5, {"intensity": -3.0}),
}


def make_reference(
    layer_names: Sequence[str] = LAYERS,
    stages: Sequence[int] = STAGES,
    known: Mapping[str, tuple[int, float, dict[str, float]]] = KNOWN,
    **changes: object,
) -> HealthReference:
    """A valid reference; ``changes`` replace fields of it as they are."""
    names = reading_names(layer_names)
    # Logarithms of counts are large; all else is about one.
    mean = np.array([10.0 if check_of(name) == "counts" else 1.0 for name in names])
    std = np.full(len(names), OTHER_STD)
    mean[: len(layer_names)] = np.resize(ENTROPY, len(layer_names))
    std[: len(layer_names)] = ENTROPY_STD
    fields: dict = {
        "layer_names": tuple(layer_names),
        "stages": tuple(stages),
        "reading_names": names,
        "mean": mean,
        "std": std,
        "covariance": np.eye(len(names)),
        "change_covariance": np.eye(len(names)),
        "gap": np.zeros((len(names), len(names))),
        "distance_limits": (1.25, 1.25),
        "check_limits": np.ones(len(checks_of(names))),
        "profiles": Profiles(
            names=tuple(known),
            severities=tuple(severity for severity, _, _ in known.values()),
            shifts=np.array([_shift(names, moved) for _, _, moved in known.values()]).reshape(
                len(known), len(names)
            ),
            texts={"beam_missing": "like lost beams"},
            ap_loss=np.array([harm for _, harm, _ in known.values()]),
        ),
        "threshold": 5.0,
        "eloss_normal": 1e-3,
        "num_frames": 100,
        "source": "made up for tests",
    }
    return HealthReference(**(fields | changes))


def clean_readings(
    reference: HealthReference, seed: int = 0, spread: float = 0.1
) -> npt.NDArray[np.float64]:
    """(R,) readings near the clean mean, others for every seed: no two scans are the same."""
    noise = np.random.default_rng(seed).normal(0.0, spread, len(reference.mean))
    return reference.mean + noise * reference.std


def disturbed_readings(
    reference: HealthReference, name: str, seed: int = 0, spread: float = 0.1
) -> npt.NDArray[np.float64]:
    """(R,) readings as a known disturbance makes them."""
    shift = reference.profiles.shifts[reference.profiles.names.index(name)]
    return clean_readings(reference, seed, spread) + np.sinh(shift) * reference.std


def _shift(names: Sequence[str], moved: Mapping[str, float]) -> npt.NDArray[np.float64]:
    return np.array([moved.get(name, moved.get(check_of(name), 0.0)) for name in names])
