# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One side of a street: how wide it is, how it is parked on, what lines it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRONTAGES = ("buildings", "hedge", "fence", "wall", "bushes", "trees", "grass", "mixed")
"""What may line a side."""


@dataclass(frozen=True)
class Side:
    """One side of the street; lengths in metres from the centre line outwards.

    Attributes:
        road: Width of its lanes. parking: Width of its parking lane. walk: Width of its pavement.
        front: Distance of what lines it from the centre line.
        frontage: One of `FRONTAGES`.
        occupancy: Share of parking places taken.
        perpendicular: Whether cars park across the road's direction.
    """

    road: float
    parking: float
    walk: float
    front: float
    frontage: str
    occupancy: float
    perpendicular: bool

    @property
    def kerb(self) -> float:
        """Distance of the kerb from the centre line."""
        return self.road + self.parking


def draw_side(rng: np.random.Generator, road: float, urban: float) -> Side:
    """Draw a side whose lanes are `road` wide; `urban` runs from 0 (country) to 1 (city)."""
    parking = 2.2 if rng.random() < 0.35 + 0.4 * urban else 0.0
    perpendicular = parking > 0 and rng.random() < 0.2
    if perpendicular:
        parking = 5.2
    walk = float(rng.uniform(1.4, 4.5)) if rng.random() < 0.4 + 0.6 * urban else 0.3
    weights = np.array(
        [0.5 * urban, 0.15, 0.12, 0.1, 0.2 * (1.2 - urban), 0.2, 0.25 * (1.1 - urban), 0.5]
    )
    frontage = str(rng.choice(FRONTAGES, p=weights / weights.sum()))
    return Side(
        road=road,
        parking=parking,
        walk=walk,
        front=road + parking + walk + float(rng.uniform(0.2, 5.0 - 3.5 * urban)),
        frontage=frontage,
        occupancy=float(rng.beta(1.6, 1.4)),
        perpendicular=perpendicular,
    )
