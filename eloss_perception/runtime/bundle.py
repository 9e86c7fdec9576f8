# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle: the folder that a network travels in.

It holds ``model.onnx``, ``model.yaml`` and, once it is calibrated, ``health.npz``.

The YAML (``bundle_facts.py``) holds facts about the network; nothing that may be tuned on a vehicle
is in it. Its first line is the checksum of the rest, which has those of the other two files. They
protect against bit rot, interrupted updates and edits by hand, not against somebody who may write
to the folder and so can write checksums too. Each file is read once: what was hashed is what is
used.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from eloss_perception.detection.decode import num_channels
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import NUM_PILLAR_FEATURES, NUM_POINT_FEATURES
from eloss_perception.errors import BundleError, ConfigError
from eloss_perception.files import new_file, write_file
from eloss_perception.health.reference import HealthReference
from eloss_perception.health.reference_file import HEALTH_NAME, health_bytes, read_health
from eloss_perception.runtime.bundle_facts import (
    CHECKSUM_LINE,
    FORMAT_VERSION,
    MAX_YAML_BYTES,
    YAML_NAME,
    BundleFacts,
    GridFacts,
    HealthFacts,
    QuantizationFacts,
    facts_bytes,
    parse_facts,
    read_facts,
    read_part,
    sealed,
    write_facts,
)
from eloss_perception.runtime.onnx_file import OnnxFile

_read_facts = read_facts  # its name in 0.4, which scripts that edit bundles import

__all__ = [
    "FILE_NAMES",
    "FORMAT_VERSION",
    "HEALTH_NAME",
    "ONNX_NAME",
    "YAML_NAME",
    "Bundle",
    "BundleFacts",
    "GridFacts",
    "HealthFacts",
    "QuantizationFacts",
    "default_bundle_path",
    "sha256_of",
    "write_checksum",
    "write_facts",
    "write_reference",
]

ONNX_NAME = "model.onnx"
FILE_NAMES = (ONNX_NAME, YAML_NAME, HEALTH_NAME)

_MAX_HEALTH_BYTES = 16_000_000  # ours have 160 to 190 kB


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
        """Shapes of the network's outputs for one frame, by their names in the file."""
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
        """As :meth:`load`, without its health reference: to calibrate it."""
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
        return cls._of(path, read_facts(path / YAML_NAME))

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
        """Compares the network with ``model.yaml``, as far as its file states shapes.

        Raises:
            BundleError: If they do not fit.
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
                continue  # checked on the first frame
            if len(its) != len(shape) or any(
                size not in (other, None) for size, other in zip(its, shape, strict=True) if other
            ):
                raise BundleError(
                    f"{self.path}: {name} of the network has the shape {_sizes(its)}, by "
                    f"{YAML_NAME} it is {_sizes(shape)}: they are not of one bundle; copy or "
                    "export it again"
                )

    def require_health(self) -> HealthReference:
        """Returns the health reference.

        Raises:
            BundleError: If the bundle has none.
        """
        if self.health is None:
            raise BundleError(
                f"bundle {self.path} has no health reference; run `eloss calibrate` on it first"
            )
        return self.health


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
    facts = read_facts(path / YAML_NAME)
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
        for file, its in ((facts_file, facts_bytes(facts)), (health_file, content)):
            file.write(its)
            # A full disk is reported here, before either file has its name.
            file.flush()
            os.fsync(file.fileno())


def write_checksum(path: Path) -> None:
    """Writes the checksum of a bundle's ``model.yaml`` anew, and changes nothing else.

    Raises:
        BundleError: If the bundle would not load with it.
    """
    file = path / YAML_NAME
    content = read_part(file, MAX_YAML_BYTES)
    line = CHECKSUM_LINE.match(content)
    content = content[line.end() if line else 0 :]
    facts = parse_facts(file, content)
    Bundle._of(path, facts)
    _health_reference(path, facts)
    write_file(file, sealed(content))


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def default_bundle_path() -> Path:
    """Returns the shipped light bundle: in the source tree, or where colcon or pip installed it.

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
    content = read_part(file, _MAX_HEALTH_BYTES)
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
