# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings model: round trip to parameters, refusals, the shipped file, the documentation."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from eloss_perception.detection.sensors import SENSORS, SensorModel
from eloss_perception.errors import ConfigError
from eloss_perception.ros.node_settings import DetectorNodeSettings
from eloss_perception.ros.parameters import (
    Parameter,
    parameters,
    parameters_of,
    settings_from_parameters,
)
from eloss_perception.runtime.backends.base import BackendSettings

ROOT = Path(__file__).parents[1]


def test_parameters_and_settings_are_inverse() -> None:
    settings = DetectorNodeSettings(nms_iou=0.4, gauge_offset=(1.0, 2.0, 3.0))
    assert settings_from_parameters(parameters_of(settings)) == settings
    assert settings_from_parameters({}) == DetectorNodeSettings()


def test_every_parameter_is_of_a_type_that_ros_has_and_says_what_it_means() -> None:
    for parameter in parameters():
        assert isinstance(parameter.default, bool | int | float | str | list), parameter.name
        assert parameter.description, parameter.name
        if isinstance(parameter.default, int | float) and parameter.minimum is not None:
            assert parameter.default >= parameter.minimum
    by_name = {parameter.name: parameter for parameter in parameters()}
    assert by_name["nms_iou"].minimum == 0.0
    assert by_name["nms_iou"].maximum == 1.0
    assert by_name["sensor"].choices == tuple(SENSORS)
    assert by_name["score_thresholds.car"].is_run_time
    assert not by_name["bundle"].is_run_time


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nms_io": 0.1}, r"unknown parameter nms_io \(= 0.1\); valid: autostart, .*nms_iou"),
        ({"score_thresholds.van": 0.1}, "unknown parameter score_thresholds.van"),
        ({"score_thresholds": 0.1}, "unknown parameter score_thresholds"),
        ({"nms_iou": 1.5}, "nms_iou is 1.5: must be less than or equal to 1"),
        ({"score_thresholds.car": -1}, "score_thresholds.car is -1: must be greater"),
        ({"sensor": "hdl"}, "sensor is 'hdl': must be one of: kitti_hdl64"),
        ({"backend": "gpu"}, "backend is 'gpu': must be one of: auto, tensorrt"),
        ({"backend_fallback": "gpu"}, "backend_fallback is 'gpu': must be one of: tensorrt"),
        ({"backend_fallback": "auto"}, "backend_fallback is 'auto': must be one of: tensorrt"),
        (
            {"backend": "openvino", "backend_fallback": "openvino"},
            "backend_fallback is openvino, as backend is: name another",
        ),
        ({"backend_max_failures": 0}, "backend_max_failures is 0"),
        ({"device_index": -1}, "device_index is -1"),
        ({"num_threads": "two"}, "num_threads is 'two': must be a valid integer"),
        ({"num_threads": 0}, "num_threads is 0"),
        ({"stale_timeout": math.nan}, "stale_timeout is nan: must be a finite number"),
        ({"bundle": 3}, "bundle is 3: must be a valid string"),
        ({"gauge_offset": [1.0]}, "gauge_offset"),
        ({"health.warn_ratio": 9.0}, "error_ratio 3.0 must not be below warn_ratio 9.0"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        settings_from_parameters(values)
    assert "\n" not in str(caught.value)


def test_several_faults_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"nms_iou.*; .*max_boxes"):
        settings_from_parameters({"nms_iou": 2.0, "max_boxes": 0})


def test_the_shipped_file_holds_every_parameter_with_its_default() -> None:
    text = (ROOT / "config" / "detector.param.yaml").read_text()
    values = yaml.safe_load(text)
    assert list(values) == ["/**"]
    assert list(values["/**"]) == ["ros__parameters"]
    flat = dict(_flattened(values["/**"]["ros__parameters"]))
    assert flat == parameters_of(DetectorNodeSettings())
    for parameter in parameters():
        assert type(flat[parameter.name]) is type(parameter.default), parameter.name
        said = re.sub(r"\s+# ", " ", text)  # comments are wrapped
        assert re.sub(r"\s+", " ", parameter.description) in said, parameter.name


