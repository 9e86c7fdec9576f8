# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random changes to a frame that leave its labels true."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from eloss_perception.detection.boxes import wrap_angle
from eloss_perception.detection.compiled import njit
from eloss_perception.training.data.frames import Frame
from eloss_perception.training.data.object_database import MIN_STORED_POINTS, ObjectDatabase
from eloss_perception.training.data.object_noise import move_objects
from eloss_perception.training.data.object_pasting import paste_objects

# Half the horizontal field of view of the crop [deg]; KITTI's camera has 40.
_MIN_HALF_VIEW, _MAX_HALF_VIEW = 38.0, 46.0


class AugmentationConfig(BaseModel):
    """Ranges of the random changes; the default suits simulated and real scans alike.

    Single objects are left alone by default: the simulator draws them anew in every scan, with all
    that they hide, whereas a pasted object hides nothing. KITTI's few scans gain from both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_probability: float = Field(0.5, ge=0, le=1)
    rotation_deg: float = Field(35.0, ge=0, le=180, description="± about the sensor, uniform")
    scaling: float = Field(0.04, ge=0, lt=0.5, description="± of 1, uniform")
    translation: float = Field(0.0, ge=0, le=10, description="std of a shift in x and y [m]")
    height_jitter: float = Field(0.08, ge=0, le=1, description="std of the sensor height [m]")
    intensity_gain: float = Field(0.25, ge=0, le=1)
    dropout_probability: float = Field(0.3, ge=0, le=1)
    max_dropout: float = Field(0.5, ge=0, lt=1)
    camera_crop_probability: float = Field(
        0.5, ge=0, le=1, description="share of frames cut to a forward wedge, as KITTI labels are"
    )
    sampled_objects: tuple[NonNegativeInt, ...] = Field(
        (), description="fill each class up to so many objects cut from other scans; () is off"
    )
    sampled_min_points: int = Field(
        MIN_STORED_POINTS, ge=MIN_STORED_POINTS, description="of an object that is pasted"
    )
    sampled_on_ground: bool = Field(
        True, description="raise or lower a pasted object to the ground where it is put"
    )
    object_rotation_deg: float = Field(
        0.0, ge=0, le=180, description="± about each object's own axis, uniform"
    )
    object_translation: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = Field(
        (0.0, 0.0, 0.0), description="std of each object's own shift in x, y and z [m]"
    )

    @property
    def samples_objects(self) -> bool:
        """Whether objects of other scans are pasted, which takes an object database."""
        return any(self.sampled_objects)

    @property
    def moves_objects(self) -> bool:
        """Whether objects are moved one by one."""
        return self.object_rotation_deg > 0 or any(self.object_translation)


def augment(
    frame: Frame,
    config: AugmentationConfig,
    rng: np.random.Generator,
    objects: ObjectDatabase | None = None,
) -> Frame:
    """Draws one variation of a frame.

    Args:
        frame: The scan; not changed.
        config: What is varied, and how much.
        rng: All randomness.
        objects: Objects to paste; without them none are, whatever the configuration says.
    """
    if objects is not None and config.samples_objects:
        frame = paste_objects(
            frame,
            objects,
            config.sampled_objects,
            config.sampled_min_points,
            config.sampled_on_ground,
            rng,
        )
    if config.moves_objects:
        frame = move_objects(frame, config.object_rotation_deg, config.object_translation, rng)
    if rng.random() < config.camera_crop_probability:
        frame = _crop(frame, math.radians(rng.uniform(_MIN_HALF_VIEW, _MAX_HALF_VIEW)))
    frame = _vary_scene(frame, config, rng)
    if rng.random() < config.dropout_probability:
        lost = np.float32(rng.uniform(0.0, config.max_dropout))
        keep = rng.random(len(frame.points), dtype=np.float32) >= lost
        frame = Frame(frame.points[keep], frame.boxes, frame.labels)
    return frame


def _crop(frame: Frame, half_view: float) -> Frame:
    """The wedge of a forward camera: points by their azimuth, objects by their centre's."""
    slope = np.float32(math.tan(half_view))
    points = frame.points[np.abs(frame.points[:, 1]) < slope * frame.points[:, 0]]
    inside = np.abs(frame.boxes[:, 1]) < slope * frame.boxes[:, 0]
    return Frame(points, frame.boxes[inside], frame.labels[inside])


def _vary_scene(frame: Frame, config: AugmentationConfig, rng: np.random.Generator) -> Frame:
    """Flip across x, rotation about z, scaling, shift, sensor height and intensity gain."""
    side = -1.0 if rng.random() < config.flip_probability else 1.0
    angle = math.radians(rng.uniform(-config.rotation_deg, config.rotation_deg))
    scale = 1.0 + rng.uniform(-config.scaling, config.scaling)
    spread = (config.translation, config.translation, config.height_jitter)
    shift = rng.normal(0.0, 1.0, 3) * np.array(spread)
    gain = math.exp(rng.uniform(-config.intensity_gain, config.intensity_gain))
    # Rows of points and of box centres: p' = p @ linear + shift.
    cos, sin = math.cos(angle), math.sin(angle)
    linear = scale * np.array([[cos, sin, 0.0], [-side * sin, side * cos, 0.0], [0.0, 0.0, 1.0]])
    boxes = frame.boxes.copy()
    boxes[:, :3] = frame.boxes[:, :3] @ linear + shift
    boxes[:, 3:6] *= np.float32(scale)
    boxes[:, 6] = wrap_angle(side * frame.boxes[:, 6] + np.float32(angle))
    return Frame(_vary_points(frame.points, linear, shift, gain), boxes, frame.labels)


@njit
def _vary_points(points, linear, shift, gain):  # type: ignore[no-untyped-def]
    """(N, 4) float32 points moved as the boxes are, intensity times ``gain`` within [0, 1]."""
    varied = np.empty(points.shape, np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        varied[i, 0] = x * linear[0, 0] + y * linear[1, 0] + shift[0]
        varied[i, 1] = x * linear[0, 1] + y * linear[1, 1] + shift[1]
        varied[i, 2] = z * linear[2, 2] + shift[2]
        varied[i, 3] = min(max(points[i, 3] * gain, 0.0), 1.0)
    return varied
