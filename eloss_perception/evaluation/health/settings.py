# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a health benchmark measures, and its defaults."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eloss_perception.simulation.corruptions import CORRUPTIONS

SEVERITIES = (1, 2, 3, 4, 5)


class SequenceSettings(BaseModel):
    """How the onset of a corruption in a stream of scans is played."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_hz: float = Field(10.0, gt=0, description="scans per second")
    history: int = Field(20, ge=1, description="clean frames before the onset")
    duration: int = Field(10, ge=1, description="corrupted frames")
    recovery: int = Field(20, ge=1, description="clean frames after the end")
    window: int = Field(5, ge=1, description="frames after the onset that may raise the alarm")
    num_onsets: int = Field(16, ge=2, description="onsets in each sequence, evenly spread")

    @model_validator(mode="after")
    def _check_window(self) -> SequenceSettings:
        if self.window > self.duration:
            raise ValueError(f"window {self.window} must not exceed duration {self.duration}")
        return self


class HealthBenchmarkSettings(BaseModel):
    """What is corrupted, how it is drawn and what counts as harm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corruptions: tuple[str, ...] = Field(tuple(CORRUPTIONS), description="names in CORRUPTIONS")
    severities: tuple[int, ...] = Field(SEVERITIES, description="1 (barely visible) to 5 (severe)")
    num_resamples: int = Field(1000, ge=0, description="resamples of the frames for intervals")
    num_precision_resamples: int = Field(200, ge=0, description="of them with AP computed anew")
    confidence: float = Field(0.95, gt=0, lt=1, description="share of resamples in an interval")
    block_length: int = Field(1, ge=1, description="consecutive frames drawn together")
    num_folds: int = Field(4, ge=2, description="parts of a split that calibrate for each other")
    num_calibration: int = Field(200, ge=10, description="simulated clean scans for baselines")
    frames_apart_s: float = Field(
        10.0, gt=0, description="time between the frames that recalibrate [s]; 0.1 in a sequence"
    )
    dangerous_drop: float = Field(10.0, gt=0, description="AP that a dangerous corruption costs")
    harmless_drop: float = Field(2.0, ge=0, description="AP that a harmless corruption may cost")
    sequence: SequenceSettings = Field(default_factory=SequenceSettings)
    seed: int = Field(0, ge=0, description="of corruptions and resampling")

    @field_validator("corruptions")
    @classmethod
    def _check_corruptions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in CORRUPTIONS]:
            raise ValueError(f"no corruption {', '.join(unknown)}; valid: {', '.join(CORRUPTIONS)}")
        if not names:
            raise ValueError("at least one corruption is needed")
        return tuple(dict.fromkeys(names))

    @field_validator("severities")
    @classmethod
    def _check_severities(cls, severities: tuple[int, ...]) -> tuple[int, ...]:
        if not severities or any(severity not in SEVERITIES for severity in severities):
            raise ValueError("severities are 1, 2, 3, 4, 5")
        return tuple(sorted(set(severities)))
