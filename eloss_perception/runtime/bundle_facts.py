# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``model.yaml`` of a bundle: its content, and how it is read and written."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eloss_perception.detection.heads import HeadConfig, check_head_classes
from eloss_perception.errors import BundleError, printable
from eloss_perception.files import opened, read_up_to, write_file

_LOG = logging.getLogger(__name__)

FORMAT_VERSION = 3
YAML_NAME = "model.yaml"

_CHECKSUM = "checksum"
CHECKSUM_LINE = re.compile(rb"checksum: ([0-9a-f]{64})\n")
# Ours have 3 to 6 kB, 400 values, six levels, and numbers of up to 25 digits.
MAX_YAML_BYTES = 250_000
_MAX_YAML_DEPTH = 32
_MAX_YAML_VALUES = 10_000
_MAX_DIGITS = 64

Name = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$")
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GridFacts(_Facts):
    """The pillar grid that the network was built for."""

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float]
    max_pillars: int
    max_points_per_pillar: int


class HealthFacts(_Facts):
    """The health reference, with its arrays in ``health.npz``; see ``health/reference.py``."""

    sha256: Sha256 = Field(description="of health.npz")
    threshold: float
    eloss_normal: float
    num_frames: int = Field(ge=1)
    source: str
    false_alarms_per_hour: float = Field(gt=0, description="stated rate that the threshold is for")
    rate_hz: float = Field(gt=0, le=1000, description="scans a second that this rate is for")


class QuantizationFacts(_Facts):
    """How a network was quantized, and what that changed."""

    precision: Literal["int8", "float16"]
    target: Literal["cpu", "tensorrt"] = Field(description="runtime that it was quantized for")
    source_sha256: Sha256 = Field(description="of the float32 bundle's model.onnx")
    calibration: str = Field(description="scans that the ranges were taken from, in words")
    float_layers: tuple[str, ...] = Field(description="layers that stayed in floating point")
    evaluation: str = Field(description="labelled frames that both networks were run on, in words")
    average_precision: dict[str, tuple[float, float]] = Field(
        description="AP R40 [%] at moderate difficulty before and after, as in Car_3d_0.7"
    )
    largest_drift: float = Field(
        description="of a layer's reading over clean scans, in its calibrated spreads"
    )
    max_ap_drop: float = Field(description="limit that was set [points]")
    max_drift: float = Field(description="limit that was set [spreads]")


class BundleFacts(_Facts):
    """Content of ``model.yaml``."""

    format_version: int
    name: Name
    onnx_sha256: Sha256
    class_names: tuple[Name, ...] = Field(min_length=1, max_length=100)
    sensor: Name = Field(description="entry of SENSORS whose scans the network was trained on")
    grid: GridFacts
    head: HeadConfig
    entropy_measure: Name = Field(description="what `layer_entropy` holds")
    layer_names: tuple[Name, ...] = Field(min_length=1, max_length=1000)
    layer_stages: tuple[Annotated[int, Field(ge=0, lt=1000)], ...]
    health: HealthFacts | None
    training: dict[str, Any] = Field(description="provenance: settings, data, seed, metrics")
    quantization: QuantizationFacts | None = Field(None, description="None for a float32 network")

    @model_validator(mode="after")
    def _check_head(self) -> BundleFacts:
        check_head_classes(self.head, len(self.class_names))
        return self

    @model_validator(mode="after")
    def _check_names(self) -> BundleFacts:
        for field in ("class_names", "layer_names"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(f"{field} repeats a name")
        if len(self.layer_stages) != len(self.layer_names):
            raise ValueError("layer_stages and layer_names differ in length")
        return self


def write_facts(path: Path, facts: BundleFacts) -> None:
    """Writes ``model.yaml`` into a bundle folder; a crash leaves the old or the new one whole."""
    write_file(path / YAML_NAME, facts_bytes(facts))


def facts_bytes(facts: BundleFacts) -> bytes:
    """Returns the content of ``model.yaml``, with its checksum."""
    text = yaml.safe_dump(facts.model_dump(mode="json"), sort_keys=False, width=100)
    return sealed(text.encode())


def sealed(content: bytes) -> bytes:
    """Returns content with its checksum as the first line."""
    return f"{_CHECKSUM}: {hashlib.sha256(content).hexdigest()}\n".encode() + content


def read_facts(path: Path) -> BundleFacts:
    """Reads ``model.yaml`` and checks its checksum, whose absence is a warning.

    Raises:
        BundleError: If it cannot be read, is altered, malformed or of another format version.
    """
    content = read_part(path, MAX_YAML_BYTES)
    line = CHECKSUM_LINE.match(content)
    if line is None:
        facts = parse_facts(path, content)
        _LOG.warning(
            "%s has no checksum, so changes of it go unnoticed; `eloss seal %s` adds it",
            path,
            path.parent,
        )
        return facts
    content = content[line.end() :]
    if hashlib.sha256(content).hexdigest().encode() != line[1]:
        raise BundleError(
            f"bundle {path.parent} is altered: {YAML_NAME} does not match its checksum; copy or "
            f"export it again or, if it was changed on purpose, run `eloss seal {path.parent}`"
        )
    return parse_facts(path, content)


def parse_facts(path: Path, content: bytes) -> BundleFacts:
    """Returns the facts of a file whose checksum has been taken off.

    Raises:
        BundleError: If they are malformed or of another format version.
    """
    try:
        values = yaml.load(content, _PlainLoader)
    except Exception as error:  # PyYAML: IndexError for `!!int ''`, ValueError for 2020-13-45, ...
        raise BundleError(f"cannot read {path}: {printable(_flat(error), 300)}") from None
    if isinstance(values, dict) and _CHECKSUM in values:
        raise BundleError(f"{path}: its checksum must be the first line; copy the bundle again")
    version = values.get("format_version") if isinstance(values, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {printable(version)}, this package reads "
            f"{FORMAT_VERSION}; export the bundle again"
        )
    try:
        return BundleFacts.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {printable(key)}: {printable(first['msg'], 300)}") from None


class _PlainLoader(yaml.SafeLoader):
    """Reads what :func:`write_facts` writes: plain values of limited depth and length.

    Aliases turn one line into a gigabyte, numbers of a million digits take minutes, and each level
    of nesting takes one of Python's stack.
    """

    _depth = 0
    _num_values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise ValueError(f"line {event.start_mark.line + 1} has an anchor, an alias or a tag")
        self._depth += 1
        self._num_values += 1
        if self._depth > _MAX_YAML_DEPTH or self._num_values > _MAX_YAML_VALUES:
            raise ValueError(
                f"it is nested deeper than {_MAX_YAML_DEPTH} levels, or holds more than "
                f"{_MAX_YAML_VALUES} values"
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        line = event.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            if len(node.value) > _MAX_DIGITS and not node.tag.endswith(":str"):
                raise ValueError(f"line {line} has a number of {len(node.value)} digits")
        elif isinstance(node, yaml.MappingNode):
            keys = [getattr(key, "value", None) for key, _ in node.value]
            if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
                raise ValueError(f"a key below line {line} is not text, or repeated")
        return node


def read_part(path: Path, max_bytes: int) -> bytes:
    """Returns the content of one of a bundle's files.

    Raises:
        BundleError: If it cannot be read, is not a regular file or too large.
    """
    try:
        with opened(path) as file:
            return read_up_to(file, path, max_bytes)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from None


def _flat(text: object) -> str:
    return " ".join(str(text).split())
