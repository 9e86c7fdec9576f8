# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The health reference of a network: what clean and disturbed input look like to it; plain data.

Readings are compared as deviations in clean standard deviations, squashed by asinh: linear within a
few of them, logarithmic beyond, where a disturbance's strength varies with the scene. What they
mean is said by ``judge.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import ConfigError
from eloss_perception.health.readings import checks_of

Array = npt.NDArray[np.float64]

CLEAN, UNKNOWN = "clean", "unknown"

# Bounds of what is counted in squashed deviations, and of its variance. Asinh ends below.
_MAX_DEVIATION = 1000.0
_MAX_VARIANCE = _MAX_DEVIATION**2
# A score is of 100 points of average precision at most: a threshold above would never alarm.
_MAX_AP_LOSS = 100.0
# Beyond it a clean reading's spread hides everything; no reading comes near either of these.
_MAX_STD, _MAX_VALUE = 1e6, 1e30
_LEAST = 1e-12
_MAX_TEXT = 100


class Condition(NamedTuple):
    """A corruption at a severity; severity 0 is none.

    Attributes:
        name: Of the corruption; ``clean`` at severity 0.
        severity: 1 (barely visible) to 5 (severe).
    """

    name: str
    severity: int

    @property
    def label(self) -> str:
        """Such as ``fog:3``, the notation of the player."""
        return f"{self.name}:{self.severity}" if self.severity else self.name


@dataclass(frozen=True)
class Profiles:
    """Known disturbances (K of them): how each moves the readings, and what it costs.

    Attributes:
        names: (K,) corruption of each profile.
        severities: (K,) its severity.
        shifts: (K, R) mean shift of the squashed deviations.
        ap_loss: (K,) loss of average precision [points], 0 or more.
        texts: Name of a disturbance -> its words for a person, such as "like lost beams"; of those
            whose name does not say enough.
        like_traffic: Names of those that take away what a passing vehicle takes away as well, many
            times an hour on simulated drives: as a sudden change they raise no alarm.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    shifts: Array
    ap_loss: Array
    texts: Mapping[str, str] = field(default_factory=dict)
    like_traffic: frozenset[str] = frozenset()


@dataclass(frozen=True)
class HealthReference:
    """What clean and disturbed input look like to one network; part of its bundle.

    Attributes:
        layer_names: Names of the L tapped layers.
        stages: Backbone stage of each layer.
        reading_names: Names of the R readings, see ``health/readings.py``.
        mean: (R,) mean of the clean readings.
        std: (R,) their standard deviation, > 0.
        covariance: (R, R) of squashed deviations within a class, positive definite.
        change_covariance: (R, R) the same of deviations from the mean of the frames just before.
        gap: (R, R) what is added to the first while the vehicle's own sensor is not known; zeros
            once the reference is recalibrated to its scans.
        distance_limits: Distance from clean, and from the frames before, that 1 % of clean frames
            exceed.
        check_limits: (C,) deviation of each check that 1 % of clean frames exceed.
        profiles: The known disturbances.
        threshold: Score from which a frame is anomalous [points].
        eloss_normal: Median published ``eloss`` of the clean frames.
        num_frames: Clean frames that this was computed from.
        source: The data they came from, in words.

    Raises:
        ConfigError: If shapes disagree or a value is out of range.
    """

    layer_names: tuple[str, ...]
    stages: tuple[int, ...]
    reading_names: tuple[str, ...]
    mean: Array
    std: Array
    covariance: Array
    change_covariance: Array
    gap: Array
    distance_limits: tuple[float, float]
    check_limits: Array
    profiles: Profiles
    threshold: float
    eloss_normal: float
    num_frames: int
    source: str
    checks: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The C checks, in the order of their readings."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "checks", checks_of(self.reading_names))
        num_readings, profiles = len(self.reading_names), self.profiles
        num_profiles = len(profiles.names)
        square = (num_readings, num_readings)
        shapes = {
            "stages": (len(self.stages), len(self.layer_names)),
            "mean": (self.mean.shape, (num_readings,)),
            "std": (self.std.shape, (num_readings,)),
            "covariance": (self.covariance.shape, square),
            "change_covariance": (self.change_covariance.shape, square),
            "gap": (self.gap.shape, square),
            "check_limits": (self.check_limits.shape, (len(self.checks),)),
            "shifts": (profiles.shifts.shape, (num_profiles, num_readings)),
            "harm": (profiles.ap_loss.shape, (num_profiles,)),
            "severities": (len(profiles.severities), num_profiles),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ConfigError(f"health reference: {name} is {found}, expected {expected}")
        self._check_ranges()
        for text in (*profiles.names, *profiles.texts, *profiles.texts.values()):
            if not 0 < len(text) <= _MAX_TEXT or not text.isprintable() or text in (CLEAN, UNKNOWN):
                raise ConfigError("health reference: a profile has an unusable name")

    def _check_ranges(self) -> None:
        """Refuses what is no number in its range: scores made of it would compare with nothing."""
        ranges: list[tuple[str, object, float, float]] = [
            ("mean", np.abs(self.mean), 0.0, _MAX_VALUE),
            ("std", self.std, _LEAST, _MAX_STD),
            ("covariance", np.abs(self.covariance), 0.0, _MAX_VARIANCE),
            ("change_covariance", np.abs(self.change_covariance), 0.0, _MAX_VARIANCE),
            ("gap", np.abs(self.gap), 0.0, _MAX_VARIANCE),
            ("distance_limits", self.distance_limits, _LEAST, _MAX_DEVIATION),
            ("check_limits", self.check_limits, _LEAST, _MAX_DEVIATION),
            ("shifts of a profile", np.abs(self.profiles.shifts), 0.0, _MAX_DEVIATION),
            ("harm of a profile", self.profiles.ap_loss, 0.0, _MAX_AP_LOSS),
            ("threshold", self.threshold, _LEAST, _MAX_AP_LOSS),
            ("eloss_normal", self.eloss_normal, 0.0, _MAX_VALUE),
        ]
        for name, values, least, most in ranges:
            array = np.asarray(values, np.float64)
            if not ((array >= least) & (array <= most)).all():  # NaN is neither
                raise ConfigError(f"health reference: {name} is out of range or no number")
        for covariance in (self.covariance, self.change_covariance, self.gap):
            if not np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6):
                raise ConfigError("health reference: a covariance is not symmetric")

    @property
    def layer_mean(self) -> Array:
        """(L,) normal entropy of each layer."""
        return self.mean[: len(self.layer_names)]

    @property
    def layer_std(self) -> Array:
        """(L,) normal spread of each layer's entropy."""
        return self.std[: len(self.layer_names)]

    def deviations(self, readings: Array, normal: Array | None = None) -> Array:
        """Squashed deviations of (..., R) readings from the clean mean, or from ``normal``."""
        return np.arcsinh((readings - (self.mean if normal is None else normal)) / self.std)
