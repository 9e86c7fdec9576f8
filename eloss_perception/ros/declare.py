# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from the settings model: declared once, checked at every change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from eloss_perception.errors import ConfigError, printable
from eloss_perception.ros.parameters import (
    Parameter,
    parameters,
    parameters_of,
    settings_from_parameters,
)
from eloss_perception.ros.params import DetectorNodeSettings

# Parameters that rclpy itself reads from the overrides of any node.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")
_RCLPY_PREFIXES = ("qos_overrides.",)


def declare_settings(node: Node) -> DetectorNodeSettings:
    """Declares every setting as a parameter and reads the overrides that the node was started with.

    The node must have been made with `automatically_declare_parameters_from_overrides`, which is
    how rclpy tells of an override that nobody declares.

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
    """Passes changes of run-time parameters to `apply`, refuses invalid ones with the reason.

    Args:
        node: The node whose parameters `declare_settings` has declared.
        current: Returns the settings that are in force.
        apply: Takes the new settings, all of a request's changes at once.
    """

    def on_set(changes: Iterable[RosParameter]) -> SetParametersResult:
        own = {entry.name: entry for entry in parameters()}
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
    # rclpy gives arrays of numbers as array.array, which pydantic does not take for a tuple.
    return value if value is None or isinstance(value, bool | int | float | str) else list(value)


def _descriptor(entry: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=entry.description, read_only=not entry.is_run_time)
    if entry.choices:
        descriptor.additional_constraints = f"one of: {', '.join(entry.choices)}"
    if entry.minimum is None and entry.maximum is None:
        return descriptor
    if isinstance(entry.default, int):
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(entry.minimum or 0),
                to_value=2**31 - 1 if entry.maximum is None else int(entry.maximum),
            )
        ]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(entry.minimum or 0.0),
                to_value=sys.float_info.max if entry.maximum is None else float(entry.maximum),
            )
        ]
    return descriptor
