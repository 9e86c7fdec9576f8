# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector node's settings: the one home of their defaults, ranges and descriptions.

ROS parameters are declared from these fields (`declare.py`), the README's table and the check of
`config/detector.param.yaml` are made from them. A nested model's fields become dotted names.
Needs no ROS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from eloss_perception.core.health import HealthSettings
from eloss_perception.core.sensors import SENSORS, SensorModel, find_sensor
from eloss_perception.errors import ConfigError
from eloss_perception.runtime.backends import BACKENDS
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.detector import DetectionThresholds

RUN_TIME: dict[str, Any] = {"run_time": True}
"""Marks a field that may be changed while the node runs."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]

_THRESHOLDS = DetectionThresholds()


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
    backend: str = Field(default="onnxruntime_cpu", description="What runs the network.")
    num_threads: int = Field(default=2, ge=1, le=64, description="CPU threads of the network.")
    sensor: str = Field(default="kitti_hdl64", description="Which LiDAR publishes the clouds.")
    mounting_height: float = Field(
        default=0.0,
        ge=0.0,
        le=20.0,
        description="Origin of the cloud's frame above the ground [m]; 0 means the sensor's entry.",
    )
    mounting_yaw_deg: float = Field(
        default=0.0,
        ge=-180.0,
        le=180.0,
        description="The vehicle's forward axis in the cloud's frame, counter-clockwise from where"
        " the sensor's entry has it [deg].",
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
        description="Scans a second below which diagnostics warn [Hz].",
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
        return BackendSettings(num_threads=self.num_threads)

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
            mounting_height=self.mounting_height or None,
            forward_yaw=yaw,
        )

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        return _one_of(value, BACKENDS)

    @field_validator("sensor")
    @classmethod
    def _known_sensor(cls, value: str) -> str:
        return _one_of(value, SENSORS)


class Parameter(NamedTuple):
    """One setting as a ROS parameter."""

    name: str
    default: bool | int | float | str | list[float]
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    is_run_time: bool


_CHOICES: dict[str, tuple[str, ...]] = {"backend": tuple(BACKENDS), "sensor": tuple(SENSORS)}


def parameters(
    model: type[BaseModel] = DetectorNodeSettings, prefix: str = ""
) -> Iterator[Parameter]:
    """Yields the settings in their order; nested ones under dotted names."""
    for key, info in model.model_fields.items():
        name = prefix + key
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from parameters(info.annotation, prefix=f"{name}.")
            continue
        default = info.get_default(call_default_factory=True)
        if isinstance(default, tuple):
            default = list(default)
        extra = info.json_schema_extra
        minimum, maximum = _limits(info)
        yield Parameter(
            name=name,
            default=default,
            description=info.description or "",
            minimum=minimum,
            maximum=maximum,
            choices=_CHOICES.get(name, ()),
            is_run_time=isinstance(extra, dict) and bool(extra.get("run_time")),
        )


def settings_from_parameters(values: Mapping[str, Any]) -> DetectorNodeSettings:
    """Builds the settings from parameters by dotted name; what is not given has its default.

    Raises:
        ConfigError: If a name is unknown or a value invalid; one line with all of them.
    """
    known = {parameter.name for parameter in parameters()}
    unknown = sorted(set(values) - known)
    if unknown:
        given = ", ".join(f"{name} (= {values[name]!r})" for name in unknown)
        raise ConfigError(f"unknown parameter {given}; valid: {', '.join(sorted(known))}")
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *groups, key = name.split(".")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
        target[key] = value
    try:
        return DetectorNodeSettings.model_validate(nested)
    except ValidationError as error:
        raise ConfigError(_in_one_line(error)) from error


def parameters_of(settings: DetectorNodeSettings) -> dict[str, Any]:
    """The inverse of `settings_from_parameters`: every parameter's value by dotted name."""
    values: dict[str, Any] = {}
    for parameter in parameters():
        value: Any = settings
        for key in parameter.name.split("."):
            value = getattr(value, key)
        values[parameter.name] = list(value) if isinstance(value, tuple) else value
    return values


def markdown_table() -> str:
    """Returns the README's table of parameters."""
    lines = [
        "| parameter | default | valid | at run time | meaning |",
        "|---|---|---|---|---|",
    ]
    for parameter in parameters():
        default = "" if parameter.default == "" else f"`{_yaml(parameter.default)}`"
        lines.append(
            f"| `{parameter.name}` | {default} | {_valid(parameter)} |"
            f" {'yes' if parameter.is_run_time else 'no'} | {parameter.description} |"
        )
    return "\n".join(lines) + "\n"


def _valid(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    if parameter.minimum is not None and parameter.maximum is not None:
        return f"{parameter.minimum:g} to {parameter.maximum:g}"
    if parameter.minimum is not None:
        return f"{parameter.minimum:g} or more"
    return "true, false" if isinstance(parameter.default, bool) else ""


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _limits(info: FieldInfo) -> tuple[float | None, float | None]:
    metadata = list(info.metadata)
    if get_origin(info.annotation) is Annotated:
        metadata += get_args(info.annotation)[1:]
    minimum: float | None = None
    maximum: float | None = None
    for entry in metadata:
        # ROS ranges are closed; where a bound itself is not allowed the model refuses it later.
        if isinstance(entry, annotated_types.Ge):
            minimum = float(entry.ge)  # type: ignore[arg-type]
        elif isinstance(entry, annotated_types.Gt):
            minimum = float(entry.gt)  # type: ignore[arg-type]
        elif isinstance(entry, annotated_types.Le):
            maximum = float(entry.le)  # type: ignore[arg-type]
        elif isinstance(entry, annotated_types.Lt):
            maximum = float(entry.lt)  # type: ignore[arg-type]
    return minimum, maximum


def _one_of(value: str, table: Mapping[str, object]) -> str:
    if value not in table:
        raise ValueError(f"must be one of: {', '.join(table)}")
    return value


def _in_one_line(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        problems.append(f"parameter {name} is {problem['input']!r}: {message}")
    return "; ".join(problems)
