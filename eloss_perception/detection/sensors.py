# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The sensors this package knows, and the way between a sensor's frame and the network's.

The *network frame* is the LiDAR frame of a sensor mounted 1.73 m above the ground: x forward,
y left, z up. A sensor mounted at another height or with another forward axis is rotated about z
and shifted along z before the network sees its points, and boxes go the same way back. A new sensor
is one entry in `SENSORS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.boxes import Boxes3D, wrap_angle
from eloss_perception.errors import ConfigError

# Height of KITTI's Velodyne above the road (Geiger et al., "Vision meets robotics", 2013, Fig. 3).
NETWORK_SENSOR_HEIGHT = 1.73

NO_INTENSITY = "none"
"""Stands in for the name of a field where there is none to be read."""

# Intensity is off the scale if more points than this are at its upper end, or fewer than that are
# brighter than five of 255. Retroreflectors are one in a hundred; a dark road has some paint.
_MAX_SATURATED_SHARE = 0.5
_DARK, _MIN_BRIGHT_SHARE = 0.02, 0.01
_MIN_POINTS_TO_TELL = 100


@dataclass(frozen=True, slots=True)
class SensorModel:
    """What has to be known of a LiDAR before its points can be given to the network.

    Attributes:
        intensity_fields: Names under which drivers publish the intensity, in order of preference.
            Empty: none is looked for, and every point has `NEUTRAL_INTENSITY`.
        intensity_scale: Raw intensity that counts as 1; points carry raw / scale within [0, 1].
        mounting_height: Origin of the sensor frame above the ground [m].
        forward_yaw: Direction of the vehicle's forward axis in the sensor frame [rad], counter-
            clockwise from the sensor's x axis.
        num_file_columns: float32 values a point has in a raw `.bin` scan (x, y, z, intensity, ...).
        field_scales: Fields whose scale is another one.
    """

    intensity_fields: tuple[str, ...]
    intensity_scale: float
    mounting_height: float
    forward_yaw: float = 0.0
    num_file_columns: int = 4
    field_scales: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for scale in (self.intensity_scale, *dict(self.field_scales).values()):
            if not (math.isfinite(scale) and scale > 0.0):
                raise ConfigError(f"intensity_scale is {scale}, must be above 0")
        if not math.isfinite(self.mounting_height) or not math.isfinite(self.forward_yaw):
            raise ConfigError("mounting_height and forward_yaw must be finite numbers")

    def scale_of(self, field: str) -> float:
        """Raw value of an intensity field that counts as 1."""
        return dict(self.field_scales).get(field.lower(), self.intensity_scale)

    def find_intensity(self, fields: Sequence[str]) -> str | None:
        """Which of a cloud's fields is the intensity; None where none is.

        Case decides only between names that are the same otherwise.
        """
        for name in self.intensity_fields:
            if name in fields:
                return name
            for field in fields:
                if len(field) == len(name) and field.lower() == name.lower():
                    return field
        return None

    @property
    def is_network_frame(self) -> bool:
        """Whether points need neither rotation nor shift."""
        return self.forward_yaw == 0.0 and self.mounting_height == NETWORK_SENSOR_HEIGHT

    @property
    def height_shift(self) -> float:
        """What to add to a sensor-frame z to get the network frame's z [m]."""
        return self.mounting_height - NETWORK_SENSOR_HEIGHT


# What points get that come without intensity: that of a clean road scene's median point.
NEUTRAL_INTENSITY = 0.3

# As drivers, simulators and converters call it.
_FIELDS = (
    *("intensity", "i", "intensities", "reflectivity", "reflectance", "remission"),
    *("signal", "remissions"),
)

SENSORS: dict[str, SensorModel] = {
    "kitti_hdl64": SensorModel(_FIELDS, 1.0, NETWORK_SENSOR_HEIGHT),
    # LIDAR_TOP in nuScenes' calibrated_sensor table: 1.84 m above the ground, y axis forward.
    "nuscenes_hdl32e": SensorModel(_FIELDS, 255.0, 1.84, math.pi / 2, num_file_columns=5),
    # PandaSet gives points in the vehicle's frame, not the sensor's. In its scans the road around
    # the vehicle lies 0.3 m below the origin, and the sweep is cut open at -x, behind the vehicle.
    "pandaset_pandar64": SensorModel(_FIELDS, 255.0, 0.3),
    # velodyne_pointcloud publishes x forward and the raw byte of intensity (VLP-16, VLP-32C, ...).
    "velodyne": SensorModel(_FIELDS, 255.0, NETWORK_SENSOR_HEIGHT),
    # ouster-ros: `reflectivity` is calibrated, 0 to 255 in whichever type it comes; `intensity`, or
    # `signal`, counts photons, of which ordinary scenes in the maker's samples seldom have more.
    "ouster": SensorModel(
        ("reflectivity", *_FIELDS),
        255.0,
        NETWORK_SENSOR_HEIGHT,
        field_scales=(("intensity", 1800.0), ("signal", 1800.0)),
    ),
}


def find_sensor(
    name: str,
    *,
    mounting_height: float | None = None,
    forward_yaw: float | None = None,
    intensity_field: str | None = None,
    intensity_scale: float | None = None,
) -> SensorModel:
    """Returns the table's entry, with a mounting and an intensity of its own where one is given.

    Args:
        name: A key of `SENSORS`.
        mounting_height: Origin of the sensor frame above the ground [m]; None keeps the entry's.
        forward_yaw: The vehicle's forward axis in the sensor frame [rad]; None keeps the entry's.
        intensity_field: The field to read; "none" for clouds without one; None keeps the entry's.
        intensity_scale: Raw intensity that counts as 1, in any field; None keeps the entry's.

    Raises:
        ConfigError: If the sensor is not in the table or a number is not finite or out of range.
    """
    if name not in SENSORS:
        raise ConfigError(f"sensor is {name!r}, must be one of: {', '.join(SENSORS)}")
    sensor = SENSORS[name]
    if mounting_height is not None:
        sensor = replace(sensor, mounting_height=mounting_height)
    if forward_yaw is not None:
        sensor = replace(sensor, forward_yaw=forward_yaw)
    if intensity_field is not None:
        fields = () if intensity_field == NO_INTENSITY else (intensity_field,)
        sensor = replace(sensor, intensity_fields=fields)
    if intensity_scale is not None:
        sensor = replace(sensor, intensity_scale=intensity_scale, field_scales=())
    return sensor


def intensity_fault(points: NDArray[np.float32], sensor: SensorModel) -> str:
    """What is wrong with the intensities of a scan, for whoever set the sensor up.

    Args:
        points: (N, 4) float32 points in the network frame, or a sample of them.
        sensor: The sensor that measured them.

    Returns:
        One line that names the settings to look at; empty where nothing is wrong, where the points
        are too few to tell, or where no intensity is asked for.
    """
    if not sensor.intensity_fields:
        return ""
    values = points[np.isfinite(points[:, 0]), 3]
    if len(values) < _MIN_POINTS_TO_TELL:
        return ""
    if np.isnan(values).mean() > _MAX_SATURATED_SHARE:
        found = "is not a number"
    elif (values >= 1.0).mean() > _MAX_SATURATED_SHARE:
        found = "is saturated"
    elif not (values > 0.0).any():
        found = "is zero everywhere"
    elif (values > _DARK).mean() < _MIN_BRIGHT_SHARE:
        found = "is next to zero everywhere"
    else:
        return ""
    return f"intensity {found}: check sensor, intensity_field and intensity_scale"


def to_network_frame(points: NDArray[np.float32], sensor: SensorModel) -> NDArray[np.float32]:
    """Moves points from the sensor frame to the network frame.

    Args:
        points: (N, 4) float32 x, y, z [m] in the sensor frame, intensity in [0, 1].
        sensor: The sensor that measured them.

    Returns:
        (N, 4) float32 in the network frame; `points` itself where the frames are the same.
    """
    if sensor.is_network_frame:
        return points
    moved: NDArray[np.float32] = points.copy()
    with np.errstate(invalid="ignore", over="ignore"):  # Inf and NaN points pass through.
        if sensor.forward_yaw != 0.0:
            cos, sin = _cos_sin(-sensor.forward_yaw)
            moved[:, 0] = cos * points[:, 0] - sin * points[:, 1]
            moved[:, 1] = sin * points[:, 0] + cos * points[:, 1]
        moved[:, 2] += np.float32(sensor.height_shift)
    return moved


def sensor_boxes(boxes: Boxes3D, sensor: SensorModel) -> Boxes3D:
    """Moves boxes from the network frame back to the sensor frame (inverse of the points' way)."""
    if sensor.is_network_frame or len(boxes) == 0:
        return boxes
    moved = boxes.boxes.copy()
    cos, sin = _cos_sin(sensor.forward_yaw)
    moved[:, 0] = cos * boxes.boxes[:, 0] - sin * boxes.boxes[:, 1]
    moved[:, 1] = sin * boxes.boxes[:, 0] + cos * boxes.boxes[:, 1]
    moved[:, 2] -= np.float32(sensor.height_shift)
    moved[:, 6] = wrap_angle(boxes.boxes[:, 6] + np.float32(sensor.forward_yaw))
    return Boxes3D(moved, boxes.scores, boxes.labels)


def _cos_sin(angle: float) -> tuple[np.float32, np.float32]:
    # Rounded so that quarter turns swap axes exactly: 0 * inf of a tiny cosine would spread NaN,
    # and y forward would leak 4e-8 of one axis into the other.
    return np.float32(round(math.cos(angle), 12)), np.float32(round(math.sin(angle), 12))
