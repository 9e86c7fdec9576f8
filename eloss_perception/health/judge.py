# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The judge of single frames: is this clean input, which disturbance is it like, what does it cost?

A Gaussian classifier with one shared covariance. Its classes are *clean*, every known disturbance
at every severity (its profile: how it moves the readings, and what it costs the detector), and
*unknown*: far from clean, near no profile. The posterior expectation of the loss, in points of
average precision (AP), is the score: an obvious disturbance that costs nothing raises no alarm, a
subtle one that costs much does. One matrix product a frame.

The form follows *A Simple and Efficient Baseline for Zero-Shot Generative Classification* (arXiv
2412.12594), where a shared, shrunk covariance serves classification and the detection of what fits
no class alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit
from eloss_perception.errors import ConfigError
from eloss_perception.health.readings import check_of
from eloss_perception.health.reference import CLEAN, UNKNOWN, HealthReference, Profiles

Array = npt.NDArray[np.float64]

# Log-likelihoods are tempered: readings of one frame are not as independent as a Gaussian has it.
_TEMPER = 0.8
# Prior odds of any disturbance against clean input; shared by the profiles.
_PRIOR_ODDS = 0.1
# The unknown class has the shared covariance times the square of this, and the AP loss of the
# median dangerous disturbance in simulation.
_UNKNOWN_SPREAD = 3.0
UNKNOWN_AP_LOSS = 20.0
# A sudden change that is like nothing known is more often the scene (a lorry passes) than the
# sensor: not enough for an alarm, even with what is added for being unusual.
UNKNOWN_CHANGE_AP_LOSS = 3.0
# What being unlike clean input adds to the score by itself [points], whatever the cause: enough to
# rank harmless disturbances, too little for an alarm. The root keeps it from saturating early.
_MAX_UNUSUAL = 1.5
_UNUSUAL_ROOT = 5.0
# The same for the distance alone, which ranks frames where no class fits.
_MAX_DISTANT = 0.05
# A profile's own variance grows with its mean square shift, in this proportion: the further a
# disturbance moves the readings, the less exactly it is known how far.
_SPREAD_PER_SHIFT = 0.2
# The variance of changes from frame to frame doubles in so many frames; on simulated drives this
# keeps the share of anomalous clean frames the same after three seconds as after none.
_SCENE_FRAMES = 10.0
# Squashed deviation of a reading that is not finite; those of finite ones end at 710.
_UNREADABLE_DEVIATION = 1000.0


@dataclass(frozen=True)
class Judgement:
    """What the readings of N frames say.

    Attributes:
        score: (N,) expected AP loss [points], and a little for being unusual; 0 to 102.
        distance: (N,) distance from clean, over the one that 1 % of clean frames exceed.
        probabilities: (N, K + 2) of clean, of each profile, of unknown.
    """

    score: Array
    distance: Array
    probabilities: Array


class HealthJudge:
    """Judges frames by a health reference, each by itself.

    Args:
        reference: What clean and disturbed input look like.

    Raises:
        ConfigError: If a covariance of the reference is not positive definite.
    """

    def __init__(self, reference: HealthReference) -> None:
        self.reference = reference
        profiles, limits = reference.profiles, reference.distance_limits
        self._absolute = Classifier(
            reference.covariance + reference.gap, profiles, UNKNOWN_AP_LOSS, limits[0]
        )
        # As a change, what a passing vehicle looks like does not alarm.
        like_traffic = np.array([name in profiles.like_traffic for name in profiles.names], bool)
        capped = np.minimum(profiles.ap_loss, UNKNOWN_CHANGE_AP_LOSS)
        self._change = Classifier(
            reference.change_covariance,
            replace(profiles, ap_loss=np.where(like_traffic, capped, profiles.ap_loss)),
            UNKNOWN_CHANGE_AP_LOSS,
            limits[1],
        )
        # What every frame needs, as one matrix product each.
        members = _membership([check_of(n) for n in reference.reading_names], reference.checks)
        self._check_means = members / members.sum(axis=0)  # (R, C)
        classes = [CLEAN, *profiles.names, UNKNOWN]
        self._cause_names = tuple(dict.fromkeys(classes))
        self._cause_sums = _membership(classes, self._cause_names)

    def judge(self, readings: Array) -> Judgement:
        """Compares (N, R) readings with the profiles, around the clean mean."""
        return self._absolute.judge(self.reference.deviations(readings))

    def judge_change(self, readings: Array, before: Array, frames_ago: int = 0) -> Judgement:
        """Compares (N, R) readings with the profiles, around the mean of the frames before.

        A scene changes little in half a second: what makes streets differ from each other drops
        out, and the onset of a disturbance stands out.

        Args:
            readings: (N, R) readings.
            before: (R,) or (N, R) mean readings of the last clean frames.
            frames_ago: Frames between them and these; the scene moves on, and the tolerance grows.
        """
        spread = 1.0 + frames_ago / _SCENE_FRAMES
        return self._change.judge(self.reference.deviations(readings, before), spread)

    def score(self, readings: Array) -> Array:
        """Returns (N,) scores of (N, R) readings; infinite where a reading is not finite."""
        readings = np.atleast_2d(readings)
        finite = np.isfinite(readings).all(axis=1)
        score = np.full(len(readings), np.inf)
        score[finite] = self.judge(readings[finite]).score
        return score

    def check_ratios(self, readings: Array) -> Array:
        """Returns the (..., C) deviation of each check over its limit; 1 and more is anomalous."""
        # A reading that is not finite counts as far out, and for its own check alone.
        deviations = np.abs(self.reference.deviations(readings))
        squares = np.fmin(deviations, _UNREADABLE_DEVIATION) ** 2
        return np.asarray(np.sqrt(squares @ self._check_means) / self.reference.check_limits)

    def causes(self, judgement: Judgement) -> dict[str, Array]:
        """Probability (N,) of clean, of each known disturbance at any severity, of unknown."""
        probabilities = judgement.probabilities @ self._cause_sums  # (N, causes)
        return dict(zip(self._cause_names, probabilities.T, strict=True))

    def likely_causes(self, readings: Array) -> list[str]:
        """The most probable cause of each of (N, R) readings."""
        causes = self.causes(self.judge(readings))
        names = list(causes)
        return [names[i] for i in np.argmax(list(causes.values()), axis=0)]


