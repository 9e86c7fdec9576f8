# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random changes to a frame that leave its labels true."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from eloss_perception.core.boxes import wrap_angle
from eloss_perception.training.frames import Frame


class AugmentationConfig(BaseModel):
    """Ranges of the random changes; the default suits simulated and real scans alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_probability: float = Field(0.5, ge=0, le=1)
    rotation_deg: float = Field(35.0, ge=0, le=180)
    scaling: float = Field(0.04, ge=0, lt=0.5)
    height_jitter: float = Field(0.08, ge=0, le=1, description="std of the sensor height [m]")
    intensity_gain: float = Field(0.25, ge=0, le=1)
    dropout_probability: float = Field(0.3, ge=0, le=1)
    max_dropout: float = Field(0.5, ge=0, lt=1)
    camera_crop_probability: float = Field(
        0.5, ge=0, le=1, description="share of frames cut to a forward wedge, as KITTI labels are"
    )


def augment(frame: Frame, config: AugmentationConfig, rng: np.random.Generator) -> Frame:
    """Draws one variation of a frame.

    Flip across x, rotation about z, isotropic scaling, sensor height, intensity gain, random loss
    of points and, with some probability, a crop to a forward wedge of a camera's width.
    """
    points, boxes = frame.points.copy(), frame.boxes.copy()
    labels = frame.labels
    if rng.random() < config.camera_crop_probability:
        half_width = np.deg2rad(rng.uniform(38.0, 46.0))
        points = points[np.abs(np.arctan2(points[:, 1], points[:, 0])) < half_width]
        inside = np.abs(np.arctan2(boxes[:, 1], boxes[:, 0])) < half_width
        boxes, labels = boxes[inside], labels[inside]
    if rng.random() < config.flip_probability:
        points[:, 1] *= -1
        boxes[:, 1] *= -1
        boxes[:, 6] *= -1
    _rotate(points, boxes, np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg)))
    scale = np.float32(1.0 + rng.uniform(-config.scaling, config.scaling))
    points[:, :3] *= scale
    boxes[:, :6] *= scale
    height = np.float32(rng.normal(0.0, config.height_jitter)) if config.height_jitter else 0.0
    points[:, 2] += height
    boxes[:, 2] += height
    gain = np.exp(rng.uniform(-config.intensity_gain, config.intensity_gain))
    points[:, 3] = np.clip(points[:, 3] * gain, 0.0, 1.0)
    if rng.random() < config.dropout_probability:
        keep = rng.random(len(points)) > rng.uniform(0.0, config.max_dropout)
        points = points[keep]
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    return Frame(points, boxes, labels)


def _rotate(points: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32], angle: float) -> None:
    """Rotates points and boxes about z, in place."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]], np.float32)  # row vectors: p' = p @ R
    points[:, :2] = points[:, :2] @ rotation
    boxes[:, :2] = boxes[:, :2] @ rotation
    boxes[:, 6] += np.float32(angle)
