# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a row of `eloss benchmark` is: its settings, its result, and the bundles it measures.

A new row is a `Benchmark` in the `BENCHMARKS` of a module here and a line in `suite.BENCHMARKS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import SupportsFloat

from pydantic import BaseModel, ConfigDict, Field

from eloss_perception.errors import ElossError

_MODELS = Path(__file__).resolve().parents[2] / "models"

QUICK: dict[str, object] = {
    **{"num_frames": 10, "num_scans": 2, "repeats": 5, "point_counts": (10_000, 100_000, 300_000)},
    **{"drive_frames": 20, "seconds": 6.0, "rate_seconds": 4.0, "rates_hz": (20.0, 40.0)},
    **{"starts": 1, "minutes": 0.2},
}
"""Everything once, in about two minutes, to see that it runs; the figures are rough."""


class BenchmarkSettings(BaseModel):
    """The settings of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path | None = Field(None, description="light bundle; none is the shipped one")
    full_bundle: Path = Field(_MODELS / "pointpillars", description="full PointPillars, float32")
    full_int8_bundle: Path = Field(
        _MODELS / "pointpillars_int8_cpu", description="the same, quantised for CPUs"
    )
    full_float16_bundle: Path = Field(
        _MODELS / "pointpillars_float16", description="the same in half precision, for GPUs"
    )
    full_int8_gpu_bundle: Path = Field(
        _MODELS / "pointpillars_int8_tensorrt", description="the same, quantised for TensorRT"
    )
    backend: str = Field("", description="of the light bundle; empty is the node's default")
    int8_backend: str = Field("openvino", description="of the quantised bundle in the node")
    cores: int = Field(2, ge=0, description="cores that everything shares; 0 is all there are")
    num_threads: int = Field(2, ge=1, le=64, description="CPU threads of a network")
    num_frames: int = Field(60, ge=2, description="timed frames of each network")
    num_scans: int = Field(10, ge=1, description="different scans for host time")
    repeats: int = Field(30, ge=1, description="timed rounds of each scan, for host time")
    point_counts: tuple[int, ...] = Field(
        (10_000, 30_000, 100_000, 300_000, 1_000_000), min_length=3, description="host growth"
    )
    drive_frames: int = Field(100, ge=2, description="scans of the drive that is played in a loop")
    rate_hz: float = Field(10.0, gt=0, le=100, description="scans a second, end to end")
    seconds: float = Field(60.0, gt=0, description="end to end")
    rate_seconds: float = Field(12.0, gt=0, description="each rate of the sustained rate")
    rates_hz: tuple[float, ...] = Field(
        (20, 30, 40, 50, 60, 70, 80, 90, 100), description="tried in this order"
    )
    starts: int = Field(3, ge=1, description="starts with warm caches")
    minutes: float = Field(10.0, gt=0, description="memory")
    output: Path = Field(Path("runs") / "benchmark", description="the drive and the logs")


Progress = Callable[[str], None]
"""Called with what is being measured right now."""


class NotMeasuredError(ElossError):
    """A row has no result on this machine or with these files; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Value:
    """One figure of a row.

    Raises:
        ValueError: If it is not finite: a benchmark that divides by zero has measured nothing.
    """

    name: str
    value: float | int | str
    unit: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured.

    Attributes:
        measured: The result in a few words, for the table.
        values: All figures.
        met: Whether the bar was reached; None where that cannot be said.
        note: What a reader has to know beside the figures.
    """

    measured: str
    values: tuple[Value, ...] = ()
    met: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A row before it is measured.

    Attributes:
        what: What is measured.
        against: What it is compared with.
        bar: What it has to reach.
        measure: Measures; raises `NotMeasuredError` where that is not possible.
    """

    what: str
    against: str
    bar: str
    measure: Callable[[BenchmarkSettings, Progress], Row] = field(repr=False)


def milliseconds(name: str, value: SupportsFloat) -> Value:
    """A duration, to a microsecond."""
    return Value(name, round(float(value), 3), "ms")


def ratio(name: str, value: float) -> Value:
    """A quotient of two figures of one run."""
    return Value(name, round(float(value), 3), "x")


def existing_bundle(path: Path, what: str) -> Path:
    """Returns a bundle's folder.

    Raises:
        NotMeasuredError: There is none.
    """
    if not path.is_dir():
        raise NotMeasuredError(f"no {what}: name one with the options")
    return path


def light_bundle(settings: BenchmarkSettings) -> Path:
    """The light bundle that is measured."""
    from eloss_perception.runtime.bundle import default_bundle_path

    return settings.bundle or default_bundle_path()


def node_backend(settings: BenchmarkSettings) -> str:
    """The light bundle's backend: the one that the node takes by itself, unless another is set."""
    from eloss_perception.ros.node_settings import DetectorNodeSettings

    return settings.backend or DetectorNodeSettings().backend
