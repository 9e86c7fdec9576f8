# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a frame's readings say: is this clean input, which known disturbance is it like, what harm?

A Gaussian classifier with one shared covariance. Its classes are *clean*, every known disturbance
at every severity (its profile: how it moves the readings, and what it costs the detector), and
*unknown*: far from clean, near no profile. The posterior's expected harm, in points of average
precision, is the score; so a disturbance that is plain to see but costs nothing stays quiet, and a
subtle one that costs much does not. One matrix product a frame.

The form follows *A Simple and Efficient Baseline for Zero-Shot Generative Classification* (arXiv
2412.12594), where a shared, shrunk covariance serves classification and the detection of what fits
no class alike. Deviations enter through asinh: linear within a few standard deviations,
logarithmic beyond, where a disturbance's strength varies with the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt

from eloss_perception.core.readings import check_of, checks_of
from eloss_perception.errors import ConfigError

Array = npt.NDArray[np.float64]

# Log-likelihoods are tempered: readings of one frame are not as independent as a Gaussian has it.
_TEMPER = 0.8
# Odds of any disturbance against clean input, before looking; shared by the profiles.
_PRIOR_ODDS = 0.1
# The unknown class has the shared covariance times the square of this, and this harm: that of the
# median dangerous disturbance in simulation.
_UNKNOWN_SPREAD = 3.0
UNKNOWN_HARM = 20.0
# What changes at once and is like nothing known is more often the scene (a lorry passes) than the
# sensor: not enough for an alarm.
UNKNOWN_CHANGE_HARM = 4.0
# What being unlike clean input adds to the score by itself [points], whatever the cause: enough to
# rank harmless disturbances, too little for an alarm. The root keeps it from saturating early.
_MAX_UNUSUAL = 1.5
_UNUSUAL_ROOT = 5.0
# The same of the plain distance, which tells more and less unusual apart where no class fits.
_MAX_DISTANT = 0.05
# Squashed deviation of a reading that is not finite; those of finite ones end at 710.
_UNREADABLE_DEVIATION = 1000.0
# Variance of what changes from frame to frame doubles in so many of them; on simulated drives this
# keeps the share of odd clean frames the same after three seconds as after none.
_SCENE_FRAMES = 10.0
# A profile's own variance grows with its mean square shift, in this proportion: the further a
# disturbance goes, the less exactly it is known how far.
_SPREAD_PER_SHIFT = 0.2
CLEAN, UNKNOWN = "clean", "unknown"


