# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Is this clean input, which known disturbance is it like, and what harm does that do?

A Gaussian classifier with one shared covariance. Its classes are *clean*, every known disturbance
at every severity (its profile: how it moves the readings, and what it costs the detector), and
*unknown*: far from clean, near no profile. The posterior's expected harm, in points of average
precision, is the score; so a disturbance that is plain to see but costs nothing stays quiet, and a
subtle one that costs much does not. One matrix product a frame.

The form follows *A Simple and Efficient Baseline for Zero-Shot Generative Classification* (arXiv
2412.12594), where a shared, shrunk covariance serves classification and the detection of what fits
no class alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.compiled import njit
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
# sensor: not enough for an alarm, being unusual included.
UNKNOWN_CHANGE_HARM = 3.0
# What being unlike clean input adds to the score by itself [points], whatever the cause: enough to
# rank harmless disturbances, too little for an alarm. The root keeps it from saturating early.
_MAX_UNUSUAL = 1.5
_UNUSUAL_ROOT = 5.0
# The same of the plain distance, which tells more and less unusual apart where no class fits.
_MAX_DISTANT = 0.05
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


class Classifier:
    """The classes in whitened space."""

    def __init__(
        self, covariance: Array, profiles: Profiles, unknown_harm: float, limit: float
    ) -> None:
        """Whitens by a shared covariance.

        Args:
            covariance: (R, R) of squashed deviations within a class, positive definite.
            profiles: The known disturbances.
            unknown_harm: What a frame like nothing known is taken to cost [points].
            limit: Distance that one in a hundred clean frames exceeds.

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
            np.concatenate([[0.0], profiles.harm, [unknown_harm]]),
            profile_priors,
            float(unknown_prior),
        )
        self._limit = limit
        # Compiles before the first frame waits for it.
        judged = self.judge(np.zeros((1, num_readings)))
        if not (np.isfinite(judged.score).all() and np.isfinite(whitening).all()):
            raise ConfigError("health reference: a covariance is next to singular")

    def judge(self, deviations: Array, spread: float = 1.0) -> Judgement:
        """Says what (N, R) squashed deviations mean.

        Args:
            deviations: (N, R) squashed deviations.
            spread: Factor of the shared covariance.
        """
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
    harm,
    profile_priors,
    unknown_prior,
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
            expected[n] += logits[k] * harm[k]
    return expected, distance, probabilities
