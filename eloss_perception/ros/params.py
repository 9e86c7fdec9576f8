# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node's settings: the one home of their defaults, ranges and descriptions.

`parameters.py` makes ROS parameters and docs/parameters.md from these fields. Needs no ROS.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eloss_perception.detection.sensors import NO_INTENSITY, SENSORS, SensorModel, find_sensor
from eloss_perception.health.monitor import HealthSettings
from eloss_perception.runtime.backends import AUTO, AUTO_ORDER, BACKENDS
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.detector import DetectionThresholds

RUN_TIME: dict[str, Any] = {"run_time": True}
"""Marks a field that may be changed while the node runs."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]

_THRESHOLDS = DetectionThresholds()

SENSOR_ENTRY = -1.0
"""Stands in for the height that a sensor's entry has: no frame is that far underground."""

AUTO_FIELD = "auto"

FALLBACKS = tuple(name for name in BACKENDS if name != AUTO)
"""What stands in for a backend is known beforehand, not found."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


# The shipped network takes poles and trunks for people more often than it takes bushes for cars.
_SMALL_OBJECT_SCORE = 0.6


class ScoreThresholds(_Settings):
    """Least score of a published box, by class name in lower case."""

    car: Probability = Field(
        default=_THRESHOLDS.score, description="Least score of a car.", json_schema_extra=RUN_TIME
    )
    pedestrian: Probability = Field(
        default=_SMALL_OBJECT_SCORE,
        description="Least score of a pedestrian.",
        json_schema_extra=RUN_TIME,
    )
    cyclist: Probability = Field(
        default=_SMALL_OBJECT_SCORE,
        description="Least score of a cyclist.",
        json_schema_extra=RUN_TIME,
    )


class DetectorNodeSettings(_Settings):
    """Everything that can be set on `detector_node`."""

    bundle: str = Field(
        default="", description="Folder of the model bundle; empty means the one that is shipped."
    )
    backend: str = Field(
        default="onnxruntime_cpu",
        description="What runs the network; `auto` takes the first that works of "
        + ", ".join(f"`{name}`" for name in AUTO_ORDER)
        + ".",
    )
    backend_fallback: str = Field(
        default="",
        description="What runs it while `backend` has failed and is loaded again; empty for"
        " nothing.",
    )
    backend_max_failures: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Frames in a row that a backend may fail on before it is loaded again.",
    )
    num_threads: int = Field(default=2, ge=1, le=64, description="CPU threads of the network.")
    device_index: int = Field(default=0, ge=0, le=64, description="Which GPU, counted from 0.")
    engine_cache: str = Field(
        default="",
        description="Folder of the engines built for the GPU; empty means the user's cache folder.",
    )
    sensor: str = Field(default="kitti_hdl64", description="Which LiDAR publishes the clouds.")
    mounting_height: float = Field(
        default=SENSOR_ENTRY,
        ge=SENSOR_ENTRY,
        le=20.0,
        description="Origin of the cloud's frame above the ground [m], 0 for a frame on the ground;"
        " -1 means the sensor's entry.",
    )
    mounting_yaw_deg: float = Field(
        default=0.0,
        ge=-180.0,
        le=180.0,
        description="The vehicle's forward axis in the cloud's frame, counter-clockwise from where"
        " the sensor's entry has it [deg].",
    )
    intensity_field: str = Field(
        default=AUTO_FIELD,
        description="The cloud's field of intensities; `auto` looks for the sensor's usual ones,"
        f" `{NO_INTENSITY}` is for clouds without any.",
    )
    intensity_scale: float = Field(
        default=0.0,
        ge=0.0,
        le=1e9,
        description="Value of that field that counts as full intensity; 0 means the sensor's"
        " entry for the field.",
    )
    score_thresholds: ScoreThresholds = Field(default_factory=ScoreThresholds)
    nms_iou: Probability = Field(
        default=_THRESHOLDS.nms_iou,
        description="Overlap in bird's-eye view above which the weaker of two boxes of a class is"
        " removed [IoU].",
        json_schema_extra=RUN_TIME,
    )
    max_boxes: int = Field(
        default=_THRESHOLDS.max_boxes,
        ge=1,
        le=1000,
        description="Most boxes published.",
        json_schema_extra=RUN_TIME,
    )
    health: HealthSettings = Field(default_factory=HealthSettings)
    stale_timeout: float = Field(
        default=1.0,
        ge=0.05,
        le=3600.0,
        description="Time without a scan, or without an answer to one, after which health is STALE"
        " [s].",
        json_schema_extra=RUN_TIME,
    )
    hang_timeout: float = Field(
        default=5.0,
        ge=0.5,
        le=3600.0,
        description="Time without an answer to a scan after which the backend counts as hanging: it"
        " is left behind and loaded again [s].",
        json_schema_extra=RUN_TIME,
    )
    hang_exit_timeout: float = Field(
        default=30.0,
        ge=0.0,
        le=3600.0,
        description="Time without an answer to any scan, since one that the backend hung on, after"
        " which the process ends with exit code 75, to be started anew; 0 for never [s].",
        json_schema_extra=RUN_TIME,
    )
    publish_markers: bool = Field(
        default=True,
        description="Publish the boxes as markers for RViz.",
        json_schema_extra=RUN_TIME,
    )
    publish_gauge: bool = Field(
        default=True, description="Publish the entropy gauge for RViz.", json_schema_extra=RUN_TIME
    )
    gauge_offset: tuple[float, float, float] = Field(
        default=(-13.0, 5.0, 1.0),
        description="Where the gauge's zero line has its centre: forward, left, up of the sensor"
        " [m].",
        json_schema_extra=RUN_TIME,
    )
    min_rate_hz: float = Field(
        default=5.0,
        ge=0.0,
        le=1000.0,
        description="Scans a second that the sensor should have; diagnostics warn where there are a"
        " tenth fewer over three seconds and fifteen scans [Hz].",
        json_schema_extra=RUN_TIME,
    )
    max_processing_time_ms: float = Field(
        default=100.0,
        gt=0.0,
        le=60000.0,
        description="Time for a scan above which diagnostics warn [ms].",
        json_schema_extra=RUN_TIME,
    )
    hardware_id: str = Field(default="lidar", description="hardware_id of the diagnostics.")
    autostart: bool = Field(
        default=True,
        description="Configure and activate without waiting for a lifecycle manager.",
    )

    def backend_settings(self) -> BackendSettings:
        """What the backend is told."""
        return BackendSettings(
            num_threads=self.num_threads,
            device_index=self.device_index,
            engine_cache=Path(self.engine_cache) if self.engine_cache else None,
        )

    def detection_thresholds(self, class_names: Sequence[str]) -> DetectionThresholds:
        """The detector's thresholds for the classes of a bundle."""
        per_class = self.score_thresholds.model_dump()
        return DetectionThresholds(
            class_score={
                name: per_class[name.lower()] for name in class_names if name.lower() in per_class
            },
            nms_iou=self.nms_iou,
            max_boxes=self.max_boxes,
        )

    def sensor_model(self) -> SensorModel:
        """The table's sensor as it is mounted."""
        entry = SENSORS[self.sensor]
        yaw = entry.forward_yaw + math.radians(self.mounting_yaw_deg)
        return find_sensor(
            self.sensor,
            mounting_height=None if self.mounting_height == SENSOR_ENTRY else self.mounting_height,
            forward_yaw=yaw,
            intensity_field=None if self.intensity_field == AUTO_FIELD else self.intensity_field,
            intensity_scale=self.intensity_scale or None,
        )

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        return _one_of(value, BACKENDS)

    @field_validator("backend_fallback")
    @classmethod
    def _known_fallback(cls, value: str) -> str:
        return value and _one_of(value, FALLBACKS)

    @model_validator(mode="after")
    def _check_fallback(self) -> DetectorNodeSettings:
        if self.backend_fallback == self.backend:
            raise ValueError(f"backend_fallback is {self.backend}, as backend is: name another")
        return self

    @field_validator("mounting_height")
    @classmethod
    def _no_other_negative(cls, value: float) -> float:
        if SENSOR_ENTRY < value < 0.0:
            raise ValueError("must be 0 to 20, or -1 for the sensor's entry")
        return value

    @field_validator("intensity_field")
    @classmethod
    def _some_field(cls, value: str) -> str:
        if not value:
            raise ValueError(f"must be a field's name, {AUTO_FIELD} or {NO_INTENSITY}")
        return value

    @field_validator("sensor")
    @classmethod
    def _known_sensor(cls, value: str) -> str:
        return _one_of(value, SENSORS)


def _one_of(value: str, table: Collection[str]) -> str:
    if value not in table:
        raise ValueError(f"must be one of: {', '.join(table)}")
    return value
