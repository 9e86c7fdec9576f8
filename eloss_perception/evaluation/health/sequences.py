# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Corruptions that begin and end while scans stream in, and what the monitor makes of them.

The network has seen every scan of a sequence clean and under every condition, once. Any course of
events is then put together from those readings: clean frames, an onset, an end, clean frames again,
each played to a new monitor. A sequence too short for that is played back and forth, since scans
in reverse follow each other as closely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import DataError
from eloss_perception.evaluation.health.frames import CLEAN, is_repetition
from eloss_perception.evaluation.health.readout import Readings, Replay, fork, play
from eloss_perception.evaluation.health.settings import SequenceSettings
from eloss_perception.health.monitor import HealthLevel, HealthMonitor
from eloss_perception.health.reference import Condition, HealthReference

# condition -> (T, R) readings of one sequence
SequenceReadings = Mapping[Condition, Readings]

_NEVER = math.inf


class Onset(NamedTuple):
    """One corruption that came and went; counts of frames are infinite where it never happened.

    Attributes:
        peak: Highest score that the level follows within the window after the onset.
        clean_peak: The same frames, clean.
        frames_to_warn: Corrupted frames until the level was WARN or worse; 1 is the first.
        frames_to_error: Until it was ERROR.
        frames_to_ok: Clean frames after the end until it was OK; 0 where it never rose.
    """

    peak: float
    clean_peak: float
    frames_to_warn: float
    frames_to_error: float
    frames_to_ok: float


@dataclass(frozen=True, slots=True)
class SequenceOutcome:
    """One condition over all sequences.

    Attributes:
        onsets: What followed each onset.
        share_ok: Share of frames at level OK while the corruption lasts for a whole sequence.
        num_frames: Frames that this is the share of.
    """

    onsets: tuple[Onset, ...]
    share_ok: float
    num_frames: int


@dataclass(frozen=True, slots=True)
class CleanOutcome:
    """Clean sequences.

    Attributes:
        num_alarms: How often the level left OK.
        num_frames: Frames played.
        share_ok: Share of them at level OK.
        hours: Their time.
    """

    num_alarms: int
    num_frames: int
    share_ok: float
    hours: float


def back_and_forth(num_frames: int, start: int, length: int) -> NDArray[np.int64]:
    """Return (length,) frames from `start` on, turning round at the ends."""
    period = max(1, 2 * num_frames - 2)
    phase = (start + np.arange(length)) % period
    return np.where(phase < num_frames, phase, period - phase).astype(np.int64)


