# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What clean and disturbed input look like to one network, and what a frame's readings say by it.

Readings are compared as deviations in clean standard deviations, squashed by asinh: linear within a
few of them, logarithmic beyond, where a disturbance's strength varies with the scene. What they
mean is the classifier's to say, ``health_classifier.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import ConfigError
from eloss_perception.health.classifier import (
    CLEAN,
    UNKNOWN,
    UNKNOWN_CHANGE_HARM,
    UNKNOWN_HARM,
    Classifier,
    Judgement,
    Profiles,
)
from eloss_perception.health.readings import check_of, checks_of

Array = npt.NDArray[np.float64]

# Squashed deviation of a reading that is not finite; those of finite ones end at 710.
_UNREADABLE_DEVIATION = 1000.0
# Bounds of what is counted in squashed deviations, and of its variance. Asinh ends below.
_MAX_DEVIATION = _UNREADABLE_DEVIATION
_MAX_VARIANCE = _MAX_DEVIATION**2
# A score is of 100 points of average precision at most: a threshold above would never alarm.
_MAX_HARM = 100.0
# Beyond it a clean reading's spread hides everything; no reading comes near either of these.
_MAX_STD, _MAX_VALUE = 1e6, 1e30
_LEAST = 1e-12
# Variance of what changes from frame to frame doubles in so many of them; on simulated drives this
# keeps the share of odd clean frames the same after three seconds as after none.
_SCENE_FRAMES = 10.0
# What these take away at once a vehicle alongside takes away as well, and does so many times an
# hour on simulated drives: as a change they are no alarm, only by themselves.
_LIKE_TRAFFIC = frozenset({"incomplete_echo", "local_dropout"})


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
        gap: (R, R) what is added to the first where the vehicle's own sensor is not known yet;
            zeros once the reference was moved to its scans.
        distance_limits: Distance, and distance from the frames before, that one in a hundred clean
            frames exceeds.
        check_limits: (C,) deviation of each check that one in a hundred clean frames exceeds.
        profiles: The known disturbances.
        threshold: Score from which a frame is odd [points].
        eloss_normal: Median published ``eloss`` of the clean frames.
        num_frames: Clean frames that this was computed from.
        source: The data they came from, in words.

    Raises:
        ConfigError: If shapes disagree, a value is out of range or a covariance is not positive
            definite.
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
    _absolute: Classifier = field(init=False, repr=False, compare=False)
    _change: Classifier = field(init=False, repr=False, compare=False)
    _checks: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _check_means: Array = field(init=False, repr=False, compare=False)
    _cause_names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _cause_sums: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        num_readings, num_profiles = len(self.reading_names), len(self.profiles.names)
        object.__setattr__(self, "_checks", checks_of(self.reading_names))
        shapes = {
            "stages": (len(self.stages), len(self.layer_names)),
            "mean": (self.mean.shape, (num_readings,)),
            "std": (self.std.shape, (num_readings,)),
            "covariance": (self.covariance.shape, (num_readings, num_readings)),
            "change_covariance": (self.change_covariance.shape, (num_readings, num_readings)),
            "gap": (self.gap.shape, (num_readings, num_readings)),
            "check_limits": (self.check_limits.shape, (len(self.checks),)),
            "shifts": (self.profiles.shifts.shape, (num_profiles, num_readings)),
            "harm": (self.profiles.harm.shape, (num_profiles,)),
            "severities": (len(self.profiles.severities), num_profiles),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ConfigError(f"health reference: {name} is {found}, expected {expected}")
        self._check_ranges()
        classifiers = [
            Classifier(covariance, profiles, unknown_harm, limit)
            for covariance, profiles, unknown_harm, limit in zip(
                (self.covariance + self.gap, self.change_covariance),
                (self.profiles, _of_changes(self.profiles)),
                (UNKNOWN_HARM, UNKNOWN_CHANGE_HARM),
                self.distance_limits,
                strict=True,
            )
        ]
        object.__setattr__(self, "_absolute", classifiers[0])
        object.__setattr__(self, "_change", classifiers[1])
        # What is asked for in every frame, as one matrix product each.
        members = _membership([check_of(name) for name in self.reading_names], self._checks)
        object.__setattr__(self, "_check_means", members / members.sum(axis=0))  # (R, C)
        classes = [CLEAN, *self.profiles.names, UNKNOWN]
        object.__setattr__(self, "_cause_names", tuple(dict.fromkeys(classes)))
        object.__setattr__(self, "_cause_sums", _membership(classes, self._cause_names))

    def _check_ranges(self) -> None:
        """Whatever is not a number in its range would make scores that compare with nothing."""
        ranges: list[tuple[str, object, float, float]] = [
            ("mean", np.abs(self.mean), 0.0, _MAX_VALUE),
            ("std", self.std, _LEAST, _MAX_STD),
            ("covariance", np.abs(self.covariance), 0.0, _MAX_VARIANCE),
            ("change_covariance", np.abs(self.change_covariance), 0.0, _MAX_VARIANCE),
            ("gap", np.abs(self.gap), 0.0, _MAX_VARIANCE),
            ("distance_limits", self.distance_limits, _LEAST, _MAX_DEVIATION),
            ("check_limits", self.check_limits, _LEAST, _MAX_DEVIATION),
            ("shifts of a profile", np.abs(self.profiles.shifts), 0.0, _MAX_DEVIATION),
            ("harm of a profile", self.profiles.harm, 0.0, _MAX_HARM),
            ("threshold", self.threshold, _LEAST, _MAX_HARM),
            ("eloss_normal", self.eloss_normal, 0.0, _MAX_VALUE),
        ]
        for name, values, least, most in ranges:
            array = np.asarray(values, np.float64)
            if not ((array >= least) & (array <= most)).all():  # NaN is neither
                raise ConfigError(f"health reference: {name} is out of range or no number")
        for covariance in (self.covariance, self.change_covariance, self.gap):
            if not np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6):
                raise ConfigError("health reference: a covariance is not symmetric")
        for name in self.profiles.names:
            if not 0 < len(name) <= 100 or not name.isprintable() or name in (CLEAN, UNKNOWN):
                raise ConfigError("health reference: a profile has an unusable name")

    @property
    def checks(self) -> tuple[str, ...]:
        """The C checks, in the order of their readings."""
        return self._checks

    @property
    def layer_mean(self) -> Array:
        """(L,) normal entropy of each layer."""
        return self.mean[: len(self.layer_names)]

    @property
    def layer_std(self) -> Array:
        """(L,) normal spread of each layer's entropy."""
        return self.std[: len(self.layer_names)]

    def deviations(self, readings: Array, normal: Array | None = None) -> Array:
        """Squashed deviations of (..., R) readings from the clean mean, or from ``normal``.

        The squash is asinh of the deviation in clean standard deviations.
        """
        return np.arcsinh((readings - (self.mean if normal is None else normal)) / self.std)

    def judge(self, readings: Array) -> Judgement:
        """Compares (N, R) readings with the profiles, around the clean mean."""
        return self._absolute.judge(self.deviations(readings))

    def judge_change(self, readings: Array, before: Array, frames_ago: int = 0) -> Judgement:
        """Compares (N, R) readings with the profiles, around the mean of the frames before.

        A scene changes little in half a second; what makes streets differ from each other drops
        out, and the onset of a disturbance stands out.

        Args:
            readings: (N, R) readings.
            before: (R,) or (N, R) mean readings of the last clean frames.
            frames_ago: Frames between them and these: the scene moves on, and what is forgiven
                grows with it.
        """
        spread = 1.0 + frames_ago / _SCENE_FRAMES
        return self._change.judge(self.deviations(readings, before), spread)

    def score(self, readings: Array) -> Array:
        """(N,) scores of (N, R) readings, each frame by itself; infinite where not finite."""
        readings = np.atleast_2d(readings)
        finite = np.isfinite(readings).all(axis=1)
        score = np.full(len(readings), np.inf)
        score[finite] = self.judge(readings[finite]).score
        return score

    def check_ratios(self, readings: Array) -> Array:
        """(..., C) deviation of each check over its limit; from 1 on the check departs."""
        # What is not finite counts as far out, and for its own check alone.
        squares = np.fmin(np.abs(self.deviations(readings)), _UNREADABLE_DEVIATION) ** 2
        return np.asarray(np.sqrt(squares @ self._check_means) / self.check_limits)

    def causes(self, judgement: Judgement) -> dict[str, Array]:
        """Probability (N,) of clean, of each known disturbance at any severity, of unknown."""
        probabilities = judgement.probabilities @ self._cause_sums  # (N, causes)
        return dict(zip(self._cause_names, probabilities.T, strict=True))

    def likely_causes(self, readings: Array) -> list[str]:
        """The most probable cause of each of (N, R) readings."""
        causes = self.causes(self.judge(readings))
        names = list(causes)
        return [names[i] for i in np.argmax(list(causes.values()), axis=0)]


