# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the functions that fill a street share: chance, places along the road, room taken."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from eloss_perception.simulation.builder import SceneBuilder
from eloss_perception.simulation.ground import Ground


@dataclass
class StreetPlan:
    """A street that is being filled.

    Places are given as distance x along the road and lateral offset to the left of its centre
    line, headings relative to the road.

    Attributes:
        rng: Of all that is drawn. builder: Collects what is placed.
        ground: Where the road runs and how high it lies.
        x_min: First end of the street. x_max: The other end.
        crossings: (centre, half width) of the side roads along x.
        moving: Whether the ego vehicle moves; its lane and the crossings are kept passable then.
        taken: World x, y, yaw, length, width of what stands already.
    """

    rng: np.random.Generator
    builder: SceneBuilder
    ground: Ground
    x_min: float
    x_max: float
    crossings: list[tuple[float, float]]
    moving: bool
    taken: list[tuple[float, float, float, float, float]] = field(default_factory=list)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def normal(self, spread: float) -> float:
        """Draw a deviation."""
        return float(self.rng.normal(0.0, spread))

    def chance(self, probability: float) -> bool:
        """Draw whether something happens."""
        return bool(self.rng.random() < probability)

    def in_crossing(self, x: float, margin: float = 0.0) -> bool:
        """Whether x lies on a side road or within a margin of it."""
        return any(abs(x - centre) < half + margin for centre, half in self.crossings)

    def place(self, x: float, lateral: float) -> tuple[float, float, float, float]:
        """World x, y, z and the road's heading at a place."""
        y = self.ground.centre_at(x) + lateral
        return x, y, self.ground.height_at(x, y), self.ground.heading_at(x)

    def claim(self, x: float, y: float, yaw: float, length: float, width: float) -> bool:
        """Reserve a rectangle (seen as circles along its axis); False where something stands."""
        radius = 0.5 * width
        half = 0.5 * max(length - width, 0.0)
        for tx, ty, tyaw, tl, tw in self.taken:
            dx, dy = tx - x, ty - y
            if dx * dx + dy * dy > (0.5 * (length + tl + width + tw)) ** 2:
                continue
            c, s = math.cos(tyaw), math.sin(tyaw)
            for k in (-1.0, 0.0, 1.0):
                px, py = dx - k * half * math.cos(yaw), dy - k * half * math.sin(yaw)
                if (
                    abs(c * px + s * py) < 0.5 * tl + radius
                    and abs(c * py - s * px) < 0.5 * tw + radius
                ):
                    return False
        self.taken.append((x, y, yaw, length, width))
        return True