def _flattened(values: dict[str, Any], prefix: str = "") -> Any:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def markdown_table() -> str:
    """Returns the table of docs/parameters.md."""
    lines = [
        "| parameter | default | valid | at run time | meaning |",
        "|---|---|---|---|---|",
    ]
    for parameter in parameters():
        default = "" if parameter.default == "" else f"`{as_yaml(parameter.default)}`"
        lines.append(
            f"| `{parameter.name}` | {default} | {valid_values(parameter)} |"
            f" {'yes' if parameter.is_run_time else 'no'} | {parameter.description} |"
        )
    return "\n".join(lines) + "\n"


def valid_values(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    if parameter.minimum is not None and parameter.maximum is not None:
        return f"{parameter.minimum:g} to {parameter.maximum:g}"
    if parameter.minimum is not None:
        return f"{parameter.minimum:g} or more"
    return "true, false" if isinstance(parameter.default, bool) else ""


def as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_table_has_a_row_for_each_parameter() -> None:
    rows = markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [parameter.name for parameter in parameters()]
    assert all(row.count("|") == 6 for row in rows)


def test_the_documentation_shows_this_table() -> None:
    assert markdown_table() in (ROOT / "docs" / "parameters.md").read_text()


def test_a_height_of_zero_is_zero_and_minus_one_the_sensors_entry() -> None:
    def height(**values: float) -> float:
        return (
            DetectorNodeSettings(sensor="nuscenes_hdl32e", **values).sensor_model().mounting_height
        )

    assert (height(), height(mounting_height=-1)) == (1.84, 1.84)
    assert height(mounting_height=0.0) == height(mounting_height=-0.0) == 0.0
    for wrong in (-0.5, -2.0, 20.1, math.nan):
        with pytest.raises(ConfigError, match="mounting_height"):
            settings_from_parameters({"mounting_height": wrong})


def test_intensity_replaces_the_sensors_own() -> None:
    def sensor(**values: object) -> SensorModel:
        return settings_from_parameters({"sensor": "ouster", **values}).sensor_model()

    assert sensor() == SENSORS["ouster"]
    assert sensor(intensity_field="none").intensity_fields == ()
    assert sensor(intensity_field="echo").intensity_fields == ("echo",)
    assert sensor(intensity_scale=9.0).scale_of("signal") == 9.0
    for wrong in ({"intensity_field": ""}, {"intensity_scale": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            sensor(**wrong)


def test_mounting_replaces_the_sensors_own() -> None:
    settings = DetectorNodeSettings(
        sensor="nuscenes_hdl32e", mounting_height=2.5, mounting_yaw_deg=-90.0
    )
    sensor = settings.sensor_model()
    assert sensor.mounting_height == 2.5
    assert sensor.forward_yaw == pytest.approx(0.0)
    assert (
        DetectorNodeSettings(sensor="nuscenes_hdl32e").sensor_model()
        == (SENSORS["nuscenes_hdl32e"])
    )


def test_thresholds_follow_the_classes_of_the_bundle() -> None:
    settings = settings_from_parameters({"score_thresholds.cyclist": 0.7, "max_boxes": 5})
    thresholds = settings.detection_thresholds(("Car", "Cyclist", "Tram"))
    assert thresholds.class_score == {"Car": 0.5, "Cyclist": 0.7}
    assert thresholds.max_boxes == 5


def test_the_backend_is_told_what_concerns_it() -> None:
    told = settings_from_parameters({"num_threads": 3, "device_index": 1, "engine_cache": "/e"})
    assert told.backend_settings() == BackendSettings(
        num_threads=3, device_index=1, engine_cache=Path("/e")
    )
    assert DetectorNodeSettings().backend_settings().engine_cache is None
