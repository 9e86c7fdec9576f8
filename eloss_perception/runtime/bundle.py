# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle: the folder that a network travels in.

It holds ``model.onnx``, ``model.yaml`` and, once it is calibrated, ``health.npz``.

The YAML holds what is a fact about the network; whatever may be tuned on a vehicle is not in it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eloss_perception.core.grid import PillarGrid
from eloss_perception.core.heads import HeadConfig, check_head_classes
from eloss_perception.core.health_reference import HealthReference
from eloss_perception.errors import BundleError, ConfigError
from eloss_perception.runtime.health_file import HEALTH_NAME, read_health, write_health

FORMAT_VERSION = 3
ONNX_NAME = "model.onnx"
YAML_NAME = "model.yaml"
FILE_NAMES = (ONNX_NAME, YAML_NAME, HEALTH_NAME)


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridFacts(_Facts):
    """The pillar grid that the network was built for."""

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float]
    max_pillars: int
    max_points_per_pillar: int


class HealthFacts(_Facts):
    """The health reference, with its arrays in ``health.npz``; see ``core/health_reference.py``."""

    sha256: str = Field(description="of health.npz")
    threshold: float
    eloss_normal: float
    num_frames: int
    source: str
    false_alarms_per_hour: float = Field(description="stated rate that the threshold is for")
    rate_hz: float = Field(description="scans a second that this rate is for")


class QuantizationFacts(_Facts):
    """How a network was made from a float32 one, and what that changed."""

    precision: Literal["int8", "float16"]
    target: Literal["cpu", "tensorrt"] = Field(description="whose form the network is in")
    source_sha256: str = Field(description="of the float32 bundle's model.onnx")
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
    name: str
    onnx_sha256: str
    class_names: tuple[str, ...]
    sensor: str = Field(description="entry of SENSORS whose scans the network was trained on")
    grid: GridFacts
    head: HeadConfig
    entropy_measure: str = Field(description="what `layer_entropy` holds")
    layer_names: tuple[str, ...]
    layer_stages: tuple[int, ...]
    health: HealthFacts | None
    training: dict[str, Any] = Field(description="provenance: settings, data, seed, metrics")
    quantization: QuantizationFacts | None = Field(None, description="None for a float32 network")

    @model_validator(mode="after")
    def _check_head(self) -> BundleFacts:
        check_head_classes(self.head, len(self.class_names))
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: Its folder.
        facts: Content of ``model.yaml``.
        grid: The pillar grid.
        health: The health reference; ``None`` for a bundle that was never calibrated.
    """

    path: Path
    facts: BundleFacts
    grid: PillarGrid
    health: HealthReference | None

    @property
    def onnx_path(self) -> Path:
        """The network."""
        return self.path / ONNX_NAME

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
            if not (path / name).is_file():
                raise BundleError(
                    f"bundle {path} is incomplete: {name} is missing; export it again"
                )
        facts = _read_facts(path / YAML_NAME)
        if facts.onnx_sha256 != sha256_of(path / ONNX_NAME):
            raise BundleError(
                f"bundle {path} is altered: {ONNX_NAME} does not match {YAML_NAME}'s checksum; "
                "copy or export it again"
            )
        try:
            grid = PillarGrid(**facts.grid.model_dump())
        except ConfigError as error:
            raise BundleError(f"{path / YAML_NAME}: {error}") from None
        return cls(path, facts, grid, None)

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
    partial = path / (YAML_NAME + ".partial")
    text = yaml.safe_dump(facts.model_dump(mode="json"), sort_keys=False, width=100)
    partial.write_text(text)
    os.replace(partial, path / YAML_NAME)


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
    write_health(path / HEALTH_NAME, reference)
    health = HealthFacts(
        sha256=sha256_of(path / HEALTH_NAME),
        threshold=reference.threshold,
        eloss_normal=reference.eloss_normal,
        num_frames=reference.num_frames,
        source=reference.source,
        false_alarms_per_hour=false_alarms_per_hour,
        rate_hz=rate_hz,
    )
    write_facts(path, facts.model_copy(update={"health": health}))


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


def _read_facts(path: Path) -> BundleFacts:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"cannot read {path}: {error}") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, this package reads {FORMAT_VERSION}; "
            "export the bundle again"
        )
    try:
        return BundleFacts.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {key}: {first['msg']}") from None


def _health_reference(path: Path, facts: BundleFacts) -> HealthReference | None:
    health = facts.health
    if health is None:
        return None
    file = path / HEALTH_NAME
    if not file.is_file():
        raise BundleError(
            f"bundle {path} is incomplete: {HEALTH_NAME} is missing; copy it or run "
            "`eloss calibrate`"
        )
    if health.sha256 != sha256_of(file):
        raise BundleError(
            f"bundle {path} is altered: {HEALTH_NAME} does not match {YAML_NAME}'s checksum; "
            "copy it or run `eloss calibrate` again"
        )
    return read_health(
        file,
        facts.layer_names,
        facts.layer_stages,
        health.threshold,
        health.eloss_normal,
        health.num_frames,
        health.source,
    )
