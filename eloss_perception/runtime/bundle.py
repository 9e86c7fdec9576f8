# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle: the folder that a network travels in.

It holds ``model.onnx``, ``model.yaml`` and, once it is calibrated, ``health.npz``.

The YAML holds what is a fact about the network; whatever may be tuned on a vehicle is not in it.
Its first line is the checksum of the rest, which has those of the other two files. They protect
against bit rot, updates that stopped half-way and edits by hand, not against somebody who may
write to the folder: he can write checksums too. Each file is read once; what was hashed is what
is used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eloss_perception.detection.decode import num_channels
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import HeadConfig, check_head_classes
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.errors import BundleError, ConfigError, printable
from eloss_perception.files import new_file, opened, read_up_to, write_file
from eloss_perception.health.reference import HealthReference
from eloss_perception.health.reference_file import HEALTH_NAME, health_bytes, read_health
from eloss_perception.runtime.onnx_file import OnnxFile

_LOG = logging.getLogger(__name__)

FORMAT_VERSION = 3
ONNX_NAME = "model.onnx"
YAML_NAME = "model.yaml"
FILE_NAMES = (ONNX_NAME, YAML_NAME, HEALTH_NAME)

_CHECKSUM = "checksum"
_CHECKSUM_LINE = re.compile(rb"checksum: ([0-9a-f]{64})\n")
# Ours have 3 to 6 kB, 160 to 190 kB; YAML of 400 values, six deep, numbers of up to 25 digits.
_MAX_YAML_BYTES = 250_000
_MAX_HEALTH_BYTES = 16_000_000
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
    """How a network was made from a float32 one, and what that changed."""

    precision: Literal["int8", "float16"]
    target: Literal["cpu", "tensorrt"] = Field(description="whose form the network is in")
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
                raise ValueError(f"{field} holds a name twice")
        if len(self.layer_stages) != len(self.layer_names):
            raise ValueError("layer_stages and layer_names are not of one length")
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: Its folder.
        facts: Content of ``model.yaml``.
        grid: The pillar grid.
        onnx: The network.
        health: The health reference; ``None`` for a bundle that was never calibrated.
    """

    path: Path
    facts: BundleFacts
    grid: PillarGrid
    onnx: OnnxFile
    health: HealthReference | None

    @property
    def onnx_path(self) -> Path:
        """Where the network was read from."""
        return self.onnx.path

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each of the network's outputs, of one frame, by its name in the file."""
        facts, stride = self.facts, self.facts.head.stride
        cells = (self.grid.num_y // stride, self.grid.num_x // stride)
        layers = (len(facts.layer_names),)
        class_channels, box_channels = num_channels(facts.head, len(facts.class_names))
        return {
            "class_logits": (class_channels, *cells),
            "box_regression": (box_channels, *cells),
            "layer_entropy": layers,
            "layer_log_rms": layers,
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label."""
        return self.facts.class_names

    @classmethod
    def load(cls, path: Path | str) -> Bundle:
        """Reads and verifies a bundle.

        Raises:
            BundleError: If it is missing, incomplete, altered or of another format version.
        """
        bundle = cls.load_uncalibrated(path)
        return replace(bundle, health=_health_reference(bundle.path, bundle.facts))

    @classmethod
    def load_uncalibrated(cls, path: Path | str) -> Bundle:
        """As :meth:`load`, whatever its health reference is like: to make it a new one."""
        path = Path(path)
        if not path.is_dir():
            raise BundleError(
                f"no bundle at {path}: expected a folder with {ONNX_NAME}, {YAML_NAME}"
            )
        for name in (YAML_NAME, ONNX_NAME):
            if not (path / name).exists():
                raise BundleError(
                    f"bundle {path} is incomplete: {name} is missing; export it again"
                )
        return cls._of(path, _read_facts(path / YAML_NAME))

    @classmethod
    def _of(cls, path: Path, facts: BundleFacts) -> Bundle:
        onnx = OnnxFile.read(path / ONNX_NAME)
        if facts.onnx_sha256 != onnx.sha256:
            raise BundleError(
                f"bundle {path} is altered: {ONNX_NAME} does not match {YAML_NAME}'s checksum; "
                "copy or export it again"
            )
        try:
            grid = PillarGrid(**facts.grid.model_dump())
        except ConfigError as error:
            raise BundleError(f"{path / YAML_NAME}: {error}") from None
        bundle = cls(path, facts, grid, onnx, None)
        bundle._check_shapes()
        return bundle

    def _check_shapes(self) -> None:
        """The network is the one that ``model.yaml`` speaks of, as far as its file says.

        Raises:
            BundleError: If it is not.
        """
        expected: dict[str, tuple[int | None, ...]] = {
            "points": (None, self.grid.max_points_per_pillar, NUM_POINT_FEATURES),
            "features": (None, NUM_PILLAR_FEATURES),
            "cell_to_pillar": (1, self.grid.num_cells),
            **{name: (1, *shape) for name, shape in self.output_shapes.items()},
        }
        found = self.onnx.shapes()
        for name, shape in expected.items():
            if name not in found:
                raise BundleError(f"{self.onnx_path} has no {name}; export the bundle again")
            its = found[name]
            if its is None:
                continue  # what the network gives is seen on the first frame
            if len(its) != len(shape) or any(
                size not in (other, None) for size, other in zip(its, shape, strict=True) if other
            ):
                raise BundleError(
                    f"{self.path}: {name} of the network has the shape {_sizes(its)}, by "
                    f"{YAML_NAME} it is {_sizes(shape)}: they are not of one bundle; copy or "
                    "export it again"
                )

    def require_health(self) -> HealthReference:
        """The health reference.

        Raises:
            BundleError: If the bundle has none.
        """
        if self.health is None:
            raise BundleError(
                f"bundle {self.path} has no health reference; run `eloss calibrate` on it first"
            )
        return self.health


def write_facts(path: Path, facts: BundleFacts) -> None:
    """Writes ``model.yaml`` into a bundle folder; a crash leaves the old or the new one whole."""
    write_file(path / YAML_NAME, _facts_bytes(facts))


def write_reference(
    path: Path, reference: HealthReference, false_alarms_per_hour: float, rate_hz: float
) -> None:
    """Stores a health reference in a bundle.

    Args:
        path: The bundle's folder.
        reference: What to store.
        false_alarms_per_hour: Rate that the reference's threshold is for.
        rate_hz: Scans a second that this rate is for.

    Raises:
        BundleError: If the bundle cannot be read.
    """
    facts = _read_facts(path / YAML_NAME)
    content = health_bytes(reference)
    health = HealthFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        threshold=reference.threshold,
        eloss_normal=reference.eloss_normal,
        num_frames=reference.num_frames,
        source=reference.source,
        false_alarms_per_hour=false_alarms_per_hour,
        rate_hz=rate_hz,
    )
    facts = facts.model_copy(update={"health": health})
    with new_file(path / YAML_NAME) as facts_file, new_file(path / HEALTH_NAME) as health_file:
        for file, its in ((facts_file, _facts_bytes(facts)), (health_file, content)):
            file.write(its)
            # A disk that is full says so here, before either has its name.
            file.flush()
            os.fsync(file.fileno())


def write_checksum(path: Path) -> None:
    """Gives a bundle's ``model.yaml`` the checksum of what it says now, and changes nothing else.

    Raises:
        BundleError: If the bundle would not load with it.
    """
    file = path / YAML_NAME
    content = _read(file, _MAX_YAML_BYTES)
    line = _CHECKSUM_LINE.match(content)
    content = content[line.end() if line else 0 :]
    facts = _parse_facts(file, content)
    Bundle._of(path, facts)
    _health_reference(path, facts)
    write_file(file, _sealed(content))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def default_bundle_path() -> Path:
    """The shipped light bundle: in the source tree, or where colcon or pip installed it.

    Raises:
        BundleError: If it is in neither place.
    """
    relative = Path("models") / "pillars_light"
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    candidates = [Path(__file__).resolve().parents[2] / relative]
    candidates += [
        Path(p) / "share" / "eloss_perception" / relative for p in (*prefixes, sys.prefix)
    ]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise BundleError(f"the shipped bundle {relative} is not installed; name one with `bundle`")


def _facts_bytes(facts: BundleFacts) -> bytes:
    text = yaml.safe_dump(facts.model_dump(mode="json"), sort_keys=False, width=100)
    return _sealed(text.encode())


def _sealed(content: bytes) -> bytes:
    return f"{_CHECKSUM}: {hashlib.sha256(content).hexdigest()}\n".encode() + content


def _read_facts(path: Path) -> BundleFacts:
    content = _read(path, _MAX_YAML_BYTES)
    line = _CHECKSUM_LINE.match(content)
    if line is None:
        facts = _parse_facts(path, content)
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
    return _parse_facts(path, content)


def _parse_facts(path: Path, content: bytes) -> BundleFacts:
    """The facts of a file without its checksum."""
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
    """Reads what :func:`write_facts` writes: plain values, no deeper and no longer than needed.

    Aliases make a gigabyte of a line, numbers of a million digits take minutes, and each level of
    nesting is one of Python's stack.
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
                raise ValueError(f"a key below line {line} comes twice, or is none")
        return node


def _read(path: Path, max_bytes: int) -> bytes:
    """Content of one of a bundle's files."""
    try:
        with opened(path) as file:
            return read_up_to(file, path, max_bytes)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from None


def _flat(text: object) -> str:
    return " ".join(str(text).split())


def _sizes(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape)


def _health_reference(path: Path, facts: BundleFacts) -> HealthReference | None:
    health = facts.health
    if health is None:
        return None
    file = path / HEALTH_NAME
    if not file.exists():
        raise BundleError(
            f"bundle {path} is incomplete: {HEALTH_NAME} is missing; copy it or run "
            "`eloss calibrate`"
        )
    content = _read(file, _MAX_HEALTH_BYTES)
    if health.sha256 != hashlib.sha256(content).hexdigest():
        raise BundleError(
            f"bundle {path} is altered: {HEALTH_NAME} does not match {YAML_NAME}'s checksum; "
            "copy it or run `eloss calibrate` again"
        )
    return read_health(
        content,
        file,
        facts.layer_names,
        facts.layer_stages,
        health.threshold,
        health.eloss_normal,
        health.num_frames,
        health.source,
    )
