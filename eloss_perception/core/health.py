# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy health: how far a frame's readings lie from what clean input gives.

A frame is read as a vector: the entropy of every tapped layer, then what the host knows for free
(log of the number of points and of pillars). Its score is the Mahalanobis distance from the clean
frames' mean under their covariance, divided by the square root of the vector's length, so that a
typical clean frame scores about 1 whatever the network. A level follows the score only after some
frames in a row agree: one odd frame says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eloss_perception.core.entropy import eloss
from eloss_perception.errors import ConfigError

HOST_READINGS = ("log_points", "log_pillars")

# Readings further out than this many standard deviations are named in the reason.
_NOTABLE_DEVIATION = 3.0
_MAX_NAMED_READINGS = 4


class HealthLevel(IntEnum):
    """Values of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class HealthSettings(BaseModel):
    """How scores become a level."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    warn_ratio: float = Field(1.0, gt=0, description="score / threshold from which a frame is odd")
    error_ratio: float = Field(1.5, gt=0, description="score / threshold of a severe departure")
    frames_to_raise: int = Field(3, ge=1, description="frames in a row before the level rises")
    frames_to_clear: int = Field(5, ge=1, description="frames in a row before the level falls")

    @model_validator(mode="after")
    def _check_order(self) -> HealthSettings:
        if self.error_ratio < self.warn_ratio:
            raise ValueError(
                f"error_ratio {self.error_ratio} must not be below warn_ratio {self.warn_ratio}"
            )
        return self


