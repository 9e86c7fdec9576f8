# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The health reference of a quantised network, moved by what quantisation does to the readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eloss_perception.health.fit import normal_eloss, resolution_of
from eloss_perception.health.readings import NETWORK_CHECKS, check_of
from eloss_perception.health.reference import HealthReference

Readings = npt.NDArray[np.float64]


def move_to_quantized(
    reference: HealthReference, before: Readings, after: Readings, source: str
) -> HealthReference:
    """Moves a reference from a float network to the same one quantised.

    The two read the same scans. So what differs between streets, hundreds of times what
    quantisation changes, drops out, and a few dozen scans say where normal has gone: the mean moves
    by the mean difference, and the spread by the ratio of the spreads. Covariances and profiles
    are in units of that spread; they and the threshold stay, which took ten thousand scans to find.

    Args:
        reference: Of the float network.
        before: (N, R) readings of clean scans by the float network.
        after: (N, R) readings of the same scans by the quantised one.
        source: What was done, in words; added to the reference's source.
    """
    of_network = np.array([check_of(name) in NETWORK_CHECKS for name in reference.reading_names])
    resolution = resolution_of(reference.reading_names)
    ratio = np.sqrt((after.var(axis=0) + resolution**2) / (before.var(axis=0) + resolution**2))
    # Some quantised layers read nothing new, and a reading of the scan never does.
    moved = np.where(of_network, (after - before).mean(axis=0), 0.0)
    stages = reference.stages
    eloss_change = normal_eloss(after, stages) - normal_eloss(before, stages)
    return replace(
        reference,
        mean=reference.mean + moved,
        std=reference.std * np.where(of_network, ratio, 1.0),
        eloss_normal=max(0.0, reference.eloss_normal + eloss_change),
        source=f"{reference.source}; {source}",
    )
