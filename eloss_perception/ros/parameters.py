# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings as ROS parameters: declared once, checked at every change.

A nested model's fields become dotted names. docs/parameters.md and the check of
`config/detector.param.yaml` are made from the same table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from eloss_perception.detection.sensors import SENSORS
from eloss_perception.errors import ConfigError, printable
from eloss_perception.ros.node_settings import FALLBACKS, DetectorNodeSettings
from eloss_perception.runtime.backends import BACKENDS

# Parameters that rclpy itself reads from the overrides of any node.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")
_RCLPY_PREFIXES = ("qos_overrides.",)

_CHOICES: dict[str, tuple[str, ...]] = {
    "backend": tuple(BACKENDS),
    "backend_fallback": FALLBACKS,
    "sensor": tuple(SENSORS),
}


class Parameter(NamedTuple):
    """One setting as a ROS parameter."""

    name: str
    default: bool | int | float | str | list[float]
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    is_run_time: bool


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
        extra = info.json_schema_extra
        minimum, maximum = _limits(info)
        yield Parameter(
            name=name,
            default=list(default) if isinstance(default, tuple) else default,
            description=info.description or "",
            minimum=minimum,
            maximum=maximum,
            choices=_CHOICES.get(name, ()),
            is_run_time=isinstance(extra, dict) and bool(extra.get("run_time")),
        )


def settings_from_parameters(values: Mapping[str, Any]) -> DetectorNodeSettings:
    """Returns the settings of parameters given by dotted name; the others have their defaults.

    Raises:
        ConfigError: If names are unknown or values invalid; one line with all of them.
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
    """The inverse of `settings_from_parameters`: returns every value by dotted name."""
    values: dict[str, Any] = {}
    for parameter in parameters():
        value: Any = settings
        for key in parameter.name.split("."):
            value = getattr(value, key)
        values[parameter.name] = list(value) if isinstance(value, tuple) else value
    return values


def declare_settings(node: Node) -> DetectorNodeSettings:
    """Declares every setting as a parameter, and returns the settings the node was started with.

    The node must have been made with `automatically_declare_parameters_from_overrides`: only that
    way does rclpy reveal overrides that nobody declares.

    Raises:
        ConfigError: If an override is unknown or invalid.
    """
    overrides: dict[str, Any] = {}
    for name, parameter in node.get_parameters_by_prefix("").items():
        if name in _RCLPY_PARAMETERS or name.startswith(_RCLPY_PREFIXES):
            continue
        overrides[name] = _plain(parameter.value)
        node.undeclare_parameter(name)
    settings = settings_from_parameters(overrides)
    values = parameters_of(settings)
    for entry in parameters():
        # The validated value, not the override: `1` in a file is 1.0 for a float parameter.
        node.declare_parameter(
            entry.name, values[entry.name], _descriptor(entry), ignore_override=True
        )
    return settings


def follow_changes(
    node: Node,
    current: Callable[[], DetectorNodeSettings],
    apply: Callable[[DetectorNodeSettings], None],
) -> None:
    """Passes changes of run-time parameters to `apply`, and refuses invalid ones with the reason.

    Args:
        node: The node whose parameters `declare_settings` has declared.
        current: Returns the settings in force.
        apply: Takes the new settings, with all changes of a request at once.
    """

    def on_set(changes: Iterable[RosParameter]) -> SetParametersResult:
        own = {entry.name for entry in parameters()}
        changed = {p.name: _plain(p.value) for p in changes if p.name in own}
        if not changed:
            return SetParametersResult(successful=True)
        try:
            settings = settings_from_parameters({**parameters_of(current()), **changed})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=printable(error, 1000))
        apply(settings)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)


def _plain(value: Any) -> Any:
    # rclpy gives arrays of numbers as array.array, which pydantic does not accept as a tuple.
    return value if value is None or isinstance(value, bool | int | float | str) else list(value)


def _descriptor(entry: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=entry.description, read_only=not entry.is_run_time)
    if entry.choices:
        descriptor.additional_constraints = f"one of: {', '.join(entry.choices)}"
    if entry.minimum is None and entry.maximum is None:
        return descriptor
    minimum = entry.minimum or 0.0
    if isinstance(entry.default, int):
        maximum = 2**31 - 1 if entry.maximum is None else int(entry.maximum)
        descriptor.integer_range = [IntegerRange(from_value=int(minimum), to_value=maximum)]
    else:
        largest = sys.float_info.max if entry.maximum is None else entry.maximum
        descriptor.floating_point_range = [FloatingPointRange(from_value=minimum, to_value=largest)]
    return descriptor


def _limits(info: FieldInfo) -> tuple[float | None, float | None]:
    metadata = list(info.metadata)
    if get_origin(info.annotation) is Annotated:
        metadata += get_args(info.annotation)[1:]
    minimum: float | None = None
    maximum: float | None = None
    for entry in metadata:
        # ROS ranges are closed; the model refuses a bound that is itself not allowed.
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
