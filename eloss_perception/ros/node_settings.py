# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node's settings, and the detector that they name. Needs no ROS.

This is the only home of the defaults, ranges and descriptions; `parameters.py` makes ROS parameters
of these fields.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eloss_perception.detection.sensors import NO_INTENSITY, SENSORS, SensorModel, find_sensor
from eloss_perception.health.monitor import HealthSettings
from eloss_perception.runtime.backend_recovery import RecoveringBackend
from eloss_perception.runtime.backends import AUTO, AUTO_ORDER, BACKENDS, load_backend
from eloss_perception.runtime.backends.base import Backend, BackendSettings
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import DetectionThresholds, Detector, full_scan

# A backend that stands in for another is known in advance, not searched for.
FALLBACKS = tuple(name for name in BACKENDS if name != AUTO)

Probability = Annotated[float, Field(ge=0.0, le=1.0)]

_THRESHOLDS = DetectionThresholds()
# The shipped network takes poles and trunks for people more often than it takes bushes for cars.
_SMALL_OBJECT_SCORE = 0.6
# Stands for the mounting height of the sensor's entry: no frame is that far underground.
_SENSOR_ENTRY = -1.0
_AUTO_FIELD = "auto"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def _setting(default: Any, description: str, *, run_time: bool = False, **limits: Any) -> Any:
    """Returns a field; one with `run_time` may be changed while the node runs."""
    extra: dict[str, Any] = {"run_time": run_time}
    return Field(default, description=description, json_schema_extra=extra, **limits)


class ScoreThresholds(_Settings):
    """Least score of a published box, by class name in lower case."""

    car: Probability = _setting(_THRESHOLDS.score, "Least score of a car.", run_time=True)
    pedestrian: Probability = _setting(
        _SMALL_OBJECT_SCORE, "Least score of a pedestrian.", run_time=True
    )
    cyclist: Probability = _setting(_SMALL_OBJECT_SCORE, "Least score of a cyclist.", run_time=True)


