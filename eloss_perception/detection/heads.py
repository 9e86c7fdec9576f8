# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which detection head a network has, and the probabilities of its logits.

Both are shared by the decoders of the heads (`decode_center.py`, `decode_anchors.py`) and by the
training targets.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eloss_perception.detection.compiled import njit

# Edge lengths outside these bounds [m] are no road user's; they keep exp() finite on wild outputs.
MIN_SIZE, MAX_SIZE = 0.1, 25.0


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stride: int = Field(2, ge=1, le=64, description="pillar cells per head cell")


class CenterHead(_Head):
    """Each object is the peak of its class's heatmap (CenterPoint, Yin et al., CVPR 2021)."""

    kind: Literal["center"] = "center"


class Anchor(BaseModel):
    """A box that stands in every head cell, with the IoU limits that match it to objects."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: int = Field(ge=0, description="class that the anchor scores")
    size: tuple[float, float, float] = Field(description="length, width, height [m]")
    z: float = Field(description="height of the centre [m] in the network frame")
    yaw: float = Field(description="[rad]")
    positive_iou: float = Field(gt=0, le=1, description="BEV IoU from which it matches an object")
    negative_iou: float = Field(gt=0, le=1, description="BEV IoU below which it is background")

    @model_validator(mode="after")
    def _check(self) -> Anchor:
        if min(self.size) <= 0:
            raise ValueError(f"anchor size {self.size}: length, width, height must be positive")
        if self.negative_iou > self.positive_iou:
            raise ValueError(
                f"anchor negative_iou {self.negative_iou} is above positive_iou {self.positive_iou}"
            )
        return self


class AnchorHead(_Head):
    """Anchors in every cell, each scored and refined (PointPillars, Lang et al., CVPR 2019)."""

    kind: Literal["anchors"] = "anchors"
    anchors: tuple[Anchor, ...] = Field(min_length=1, max_length=1000)


HeadConfig = Annotated[CenterHead | AnchorHead, Field(discriminator="kind")]


def check_head_classes(head: CenterHead | AnchorHead, num_classes: int) -> None:
    """Refuses anchors that score no known class, and classes that no anchor scores.

    Raises:
        ValueError: Naming the labels.
    """
    if isinstance(head, AnchorHead):
        labels = {anchor.label for anchor in head.anchors}
        if labels != set(range(num_classes)):
            raise ValueError(
                f"anchors score the labels {sorted(labels)}; with {num_classes} classes they must "
                f"be 0 to {num_classes - 1}, each at least once"
            )


def _both_directions(
    label: int, size: tuple[float, float, float], z: float, positive_iou: float, negative_iou: float
) -> tuple[Anchor, Anchor]:
    first, second = (
        Anchor(
            label=label,
            size=size,
            z=z,
            yaw=yaw,
            positive_iou=positive_iou,
            negative_iou=negative_iou,
        )
        for yaw in (0.0, math.pi / 2)
    )
    return first, second


# Sizes, heights and IoU limits for KITTI's classes: PointPillars, section 4.1 (heights of the car
# 1.56 m as in the code the authors published).
KITTI_ANCHORS = (
    *_both_directions(0, (3.9, 1.6, 1.56), -1.0, 0.6, 0.45),
    *_both_directions(1, (0.8, 0.6, 1.73), -0.6, 0.5, 0.35),
    *_both_directions(2, (1.76, 0.6, 1.73), -0.6, 0.5, 0.35),
)


@njit
def least_logit(threshold):  # type: ignore[no-untyped-def]
    """A logit below all whose float32 probability reaches a float32 threshold.

    Most logits are far below; this spares them the exponential.
    """
    if not threshold > 0.0:
        return np.float32(-np.inf)
    # By more than rounding can reach.
    return np.float32(np.log(threshold / max(1.0 - threshold, 1e-7)) - 1e-2)


@njit
def probability(logit):  # type: ignore[no-untyped-def]
    """The float32 probability of a float32 logit."""
    return np.float32(1.0) / (np.float32(1.0) + np.exp(-logit))


@njit
def count_from(logits, least):  # type: ignore[no-untyped-def]
    """How many (H, W) logits are as high as this; NaN is not."""
    count = 0
    for row in range(logits.shape[0]):
        for column in range(logits.shape[1]):
            count += logits[row, column] >= least
    return count