def onset_starts(num_frames: int, num_onsets: int) -> list[int]:
    """Return where the evenly spread courses of events begin."""
    period = max(1, 2 * num_frames - 2)
    count = min(num_onsets, period)
    return [(number * period) // count for number in range(count)]


class PreparedSequence:
    """One sequence up to the moments when something happens, played once for all conditions.

    Args:
        reference: What the monitor judges by.
        sequence: Readings of all frames under each condition.
        settings: The course of events.

    Raises:
        DataError: If there are fewer than two frames.
    """

    def __init__(
        self, reference: HealthReference, sequence: SequenceReadings, settings: SequenceSettings
    ) -> None:
        self._sequence = sequence
        self._settings = settings
        clean = sequence[CLEAN]
        if len(clean) < 2:
            raise DataError("a sequence needs at least two scans")
        length = settings.history + settings.duration + settings.recovery
        self._courses = [
            (frames, *self._begin(HealthMonitor(reference), frames))
            for frames in (
                back_and_forth(len(clean), start, length)
                for start in onset_starts(len(clean), settings.num_onsets)
            )
        ]
        # Those that lead up to the first frame.
        self._lead_in = back_and_forth(len(clean), -settings.history, settings.history)
        self._before_all = HealthMonitor(reference)
        play(self._before_all, clean[self._lead_in])

    def onsets(self, condition: Condition) -> list[Onset]:
        """Return what follows each onset of a condition."""
        begin = self._settings.history
        end = begin + self._settings.duration
        onsets = []
        for frames, monitor, clean_peak in self._courses:
            clean = self._sequence[CLEAN][frames]
            corrupted = corrupted_readings(
                self._sequence, condition, frames[begin:end], clean[begin - 1]
            )
            played = play(fork(monitor), np.concatenate([corrupted, clean[end:]]))
            during, after = played.level[: end - begin], played.level[end - begin :]
            onsets.append(
                Onset(
                    peak=float(np.max(played.score[: self._settings.window])),
                    clean_peak=clean_peak,
                    frames_to_warn=_first(during >= HealthLevel.WARN),
                    frames_to_error=_first(during >= HealthLevel.ERROR),
                    frames_to_ok=_first(after == HealthLevel.OK) if during[-1] else 0.0,
                )
            )
        return onsets

    def peaks(self, condition: Condition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the `clean_peak` and `peak` of each onset, without what follows the window."""
        begin = self._settings.history
        window = slice(begin, begin + self._settings.window)
        peaks = []
        for frames, monitor, _ in self._courses:
            before = self._sequence[CLEAN][frames[begin - 1]]
            corrupted = corrupted_readings(self._sequence, condition, frames[window], before)
            peaks.append(float(np.max(play(fork(monitor), corrupted).score)))
        return np.array([clean for _, _, clean in self._courses]), np.array(peaks)

    def levels(self, condition: Condition) -> NDArray[np.int64]:
        """Return the level at each frame of the sequence when a condition lasts throughout."""
        clean = self._sequence[CLEAN]
        frames = np.arange(len(clean))
        before = clean[self._lead_in[-1]]
        corrupted = corrupted_readings(self._sequence, condition, frames, before)
        return play(fork(self._before_all), corrupted).level

    def _begin(
        self, monitor: HealthMonitor, frames: NDArray[np.int64]
    ) -> tuple[HealthMonitor, float]:
        """Play the clean history; return the monitor and how far it would rise without a fault."""
        begin = self._settings.history
        clean = self._sequence[CLEAN][frames]
        play(monitor, clean[:begin])
        further = play(fork(monitor), clean[begin : begin + self._settings.window])
        return monitor, float(np.max(further.score))


def corrupted_readings(
    sequence: SequenceReadings, condition: Condition, frames: NDArray[np.int64], before: Readings
) -> Readings:
    """Return (F, R) readings of frames under a condition.

    Args:
        sequence: Readings of all frames, a repeated scan's not among them.
        condition: Any but clean.
        frames: (F,) frames.
        before: (R,) readings of the last frame before the onset: what a stuck driver repeats.
    """
    if is_repetition(condition):
        return np.tile(before, (len(frames), 1))
    return sequence[condition][frames]


def play_condition(sequences: Sequence[PreparedSequence], condition: Condition) -> SequenceOutcome:
    """Play every onset of a condition, and every sequence that is corrupted throughout."""
    onsets = [onset for sequence in sequences for onset in sequence.onsets(condition)]
    levels = np.concatenate([sequence.levels(condition) for sequence in sequences])
    return SequenceOutcome(tuple(onsets), float(np.mean(levels == HealthLevel.OK)), len(levels))


def onset_peaks(
    sequences: Sequence[PreparedSequence], condition: Condition
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the clean and the corrupted peak of every onset in all sequences."""
    peaks = [sequence.peaks(condition) for sequence in sequences]
    return np.concatenate([clean for clean, _ in peaks]), np.concatenate([p for _, p in peaks])


def play_clean(
    reference: HealthReference, sequences: Sequence[Readings], rate_hz: float
) -> CleanOutcome:
    """Play clean (T, R) sequences once each and count false alarms."""
    played = [play(HealthMonitor(reference), readings) for readings in sequences]
    num_frames = sum(len(each.level) for each in played)
    num_ok = sum(int(np.sum(each.level == HealthLevel.OK)) for each in played)
    return CleanOutcome(
        num_alarms=sum(count_alarms(each) for each in played),
        num_frames=num_frames,
        share_ok=num_ok / max(1, num_frames),
        hours=num_frames / rate_hz / 3600.0,
    )


def count_alarms(played: Replay) -> int:
    """Return how often the level left OK."""
    raised = np.concatenate([[False], played.level != HealthLevel.OK])
    return int(np.sum(raised[1:] & ~raised[:-1]))


def poisson_limit(count: int, confidence: float = 0.95) -> float:
    """Return the most events that, expected, would still give `count` or fewer this rarely.

    Exact one-sided limit (Garwood 1936); about 3 where nothing was seen.
    """
    low, high = 0.0, 10.0 + 4.0 * count
    for _ in range(60):
        middle = 0.5 * (low + high)
        terms = [
            math.exp(-middle + k * math.log(middle) - math.lgamma(k + 1)) for k in range(count + 1)
        ]
        low, high = (middle, high) if sum(terms) > 1.0 - confidence else (low, middle)
    return 0.5 * (low + high)


def _first(happened: NDArray[np.bool_]) -> float:
    """Return the number, from 1, of the first frame at which it happened."""
    return float(np.argmax(happened) + 1) if happened.any() else _NEVER