class DetectorNodeSettings(_Settings):
    """Everything that can be set on `detector_node`."""

    bundle: str = _setting("", "Folder of the model bundle; empty means the shipped one.")
    backend: str = _setting(
        "onnxruntime_cpu",
        "What runs the network; `auto` takes the first that works of "
        + ", ".join(f"`{name}`" for name in AUTO_ORDER)
        + ".",
    )
    backend_fallback: str = _setting(
        "", "What runs it while `backend` has failed and is loaded again; empty for nothing."
    )
    backend_max_failures: int = _setting(
        3, "Consecutive frames a backend may fail on before it is loaded again.", ge=1, le=1000
    )
    num_threads: int = _setting(2, "CPU threads of the network.", ge=1, le=64)
    device_index: int = _setting(0, "Which GPU, counted from 0.", ge=0, le=64)
    engine_cache: str = _setting(
        "", "Folder of the engines built for the GPU; empty means the user's cache folder."
    )
    sensor: str = _setting("kitti_hdl64", "Which LiDAR publishes the clouds.")
    mounting_height: float = _setting(
        _SENSOR_ENTRY,
        "Height of the cloud's frame above the ground [m], 0 for a frame on the ground; -1 means"
        " the sensor's entry.",
        ge=_SENSOR_ENTRY,
        le=20.0,
    )
    mounting_yaw_deg: float = _setting(
        0.0,
        "The vehicle's forward axis in the cloud's frame, counter-clockwise from where the sensor's"
        " entry has it [deg].",
        ge=-180.0,
        le=180.0,
    )
    intensity_field: str = _setting(
        _AUTO_FIELD,
        f"The cloud's intensity field; `auto` looks for the sensor's usual ones, `{NO_INTENSITY}`"
        " is for clouds without any.",
    )
    intensity_scale: float = _setting(
        0.0,
        "Value of that field that counts as full intensity; 0 means the sensor's entry for the"
        " field.",
        ge=0.0,
        le=1e9,
    )
    score_thresholds: ScoreThresholds = Field(default_factory=ScoreThresholds)
    nms_iou: Probability = _setting(
        _THRESHOLDS.nms_iou,
        "Overlap in bird's-eye view above which the weaker of two boxes of a class is removed"
        " [IoU].",
        run_time=True,
    )
    max_boxes: int = _setting(
        _THRESHOLDS.max_boxes, "Most boxes published.", run_time=True, ge=1, le=1000
    )
    health: HealthSettings = Field(default_factory=HealthSettings)
    stale_timeout: float = _setting(
        1.0,
        "Time without a scan, or without an answer to one, after which health is STALE [s].",
        run_time=True,
        ge=0.05,
        le=3600.0,
    )
    hang_timeout: float = _setting(
        5.0,
        "Time without an answer to a scan after which the backend counts as hanging: it is left"
        " behind and loaded again [s].",
        run_time=True,
        ge=0.5,
        le=3600.0,
    )
    hang_exit_timeout: float = _setting(
        30.0,
        "Time without an answer to any scan, since one on which the backend hung, after which the"
        " process ends with exit code 75, to be started again; 0 for never [s].",
        run_time=True,
        ge=0.0,
        le=3600.0,
    )
    publish_markers: bool = _setting(True, "Publish the boxes as markers for RViz.", run_time=True)
    publish_gauge: bool = _setting(True, "Publish the entropy gauge for RViz.", run_time=True)
    gauge_offset: tuple[float, float, float] = _setting(
        (-13.0, 5.0, 1.0),
        "Centre of the gauge's zero line: forward, left, up of the sensor [m].",
        run_time=True,
    )
    min_rate_hz: float = _setting(
        5.0,
        "Scans a second that the sensor should publish; diagnostics warn if a tenth of them is"
        " missing over three seconds and fifteen scans [Hz].",
        run_time=True,
        ge=0.0,
        le=1000.0,
    )
    max_processing_time_ms: float = _setting(
        100.0,
        "Processing time of a scan above which diagnostics warn [ms].",
        run_time=True,
        gt=0.0,
        le=60000.0,
    )
    hardware_id: str = _setting("lidar", "hardware_id of the diagnostics.")
    autostart: bool = _setting(
        True, "Configure and activate without waiting for a lifecycle manager."
    )

    def backend_settings(self) -> BackendSettings:
        """Returns the settings that concern the backend."""
        return BackendSettings(
            num_threads=self.num_threads,
            device_index=self.device_index,
            engine_cache=Path(self.engine_cache) if self.engine_cache else None,
        )

    def detection_thresholds(self, class_names: Sequence[str]) -> DetectionThresholds:
        """Returns the detector's thresholds for the classes of a bundle."""
        per_class = self.score_thresholds.model_dump()
        return DetectionThresholds(
            class_score={
                name: per_class[name.lower()] for name in class_names if name.lower() in per_class
            },
            nms_iou=self.nms_iou,
            max_boxes=self.max_boxes,
        )

    def sensor_model(self) -> SensorModel:
        """Returns the sensor as it is mounted."""
        entry = SENSORS[self.sensor]
        yaw = entry.forward_yaw + math.radians(self.mounting_yaw_deg)
        return find_sensor(
            self.sensor,
            mounting_height=None if self.mounting_height == _SENSOR_ENTRY else self.mounting_height,
            forward_yaw=yaw,
            intensity_field=None if self.intensity_field == _AUTO_FIELD else self.intensity_field,
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
        if _SENSOR_ENTRY < value < 0.0:
            raise ValueError("must be 0 to 20, or -1 for the sensor's entry")
        return value

    @field_validator("intensity_field")
    @classmethod
    def _some_field(cls, value: str) -> str:
        if not value:
            raise ValueError(f"must be a field's name, {_AUTO_FIELD} or {NO_INTENSITY}")
        return value

    @field_validator("sensor")
    @classmethod
    def _known_sensor(cls, value: str) -> str:
        return _one_of(value, SENSORS)


def _one_of(value: str, table: Collection[str]) -> str:
    if value not in table:
        raise ValueError(f"must be one of: {', '.join(table)}")
    return value


def load_detector(settings: DetectorNodeSettings) -> Detector:
    """Loads a bundle on its backend, and on the fallback if there is one.

    Raises:
        BundleError: If the bundle is unusable, or its health reference is missing or does not fit
            the network.
        BackendError: If a backend cannot run it.
    """
    bundle = Bundle.load(settings.bundle or default_bundle_path())
    bundle.require_health()
    thresholds = settings.detection_thresholds(bundle.class_names)
    points = full_scan(bundle.grid)

    def load(name: str) -> Backend:
        quantization = bundle.facts.quantization
        backend = load_backend(
            name, bundle.onnx, bundle.grid, settings.backend_settings(), quantization
        )
        try:
            backend.run(backend.pillarize(points))
        except BaseException:
            backend.close()
            raise
        return backend

    names = [name for name in (settings.backend, settings.backend_fallback) if name]
    backend = RecoveringBackend(load, names, settings.backend_max_failures)
    detector = Detector(bundle, backend, thresholds=thresholds)
    try:
        detector.warm_up(num_frames=1)
        detector.check_health_reference()
    except BaseException:
        detector.close()
        raise
    return detector