def without_readings(reference: HealthReference, dropped: Sequence[str]) -> HealthReference:
    """The same reference for fewer readings: the marginal of its Gaussians, which is exact.

    Limits of root mean squares are scaled as if the dropped readings had been normal.

    Args:
        reference: Any reference.
        dropped: Names of readings; those that it does not have are no matter.
    """
    names = reference.reading_names
    kept = np.flatnonzero([name not in dropped for name in names])
    if len(kept) == len(names):
        return reference
    block = np.ix_(kept, kept)
    kept_names = tuple(names[i] for i in kept)
    checks, kept_checks = [check_of(n) for n in names], [check_of(n) for n in kept_names]
    limits = dict(zip(reference.checks, reference.check_limits.tolist(), strict=True))
    growth = float(np.sqrt(len(names) / len(kept)))
    return replace(
        reference,
        reading_names=kept_names,
        mean=reference.mean[kept],
        std=reference.std[kept],
        covariance=reference.covariance[block],
        change_covariance=reference.change_covariance[block],
        gap=reference.gap[block],
        distance_limits=(
            growth * reference.distance_limits[0],
            growth * reference.distance_limits[1],
        ),
        check_limits=np.array(
            [
                limits[check] * np.sqrt(checks.count(check) / kept_checks.count(check))
                for check in checks_of(kept_names)
            ]
        ),
        profiles=replace(reference.profiles, shifts=reference.profiles.shifts[:, kept]),
    )


def _of_changes(profiles: Profiles) -> Profiles:
    """The profiles as changes are judged by: those like a passing vehicle do not alarm."""
    like_traffic = np.array([name in _LIKE_TRAFFIC for name in profiles.names], np.bool_)
    return replace(
        profiles,
        harm=np.where(like_traffic, np.minimum(profiles.harm, UNKNOWN_CHANGE_HARM), profiles.harm),
    )


def _membership(members: Sequence[str], groups: Sequence[str]) -> Array:
    """(M, G) 1 where a member is of that group."""
    return np.array([[float(member == group) for group in groups] for member in members])
