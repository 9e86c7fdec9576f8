# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which detection head a network has: a fact of the network that decoding and targets share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CenterHead(BaseModel):
    """Each object is the peak of its class's heatmap (CenterPoint, Yin et al., CVPR 2021)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["center"] = "center"
    stride: int = Field(2, ge=1, description="pillar cells per head cell")


HeadConfig = CenterHead
