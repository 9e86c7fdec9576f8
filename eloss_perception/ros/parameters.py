# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings as ROS parameters: a nested model's fields become dotted names. Needs no ROS.

`declare.py` declares them; docs/parameters.md and the check of `config/detector.param.yaml` are
made from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from eloss_perception.detection.sensors import SENSORS
from eloss_perception.errors import ConfigError
from eloss_perception.ros.params import FALLBACKS, DetectorNodeSettings
from eloss_perception.runtime.backends import BACKENDS


class Parameter(NamedTuple):
    """One setting as a ROS parameter."""

    name: str
    default: bool | int | float | str | list[float]
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    is_run_time: bool


_CHOICES: dict[str, tuple[str, ...]] = {
    "backend": tuple(BACKENDS),
    "backend_fallback": FALLBACKS,
    "sensor": tuple(SENSORS),
}


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
    """Returns the table of docs/parameters.md."""
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


def _in_one_line(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        problems.append(f"parameter {name} is {problem['input']!r}: {message}")
    return "; ".join(problems)