class Classifier:
    """The classes in whitened space."""

    def __init__(
        self, covariance: Array, profiles: Profiles, unknown_ap_loss: float, limit: float
    ) -> None:
        """Whitens by a shared covariance.

        Args:
            covariance: (R, R) of squashed deviations within a class, positive definite.
            profiles: The known disturbances.
            unknown_ap_loss: AP loss of a frame like nothing known [points].
            limit: Distance that 1 % of clean frames exceed.

        Raises:
            ConfigError: If the covariance is not positive definite.
        """
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
            np.concatenate([[0.0], profiles.ap_loss, [unknown_ap_loss]]),
            profile_priors,
            float(unknown_prior),
        )
        self._limit = limit
        # Compiles before the first frame waits for it.
        judged = self.judge(np.zeros((1, num_readings)))
        if not (np.isfinite(judged.score).all() and np.isfinite(whitening).all()):
            raise ConfigError("health reference: a covariance is nearly singular")

    def judge(self, deviations: Array, spread: float = 1.0) -> Judgement:
        """Classifies (N, R) squashed deviations; ``spread`` scales the shared covariance."""
        expected, distance, probabilities = _classify(deviations, spread, *self._arguments)
        distance /= self._limit
        unusual = _MAX_UNUSUAL * (1.0 - probabilities[:, 0] ** (1.0 / _UNUSUAL_ROOT))
        distant = _MAX_DISTANT * np.minimum(0.5 * distance, 1.0)
        return Judgement(expected + unusual + distant, distance, probabilities)


@njit
def _classify(  # type: ignore[no-untyped-def]
    deviations,
    spread,
    whitening,
    centers,
    center_squares,
    variances,
    ap_loss,
    profile_priors,
    unknown_prior,
):
    """Expected loss (N,), RMS of the whitened deviations (N,) and posterior (N, K + 2).

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
        distance[n] = np.sqrt(from_clean / (spread * num_readings))
        # Log odds against clean input, whose own are zero.
        logits = probabilities[n]
        logits[0] = 0.0
        for k in range(num_profiles):
            from_center = from_clean - 2.0 * products[k] + center_squares[k]
            explained = from_clean - from_center / variances[k]
            logits[k + 1] = 0.5 * _TEMPER * explained / spread + profile_priors[k]
        explained = from_clean * (1.0 - 1.0 / _UNKNOWN_SPREAD**2)
        logits[num_profiles + 1] = 0.5 * _TEMPER * explained / spread + unknown_prior
        highest = logits.max()
        total = 0.0
        for k in range(num_profiles + 2):
            logits[k] = np.exp(logits[k] - highest)
            total += logits[k]
        expected[n] = 0.0
        for k in range(num_profiles + 2):
            logits[k] /= total
            expected[n] += logits[k] * ap_loss[k]
    return expected, distance, probabilities


def _membership(members: Sequence[str], groups: Sequence[str]) -> Array:
    """(M, G) 1 where a member is of that group."""
    return np.array([[float(member == group) for group in groups] for member in members])
