# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy health of a stream of frames: score, level, reason. Read `HealthMonitor.update` first.

Each frame is judged twice (``judge.py``): against the clean mean, and against the mean of the clean
frames just before it, where a sudden change stands out. The worse score counts. The level follows
an average over time, in which a single anomalous frame fades and a severe one shows at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eloss_perception.errors import ConfigError
from eloss_perception.health.entropy import eloss
from eloss_perception.health.judge import HealthJudge, Judgement
from eloss_perception.health.readings import cause_in_words, reason_in_words
from eloss_perception.health.recent_frames import (
    MAX_FRAMES,
    Fingerprints,
    RecentFrames,
    SlowDrift,
    repeated_share,
)
from eloss_perception.health.reference import CLEAN, HealthReference

# A frame's weight in the average over time ends here, as a multiple of the threshold: the first
# frame of the worst disturbance is a WARN, the second one an ERROR, and ten clean ones bring it
# back to OK, whatever the threshold is.
_MAX_RATIO = 7.2
# A frame is remembered as clean if that is what it most likely is. One with an obvious but harmless
# disturbance is not: a mean of clean and disturbed frames is like nothing known.
_MIN_CLEAN = 0.5
# The level falls below this part of the limit that raised it.
_CLEAR_RATIO = 0.8
# Scans are noisy: no two are equal bit for bit. A repeated one says nothing of the present; half of
# a scan that is a tenth of a second old costs some 40 points on simulated drives.
_REPEATED = "stale_scan"
_REPEATED_AP_LOSS = 80.0
_MIN_REPEATED = 0.15
_UNREADABLE = "unreadable"
_BLIND = "blind"


