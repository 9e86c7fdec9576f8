# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `eloss benchmark` measures and for how long; the only home of its defaults."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

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
