# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scales of the plots: values to pixels, and ticks at round numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A mapping of values to pixels, linear or logarithmic.

    Attributes:
        low: Value at `start_px`.
        high: Value at `end_px`.
        start_px: Pixel of `low`.
        end_px: Pixel of `high`; smaller than `start_px` where larger values are further up.
        log: Whether equal ratios, not equal differences, are equally far apart.
    """

    low: float
    high: float
    start_px: float
    end_px: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, limited to the range."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start_px + (value - low) / (high - low) * (self.end_px - self.start_px)

    def ticks(self, count: int) -> list[float]:
        """Return about `count` round values within the range."""
        return (
            _log_ticks(self.low, self.high, count)
            if self.log
            else ticks(self.low, self.high, count)
        )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten within [low, high].

    About `count` of them, and never fewer than two: a scale with one tick tells nothing.
    """
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [power * m for m in (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    coarsest = next(i for i, step in enumerate(steps) if step >= raw * 0.999)
    for step in reversed(steps[: coarsest + 1]):
        first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
        if last > first:
            break
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [f * 10.0**d for d in decades for f in factors]
        kept = [v for v in values if low * 0.999 <= v <= high * 1.001]
        if len(kept) <= count + 1 or factors == (1,):
            return kept
    return []


def label(value: float) -> str:
    """Return a tick's value without superfluous digits."""
    return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.0e}"