@dataclass(frozen=True)
class Profiles:
    """Known disturbances (K of them): how each moves the readings, and what it costs.

    Attributes:
        names: (K,) corruption of each profile.
        severities: (K,) its severity.
        shifts: (K, R) mean shift of the squashed deviations.
        harm: (K,) loss of average precision [points], 0 or more.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    shifts: Array
    harm: Array


@dataclass(frozen=True)
class Judgement:
    """What the readings of N frames say.

    Attributes:
        score: (N,) expected loss of average precision [points], and a little for being unusual; 0
            to 102.
        distance: (N,) distance from clean over what one in a hundred clean frames exceeds.
        probabilities: (N, K + 2) of clean, of each profile, of unknown.
    """

    score: Array
    distance: Array
    probabilities: Array


@dataclass(frozen=True)
class HealthReference:
    """What clean and disturbed input look like to one network; part of its bundle.

    Attributes:
        layer_names: Names of the L tapped layers.
        stages: Backbone stage of each layer.
        reading_names: Names of the R readings, see ``core/readings.py``.
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
    _absolute: _Classifier = field(init=False, repr=False, compare=False)
    _change: _Classifier = field(init=False, repr=False, compare=False)
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
        finite = all(np.isfinite(a).all() for a in (self.mean, self.std, self.check_limits))
        positive = (self.std > 0).all() and (self.check_limits > 0).all()
        if not (finite and positive and self.threshold > 0 and self.eloss_normal >= 0):
            raise ConfigError("health reference: a mean, limit or threshold is out of range")
        if not (np.isfinite(self.profiles.shifts).all() and (self.profiles.harm >= 0).all()):
            raise ConfigError("health reference: a profile is out of range")
        classifiers = [
            _Classifier(covariance, self.profiles, unknown_harm, limit)
            for covariance, unknown_harm, limit in zip(
                (self.covariance + self.gap, self.change_covariance),
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
        forgiven = np.sqrt(1.0 + frames_ago / _SCENE_FRAMES)
        return self._change.judge(self.deviations(readings, before) / forgiven)

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


def _membership(members: Sequence[str], groups: Sequence[str]) -> Array:
    """(M, G) 1 where a member is of that group."""
    return np.array([[float(member == group) for group in groups] for member in members])


class _Classifier:
    """The classes in whitened space."""

    def __init__(
        self, covariance: Array, profiles: Profiles, unknown_harm: float, limit: float
    ) -> None:
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            raise ConfigError("health reference: a covariance is not positive definite") from None
        whitening = np.linalg.inv(factor).T  # upper triangular
        centers = profiles.shifts @ whitening  # (K, R)
        log_prior = np.log(_PRIOR_ODDS)
        num_readings = len(covariance)
        unknown_prior = log_prior - _TEMPER * num_readings * np.log(_UNKNOWN_SPREAD)
        center_squares = (centers**2).sum(axis=1)
        variances = 1.0 + _SPREAD_PER_SHIFT * center_squares / num_readings  # (K,)
        profile_priors = log_prior - np.log(max(len(profiles.names), 1))
        profile_priors = profile_priors - 0.5 * _TEMPER * num_readings * np.log(variances)
        self._arguments = (
            np.ascontiguousarray(whitening),
            np.ascontiguousarray(centers.T),
            center_squares,
            variances,
            np.concatenate([[0.0], profiles.harm, [unknown_harm]]),
            profile_priors,
            float(unknown_prior),
        )
        self._limit = limit
        # Compiles before the first frame waits for it.
        self.judge(np.zeros((1, len(covariance))))

    def judge(self, deviations: Array) -> Judgement:
        """See ``HealthReference.judge``; deviations (N, R)."""
        expected, distance, probabilities = _classify(deviations, *self._arguments)
        distance /= self._limit
        unusual = _MAX_UNUSUAL * (1.0 - probabilities[:, 0] ** (1.0 / _UNUSUAL_ROOT))
        distant = _MAX_DISTANT * np.minimum(0.5 * distance, 1.0)
        return Judgement(expected + unusual + distant, distance, probabilities)


@numba.njit(cache=True, nogil=True)
def _classify(  # type: ignore[no-untyped-def]
    deviations, whitening, centers, center_squares, variances, harm, profile_priors, unknown_prior
):
    """Expected harm (N,), RMS of the whitened deviations (N,) and posterior (N, K + 2).

    One frame after the other and no array in between: a monitor judges a single frame, where calls
    cost more than sums.
    """
    num_frames, num_readings = deviations.shape
    num_profiles = len(center_squares)
    expected = np.empty(num_frames)
    distance = np.empty(num_frames)
    probabilities = np.empty((num_frames, num_profiles + 2))
    white = np.empty(num_readings)
    products = np.empty(num_profiles)
    for n in range(num_frames):
        white[:] = 0.0
        products[:] = 0.0
        for i in range(num_readings):
            for j in range(i, num_readings):
                white[j] += deviations[n, i] * whitening[i, j]
        from_clean = 0.0
        for i in range(num_readings):
            from_clean += white[i] * white[i]
            for k in range(num_profiles):
                products[k] += white[i] * centers[i, k]
        distance[n] = np.sqrt(from_clean / num_readings)
        # Log odds against clean input, whose own are zero.
        logits = probabilities[n]
        logits[0] = 0.0
        for k in range(num_profiles):
            from_center = from_clean - 2.0 * products[k] + center_squares[k]
            explained = from_clean - from_center / variances[k]
            logits[k + 1] = 0.5 * _TEMPER * explained + profile_priors[k]
        explained = from_clean * (1.0 - 1.0 / _UNKNOWN_SPREAD**2)
        logits[num_profiles + 1] = 0.5 * _TEMPER * explained + unknown_prior
        highest = logits.max()
        total = 0.0
        for k in range(num_profiles + 2):
            logits[k] = np.exp(logits[k] - highest)
            total += logits[k]
        expected[n] = 0.0
        for k in range(num_profiles + 2):
            logits[k] /= total
            expected[n] += logits[k] * harm[k]
    return expected, distance, probabilities