class HealthLevel(IntEnum):
    """Values of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class HealthSettings(BaseModel):
    """How scores become a level."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    warn_ratio: float = Field(
        1.0, gt=0, le=1000, description="score / threshold from which the level WARNs"
    )
    error_ratio: float = Field(3.0, gt=0, le=1000, description="score / threshold of an ERROR")
    smoothing: float = Field(
        0.4, gt=0, le=1, description="weight of the newest frame in the average over time"
    )
    recent_frames: int = Field(
        10,
        ge=0,
        le=MAX_FRAMES,
        description="clean frames that a frame is compared with; 0 for none",
    )
    follow_drift: bool = Field(
        False, description="let the normal values follow slow drift, never across an alarm"
    )
    max_drift: float = Field(
        0.5, ge=0, le=2, description="how far they may follow [standard deviations]"
    )

    @model_validator(mode="after")
    def _check_order(self) -> HealthSettings:
        if self.error_ratio < self.warn_ratio:
            raise ValueError(
                f"error_ratio {self.error_ratio} must not be below warn_ratio {self.warn_ratio}"
            )
        return self


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of one frame; the content of ``EntropyHealth.msg``.

    Attributes:
        level: The level, which follows ``smoothed_score``.
        score: Expected loss of average precision in this frame [points], and up to 1.55 points for
            being unusual.
        smoothed_score: Its average over time.
        threshold: Score from which a frame is anomalous.
        eloss: Published metric, variance of the entropy changes inside stages.
        eloss_ratio: ``eloss`` over its normal value.
        layer_names: Names of the L tapped layers.
        layer_entropy: (L,) entropies of this frame.
        entropy_change: (L − 1,) differences of consecutive layers.
        layer_mean: (L,) normal entropies.
        layer_std: (L,) their normal spread.
        check_names: Names of the C checks.
        check_ratios: (C,) deviation of each check over its limit; 1 and more is anomalous.
        likely_cause: The known disturbance that this frame is most like, "unknown", or "".
        reason: Why the level is what it is, in words.
    """

    level: HealthLevel
    score: float
    smoothed_score: float
    threshold: float
    eloss: float
    eloss_ratio: float
    layer_names: tuple[str, ...]
    layer_entropy: npt.NDArray[np.float64]
    entropy_change: npt.NDArray[np.float64]
    layer_mean: npt.NDArray[np.float64]
    layer_std: npt.NDArray[np.float64]
    check_names: tuple[str, ...]
    check_ratios: npt.NDArray[np.float64]
    likely_cause: str
    reason: str


class HealthMonitor:
    """Follows the health of a stream of frames."""

    def __init__(self, reference: HealthReference, settings: HealthSettings | None = None) -> None:
        self.reference = reference
        self.settings = settings or HealthSettings()
        self.judge = HealthJudge(reference)
        self._max_score = min(_MAX_RATIO * reference.threshold, _REPEATED_AP_LOSS)
        names = reference.reading_names
        self._counts_in_range = [i for i, name in enumerate(names) if name == "counts.in_range"]
        self.reset()

    def reset(self) -> None:
        """Forgets the past: the level is OK until frames say otherwise."""
        self._level = HealthLevel.OK
        self._smoothed = 0.0
        self._was_anomalous = False
        self._recent = RecentFrames(self.settings.recent_frames)
        self._drift = SlowDrift(self.reference.std, self.settings.max_drift)
        self._last: npt.NDArray[np.float64] | None = None
        self._last_fingerprints: Fingerprints | None = None

    def update(
        self, readings: npt.NDArray[np.float64], fingerprints: Fingerprints | None = None
    ) -> HealthReport:
        """Judges the next frame.

        Args:
            readings: (R,) the frame's readings, ``Detections.readings``.
            fingerprints: (16,) of its sectors, ``Detections.fingerprints``; without them only the
                repetition of a whole scan is detected.

        Returns:
            The frame's report; its level takes the frames before it into account.

        Raises:
            ConfigError: If the number of readings is not the reference's.
        """
        reference = self.reference
        if np.shape(readings) != reference.mean.shape:
            raise ConfigError(
                f"{np.shape(readings)} readings do not fit a health reference "
                f"of {reference.mean.shape}"
            )
        repeated = self._repeated_share(readings, fingerprints)
        score, cause, is_clean = self._judge(readings, repeated)
        self._follow(score)
        if self._level == HealthLevel.OK and is_clean:
            self._recent.add(readings)
            if self.settings.follow_drift:
                self._drift.add(readings - reference.mean)
        else:
            self._recent.age()
        self._last, self._last_fingerprints = readings, fingerprints
        return self._report(readings, score, cause)

    def settle(self, readings: npt.NDArray[np.float64]) -> HealthReport:
        """The report that a stream of frames like this one converges to; forgets the past.

        Args:
            readings: (R,) the frame's readings, ``Detections.readings``.
        """
        self.reset()
        score, cause, _ = self._judge(readings, 0.0)
        self._was_anomalous = self._is_anomalous(score)
        self._smoothed = min(score, self._max_score)
        self._follow(score)
        return self._report(readings, score, cause)

    def _repeated_share(
        self, readings: npt.NDArray[np.float64], fingerprints: Fingerprints | None
    ) -> float:
        """Share of the scan that is the last one's, bit for bit."""
        if self._last is not None and bool((readings == self._last).all()):
            return 1.0
        if fingerprints is None or self._last_fingerprints is None:
            return 0.0
        return repeated_share(fingerprints, self._last_fingerprints)

    def _judge(self, readings: npt.NDArray[np.float64], repeated: float) -> tuple[float, str, bool]:
        """Score of a frame, likely cause if anomalous, and whether it may be remembered."""
        judge = self.judge
        if not np.isfinite(readings).all():
            return 100.0, _UNREADABLE, False
        if (readings[self._counts_in_range] <= 0.0).any():
            return 100.0, _BLIND, False
        if repeated >= _MIN_REPEATED:
            return _REPEATED_AP_LOSS * repeated, _REPEATED, False
        judgement = judge.judge((readings - self._drift.offset)[None])
        before = self._recent.mean()
        if before is not None:
            change = judge.judge_change(readings[None], before, self._recent.frames_ago)
            if change.score[0] > judgement.score[0]:
                judgement = change
        score = float(judgement.score[0])
        cause = self._likely_cause(judgement) if self._is_anomalous(score) else ""
        return score, cause, bool(judgement.probabilities[0, 0] >= _MIN_CLEAN)

    def _is_anomalous(self, score: float) -> bool:
        return score >= self.reference.threshold * self.settings.warn_ratio

    def _likely_cause(self, judgement: Judgement) -> str:
        causes = self.judge.causes(judgement)
        name = max(causes, key=lambda cause: float(causes[cause][0]))
        return "" if name == CLEAN else name

    def _follow(self, score: float) -> None:
        """Moves the average over time, and the level with it.

        The level rises with the second anomalous frame in a row, or with one that no scene can
        explain.
        """
        was_anomalous, self._was_anomalous = self._was_anomalous, self._is_anomalous(score)
        may_rise = (was_anomalous and self._was_anomalous) or score >= self._max_score
        weight = self.settings.smoothing
        self._smoothed += weight * (min(score, self._max_score) - self._smoothed)
        ratio = self._smoothed / self.reference.threshold
        limits = {
            HealthLevel.ERROR: self.settings.error_ratio,
            HealthLevel.WARN: self.settings.warn_ratio,
        }
        for level, limit in limits.items():
            if self._level >= level:
                if ratio >= limit * _CLEAR_RATIO:
                    self._level = level
                    return
            elif ratio >= limit and may_rise:
                self._level = level
                return
        self._level = HealthLevel.OK

    def _report(self, readings: npt.NDArray[np.float64], score: float, cause: str) -> HealthReport:
        reference = self.reference
        entropy = readings[: len(reference.layer_names)]
        value = eloss(entropy, reference.stages)
        normal = reference.eloss_normal
        return HealthReport(
            level=self._level,
            score=score,
            smoothed_score=self._smoothed,
            threshold=reference.threshold,
            eloss=value,
            eloss_ratio=value / normal if normal > 0 else float("nan"),
            layer_names=reference.layer_names,
            layer_entropy=entropy,
            entropy_change=np.diff(entropy),
            layer_mean=reference.layer_mean,
            layer_std=reference.layer_std,
            check_names=reference.checks,
            check_ratios=self.judge.check_ratios(readings),
            likely_cause=cause,
            reason=self._reason(readings, score, cause),
        )

    def _reason(self, readings: npt.NDArray[np.float64], score: float, cause: str) -> str:
        if self._is_anomalous(score):
            words = cause_in_words(cause, self.reference.profiles.texts)
            says = f"{words} ({score:.0f} points expected to be lost)"
            if cause in (_REPEATED, _BLIND):
                return says
            deviations = self.reference.deviations(readings)
            return f"{says}: {reason_in_words(self.reference.reading_names, deviations)}"
        if self._level == HealthLevel.OK:
            return "readings are normal"
        return "readings are normal again; the level falls when they stay so"
