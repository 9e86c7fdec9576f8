# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The sensors this package knows, and the way between a sensor's frame and the network's.

The *network frame* is the LiDAR frame of a sensor mounted 1.73 m above the ground: x forward,
y left, z up. Points of a sensor that is mounted otherwise are rotated about z and shifted along z
before the network sees them, and boxes go the same way back. A new sensor is one entry in
`SENSORS`; the simulator can scan with those that have a `lidar`.
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
"""Name of the intensity field where none is to be read."""

# What points get that come without intensity: that of a clean road scene's median point.
NEUTRAL_INTENSITY = 0.3

Blocks = tuple[tuple[float, float, int], ...]
"""Evenly spaced values, beam by beam: first, last and count of each block."""


@dataclass(frozen=True, slots=True)
class LidarModel:
    """How a spinning LiDAR scans, for the simulator; its frame has x forward, y left, z up.

    Attributes:
        name: What the simulator's `lidar` option calls it.
        elevations_deg: Elevation of each of the B beams, strictly descending [degrees].
        num_azimuth: Firings per revolution.
        origins_z: Height of each laser above the origin of the sensor frame [m]; empty for 0.
        height: Origin of the sensor frame above the ground [m].
        min_range, max_range: Returns outside are not reported [m].
        range_noise: Standard deviation of the range [m].
        signal_threshold: Least effective reflectivity / range^2 [1/m^2] that yields a return.
        beam_gain_spread: Relative spread of the intensity gain from beam to beam.
        intensity_range: Range at which the reported intensity has fallen to half [m].
        intensity_offset: Subtracted from the intensity; what is weaker reports 0, which on a
            real HDL-64E is half of all returns from cars (44 KITTI scans).
        ego_mask_deg: Rows of (|azimuth| from, |azimuth| to, lowest elevation that clears the
            vehicle's own roof) [degrees]; below it the beam reports nothing.
    """

    name: str
    elevations_deg: Blocks
    num_azimuth: int
    origins_z: Blocks = ()
    height: float = NETWORK_SENSOR_HEIGHT
    min_range: float = 0.9
    max_range: float = 120.0
    range_noise: float = 0.018
    signal_threshold: float = 4.0e-5
    beam_gain_spread: float = 0.18
    intensity_range: float = 38.0
    intensity_offset: float = 0.09
    ego_mask_deg: tuple[tuple[float, float, float], ...] = ()

    @property
    def elevation_deg(self) -> NDArray[np.float64]:
        """(B,) elevations of the beams [degrees]."""
        return np.concatenate([np.linspace(*block) for block in self.elevations_deg])

    @property
    def origin_z(self) -> NDArray[np.float64]:
        """(B,) heights of the lasers above the origin of the sensor frame [m]."""
        blocks = self.origins_z or ((0.0, 0.0, self.num_beams),)
        return np.concatenate([np.linspace(*block) for block in blocks])

    @property
    def num_beams(self) -> int:
        """Number of lasers."""
        return sum(count for _, _, count in self.elevations_deg)


@dataclass(frozen=True, slots=True)
class SensorModel:
    """What must be known of a LiDAR before the network can take its points.

    Attributes:
        intensity_fields: Names under which drivers publish the intensity, in order of preference.
            Empty: none is looked for, and every point has `NEUTRAL_INTENSITY`.
        intensity_scale: Raw intensity that counts as 1; points carry raw / scale within [0, 1].
        mounting_height: Origin of the sensor frame above the ground [m].
        forward_yaw: Direction of the vehicle's forward axis in the sensor frame [rad], ccw from x.
        num_file_columns: float32 values a point has in a raw `.bin` scan (x, y, z, intensity, ...).
        field_scales: Fields whose scale is another one.
        lidar: How it scans, where the simulator can simulate it.
    """

    intensity_fields: tuple[str, ...]
    intensity_scale: float
    mounting_height: float
    forward_yaw: float = 0.0
    num_file_columns: int = 4
    field_scales: tuple[tuple[str, float], ...] = ()
    lidar: LidarModel | None = None

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
        """Which of a cloud's fields is the intensity; None where none is. An exact name wins."""
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


# As drivers, simulators and converters call it.
_FIELDS = (
    "intensity", "i", "intensities", "reflectivity", "reflectance", "remission", "signal",
    "remissions",
)  # fmt: skip

SENSORS: dict[str, SensorModel] = {
    # HDL-64E manual (Velodyne 63-HDL64ES2): 32 upper lasers at 1/3 deg, 32 lower at 1/2 deg. The
    # calibrated elevations and the two heights of the laser blocks are those that straight lines
    # z = origin_z + tan(elevation) * r through the rings of 40 scans of KITTI's object data set
    # give (to 0.1 deg, 3 mm; 32 from our training list, 8 from our validation list). The vehicle's
    # own shadow is where those 40 scans have no returns.
    "kitti_hdl64": SensorModel(
        _FIELDS,
        1.0,
        NETWORK_SENSOR_HEIGHT,
        lidar=LidarModel(
            "hdl64e",
            elevations_deg=((1.95, -8.70, 32), (-9.05, -25.0, 32)),
            origins_z=((0.209, 0.198, 32), (0.126, 0.116, 32)),
            num_azimuth=2150,  # 20,833 firings/s at the 9.7 revolutions/s of KITTI's recordings
            ego_mask_deg=(
                (0.0, 13.0, -21.2),
                (13.0, 25.0, -23.5),
                (125.0, 145.0, -20.0),
                (145.0, 180.0, -18.6),
            ),
        ),
    ),
    # LIDAR_TOP in nuScenes' calibrated_sensor table: 1.84 m above the ground, y axis forward,
    # 20 revolutions/s. HDL-32E manual (63-9113): +10.67 to -30.67 deg, 1.33 deg apart.
    "nuscenes_hdl32e": SensorModel(
        _FIELDS,
        255.0,
        1.84,
        math.pi / 2,
        num_file_columns=5,
        lidar=LidarModel(
            "hdl32e", ((10.67, -30.67, 32),), 1084, height=1.84, min_range=1.0, max_range=100.0
        ),
    ),
    # PandaSet gives points in the vehicle's frame, not the sensor's. In its scans the road around
    # the vehicle lies 0.3 m below the origin, and the sweep is cut open at -x, behind the vehicle.
    # Pandar64 manual (Hesai): 0.167 deg between +2 and -6 deg, 1 deg around, coarser at the ends.
    "pandaset_pandar64": SensorModel(
        _FIELDS,
        255.0,
        0.3,
        lidar=LidarModel(
            "pandar64",
            ((15, 11, 2), (8, 5, 2), (3, 3, 1), (2, -6, 49), (-7, -14, 8), (-19, -25, 2)),
            1800,
            height=1.9,
            min_range=0.5,
        ),
    ),
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

LIDARS = {sensor.lidar.name: sensor.lidar for sensor in SENSORS.values() if sensor.lidar}
"""What the simulator can scan with, by the name of its `lidar` option."""


def lidar_model(name: str) -> LidarModel:
    """Looks up what the simulator is to scan with.

    Raises:
        ConfigError: `LIDARS` has no entry of that name.
    """
    try:
        return LIDARS[name]
    except KeyError:
        raise ConfigError(f"unknown lidar {name!r}; choose one of {sorted(LIDARS)}") from None


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
    # Rounded so that right angles swap axes exactly: a cosine of 4e-8 would leak one axis into the
    # other, and spread NaN where it meets an infinite coordinate.
    return np.float32(round(math.cos(angle), 12)), np.float32(round(math.sin(angle), 12))
