# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the subcommands' parsers have in common: their layout and the checks of plain values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    from eloss_perception.detection.sensors import SensorModel

# argparse gives the type of `add_subparsers` no public name.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Model = TypeVar("Model", bound="BaseModel")

DEFAULT_BACKEND = "onnxruntime_cpu"


def add_command(
    subparsers: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    details: str = "",
    example: str,
) -> argparse.ArgumentParser:
    """Adds a subcommand whose help ends in an example.

    Args:
        subparsers: Of the `eloss` parser.
        name: Of the subcommand.
        run: Does it, given the parsed arguments, and returns the exit status.
        summary: One line, shown in the list of commands as well.
        details: More about it, shown in its own help.
        example: One or more command lines.
    """
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}".strip(),
        epilog="example:\n" + "\n".join(f"  {line}" for line in example.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def positive_int(text: str) -> int:
    """Parses an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def seed(text: str) -> int:
    """Parses an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0")
    return value


def fraction(text: str) -> float:
    """Parses a number from 0 to 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} must be from 0 to 1")
    return value


def positive_float(text: str) -> float:
    """Parses a finite number above 0."""
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def seconds(text: str) -> float:
    """Parses a finite number of at least 0."""
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be at least 0")
    return value


def height(text: str) -> float:
    """Parses the height of a frame above the ground [m], as the node's parameter allows it."""
    value = float(text)
    if not 0.0 <= value <= 20.0:
        raise argparse.ArgumentTypeError(f"{text} must be from 0 to 20")
    return value


def add_backend_arguments(
    parser: argparse.ArgumentParser, default: str | None = DEFAULT_BACKEND
) -> None:
    """Adds ``--backend`` and ``--threads``; a default of None tells that none was named."""
    parser.add_argument(
        "--backend",
        default=default,
        metavar="NAME",
        help=f"what runs the network, as the node's parameter (default: {DEFAULT_BACKEND})",
    )
    parser.add_argument(
        "--threads", type=positive_int, default=2, metavar="N", help="of a CPU (default: 2)"
    )


# argparse gives what parsers and their groups have in common no public name.
_Arguments: TypeAlias = "argparse._ActionsContainer"

SENSOR_ARGUMENTS = (
    "sensor",
    "mounting_height",
    "mounting_yaw",
    "intensity_field",
    "intensity_scale",
)
"""What :func:`add_sensor_arguments` adds, by destination; each is None where it is not given."""


def add_sensor_arguments(parser: _Arguments, default: str) -> None:
    """Adds what has to be known of the sensor, as the node's parameters say it."""
    parser.add_argument("--sensor", help=f"what recorded the points (default: {default})")
    parser.add_argument(
        "--mounting-height",
        type=height,
        metavar="M",
        help="of the points' frame above the ground, 0 for a frame on it (default: the sensor's)",
    )
    parser.add_argument(
        "--mounting-yaw",
        type=float,
        metavar="DEG",
        help="forward axis in the points' frame, as the node's mounting_yaw_deg",
    )
    parser.add_argument(
        "--intensity-field",
        metavar="NAME",
        help="as the node's intensity_field: none where there is none (default: the sensor's)",
    )
    parser.add_argument(
        "--intensity-scale",
        type=positive_float,
        metavar="V",
        help="value of it that counts as full intensity (default: the sensor's for the field)",
    )


def sensor_from_arguments(args: argparse.Namespace, default: str) -> SensorModel:
    """The sensor that :func:`add_sensor_arguments` describe; see `mounted_sensor`."""
    from eloss_perception.cli.calibrate_sources import mounted_sensor

    return mounted_sensor(
        args.sensor or default,
        args.mounting_height,
        args.mounting_yaw,
        args.intensity_field,
        args.intensity_scale,
    )


def settings_from(model: type[Model], named: dict[str, object]) -> Model:
    """The settings that a command line changes, checked; what is None keeps its default.

    Raises:
        ConfigError: Naming the first setting that is not valid.
    """
    from pydantic import ValidationError

    from eloss_perception.errors import ConfigError

    try:
        return model(**{key: value for key, value in named.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{key} = {first['input']!r}: {message}") from None
