# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a network is quantised, and what it may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["int8", "float16"]
Target = Literal["cpu", "tensorrt"]


class QuantizationSettings(BaseModel):
    """What ``eloss quantize`` does, and the limits of what it may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "int8"
    target: Target = "cpu"
    num_scans: int = Field(64, ge=1, description="scans that ranges of activations are taken from")
    num_pairs: int = Field(
        60,
        ge=2,
        description="clean simulated scans on which readings are compared, and as many "
        "of other units of the sensor",
    )
    num_frames: int = Field(
        100, ge=1, description="simulated labelled frames, where no data is given"
    )
    keep_float: tuple[str, ...] | None = Field(
        None, description="patterns of layers; None finds out what accuracy asks for"
    )
    reduce_range: bool = Field(
        False, description="weights of 7 bits, for CPUs without VNNI; see integers.py"
    )
    max_ap_drop: float = Field(0.5, ge=0.0, description="of Car, moderate [points]")
    max_drift: float = Field(1.0, gt=0.0, description="of a layer's reading [spreads]")

    @model_validator(mode="after")
    def _check(self) -> QuantizationSettings:
        if self.precision == "float16" and self.target == "cpu":
            raise ValueError("float16 is slower than float32 on CPUs; use int8, or tensorrt")
        if self.precision == "float16" and (self.keep_float or self.reduce_range):
            raise ValueError("keep_float and reduce_range belong to int8")
        if self.target == "tensorrt" and self.reduce_range:
            raise ValueError("reduce_range belongs to the target cpu")
        return self