@dataclass(frozen=True)
class HealthReference:
    """What clean input looks like to one network; part of its bundle.

    Attributes:
        layer_names: Names of the L tapped layers.
        stages: Backbone stage of each layer.
        mean: (R,) mean of the clean readings, R = L + 2.
        covariance: (R, R) their covariance, positive definite.
        threshold: Score that clean frames exceed at the stated rate.
        eloss_normal: Median published ``eloss`` of the clean frames.
        num_frames: Clean frames that this was computed from.
        source: The data they came from, in words.

    Raises:
        ConfigError: If shapes disagree or the covariance is not positive definite.
    """

    layer_names: tuple[str, ...]
    stages: tuple[int, ...]
    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    threshold: float
    eloss_normal: float
    num_frames: int
    source: str
    _whitening: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        num_readings = len(self.layer_names) + len(HOST_READINGS)
        if len(self.stages) != len(self.layer_names):
            raise ConfigError("health reference: one stage is needed for each layer name")
        if self.mean.shape != (num_readings,) or self.covariance.shape != (num_readings,) * 2:
            raise ConfigError(
                f"health reference: mean {self.mean.shape} and covariance {self.covariance.shape} "
                f"do not fit {num_readings} readings"
            )
        if not (np.isfinite(self.mean).all() and self.threshold > 0 and self.eloss_normal >= 0):
            raise ConfigError("health reference: mean, threshold or eloss_normal is out of range")
        try:
            factor = np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            raise ConfigError("health reference: covariance is not positive definite") from None
        object.__setattr__(self, "_whitening", np.linalg.inv(factor))

    @property
    def reading_names(self) -> tuple[str, ...]:
        """Names of the R readings."""
        return self.layer_names + HOST_READINGS

    @property
    def layer_mean(self) -> npt.NDArray[np.float64]:
        """(L,) normal entropy of each layer."""
        return self.mean[: len(self.layer_names)]

    @property
    def layer_std(self) -> npt.NDArray[np.float64]:
        """(L,) normal spread of each layer's entropy."""
        return np.sqrt(np.diag(self.covariance))[: len(self.layer_names)]

    def score(self, readings: npt.NDArray[np.float64]) -> float:
        """Distance of (R,) readings from normal; infinite where a reading is not finite."""
        if not np.isfinite(readings).all():
            return float("inf")
        distance = np.linalg.norm(self._whitening @ (readings - self.mean))
        return float(distance / np.sqrt(len(readings)))


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of one frame; the content of ``EntropyHealth.msg``.

    Attributes:
        level: The level after hysteresis.
        score: Distance of this frame from normal; clean frames stay below ``threshold``.
        threshold: Score from which a frame is odd.
        eloss: Published metric, variance of the entropy changes inside stages.
        eloss_ratio: ``eloss`` over its normal value.
        layer_names: Names of the L tapped layers.
        layer_entropy: (L,) entropies of this frame.
        entropy_change: (L − 1,) differences of consecutive layers.
        layer_mean: (L,) normal entropies.
        layer_std: (L,) their normal spread.
        reason: Why the level is what it is, in words.
    """

    level: HealthLevel
    score: float
    threshold: float
    eloss: float
    eloss_ratio: float
    layer_names: tuple[str, ...]
    layer_entropy: npt.NDArray[np.float64]
    entropy_change: npt.NDArray[np.float64]
    layer_mean: npt.NDArray[np.float64]
    layer_std: npt.NDArray[np.float64]
    reason: str


def make_readings(
    layer_entropy: npt.NDArray[np.floating], num_points: int, num_pillars: int
) -> npt.NDArray[np.float64]:
    """The (R,) reading vector of a frame, in the order of ``HealthReference.reading_names``."""
    host = np.log1p([num_points, num_pillars])
    return np.concatenate([np.asarray(layer_entropy, np.float64), host])


class HealthMonitor:
    """Follows the health of a stream of frames."""

    def __init__(self, reference: HealthReference, settings: HealthSettings | None = None) -> None:
        self.reference = reference
        self.settings = settings or HealthSettings()
        self.reset()

    def reset(self) -> None:
        """Forgets the past: the level is OK until frames say otherwise."""
        self._level = HealthLevel.OK
        self._streak_level = HealthLevel.OK
        self._streak = 0

    def update(
        self, layer_entropy: npt.NDArray[np.floating], num_points: int, num_pillars: int
    ) -> HealthReport:
        """Judges the next frame.

        Args:
            layer_entropy: (L,) the network's entropy output.
            num_points: Points of the frame inside the detector's range.
            num_pillars: Pillars of the frame.

        Returns:
            The frame's report; its level takes the frames before it into account.

        Raises:
            ConfigError: If the number of layers is not the reference's.
        """
        reference = self.reference
        if np.shape(layer_entropy) != (len(reference.layer_names),):
            raise ConfigError(
                f"{np.shape(layer_entropy)} layer entropies do not fit a health reference "
                f"of {len(reference.layer_names)} layers"
            )
        readings = make_readings(layer_entropy, num_points, num_pillars)
        score = reference.score(readings)
        self._follow(self._frame_level(score))
        entropy = readings[: len(reference.layer_names)]
        value = eloss(entropy, reference.stages)
        normal = reference.eloss_normal
        return HealthReport(
            level=self._level,
            score=score,
            threshold=reference.threshold,
            eloss=value,
            eloss_ratio=value / normal if normal > 0 else float("nan"),
            layer_names=reference.layer_names,
            layer_entropy=entropy,
            entropy_change=np.diff(entropy),
            layer_mean=reference.layer_mean,
            layer_std=reference.layer_std,
            reason=self._reason(score, readings),
        )

    def _frame_level(self, score: float) -> HealthLevel:
        ratio = score / self.reference.threshold
        if ratio >= self.settings.error_ratio:
            return HealthLevel.ERROR
        return HealthLevel.WARN if ratio >= self.settings.warn_ratio else HealthLevel.OK

    def _follow(self, frame_level: HealthLevel) -> None:
        """Moves the level once enough frames in a row lie on the same side of it.

        Frames above the level raise it to the least of them, frames below lower it to the highest
        of them, so a run of mixed severity moves the level no further than all of it agrees on.
        """
        if frame_level == self._level:
            self._streak = 0
            return
        rising = frame_level > self._level
        if self._streak == 0 or (self._streak_level > self._level) != rising:
            self._streak, self._streak_level = 0, frame_level
        agreed = min if rising else max
        self._streak_level = agreed(self._streak_level, frame_level)
        self._streak += 1
        needed = self.settings.frames_to_raise if rising else self.settings.frames_to_clear
        if self._streak >= needed:
            self._level = self._streak_level
            self._streak = 0

    def _reason(self, score: float, readings: npt.NDArray[np.float64]) -> str:
        """Says in words which readings depart and how."""
        reference = self.reference
        if not np.isfinite(score):
            return "a reading is not finite"
        if score < reference.threshold * self.settings.warn_ratio:
            if self._level == HealthLevel.OK:
                return "readings are normal"
            return "readings are normal again; waiting for more frames before the level falls"
        deviation = (readings - reference.mean) / np.sqrt(np.diag(reference.covariance))
        order = np.argsort(-np.abs(deviation))[:_MAX_NAMED_READINGS]
        notable = [i for i in order if abs(deviation[i]) >= _NOTABLE_DEVIATION]
        if not notable:
            return f"score {score:.2f} over {reference.threshold:.2f}: unusual in combination"
        named = ", ".join(
            f"{reference.reading_names[i]} {'high' if deviation[i] > 0 else 'low'} "
            f"({deviation[i]:+.1f} sd)"
            for i in notable
        )
        return f"score {score:.2f} over {reference.threshold:.2f}: {named}"
