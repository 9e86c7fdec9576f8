# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that defines a training run; the only home of its defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eloss_perception.core.classes import CLASS_NAMES
from eloss_perception.core.grid import PillarGrid
from eloss_perception.errors import ConfigError
from eloss_perception.model.network import NetworkConfig
from eloss_perception.training.augmentation import AugmentationConfig


class GridConfig(BaseModel):
    """The pillar grid of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point_cloud_range: tuple[float, float, float, float, float, float] = (
        0.0, -39.68, -3.0, 69.12, 39.68, 1.0,
    )  # fmt: skip
    voxel_size: tuple[float, float] = (0.32, 0.32)
    max_pillars: int = Field(16000, ge=1)
    max_points_per_pillar: int = Field(16, ge=1)

    def build(self, half_width: float | None = None) -> PillarGrid:
        """The grid itself, or its strip ``|y| < half_width``."""
        x_min, y_min, z_min, x_max, y_max, z_max = self.point_cloud_range
        if half_width is not None:
            y_min, y_max = max(y_min, -half_width), min(y_max, half_width)
        return PillarGrid(
            (x_min, y_min, z_min, x_max, y_max, z_max),
            self.voxel_size,
            self.max_pillars,
            self.max_points_per_pillar,
        )


class EntropyLossConfig(BaseModel):
    """Weights of Entropy Loss, ramped in over the first ``ramp`` of the run; 0 is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steadiness: float = Field(2.0, ge=0)
    direction: float = Field(1.0, ge=0)
    ramp: float = Field(0.2, ge=0, le=1)


class TrainingSettings(BaseModel):
    """A training run. YAML files hold any part of it; what they leave out keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("light", description="the run's folder below `output`")
    output: Path = Path("runs")
    data: Path | None = Field(None, description="KITTI root; none trains on the simulator")
    split: str = "train"
    lidar: str = Field("hdl64e", description="simulated sensor")
    steps: int = Field(10_000, ge=1)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(10.0, gt=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    reuse: int = Field(3, ge=1, description="variations drawn of each scan")
    num_workers: int = Field(1, ge=0)
    num_threads: int = Field(2, ge=1)
    seed: int = Field(0, ge=0)
    bfloat16: bool = True
    checkpoint_every: int = Field(500, ge=1, description="steps")
    class_names: tuple[str, ...] = CLASS_NAMES
    grid: GridConfig = GridConfig()
    network: NetworkConfig = NetworkConfig()
    entropy_loss: EntropyLossConfig = EntropyLossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training_half_width: float | None = Field(
        20.48,
        gt=0,
        description="train on |y| below this [m] only: most objects at half the cost; scans are "
        "rotated, so the strip sees every direction. None trains on the whole grid",
    )

    @property
    def run_dir(self) -> Path:
        """Folder of the run's checkpoint and metrics."""
        return self.output / self.name


def load_settings(path: Path | None, overrides: list[str]) -> TrainingSettings:
    """Reads settings from YAML and ``key.sub=value`` overrides (values are parsed as YAML).

    Raises:
        ConfigError: Naming the key, the value and what is valid.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read training settings {path}: {error}") from None
        if not isinstance(loaded, dict):
            raise ConfigError(f"{path}: expected a mapping of settings, got {loaded!r}")
        values = loaded
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"setting {override!r} is not of the form key=value")
        *parents, leaf = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = yaml.safe_load(text)
    return parse_settings(json.dumps(values, default=str))


def parse_settings(text: str) -> TrainingSettings:
    """Reads settings from JSON, as checkpoints carry them.

    Raises:
        ConfigError: Naming the key, the value and what is valid.
    """
    try:
        return TrainingSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"training setting {key} = {first['input']!r}: {first['msg']}") from None
