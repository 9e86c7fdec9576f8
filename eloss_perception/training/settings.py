# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that defines a training run; the only home of its defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eloss_perception.detection.boxes import CLASS_NAMES
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.errors import ConfigError
from eloss_perception.network.entropy_loss import EntropyLossConfig
from eloss_perception.network.network import POINTPILLARS, NetworkConfig
from eloss_perception.training.data.samples import AugmentationConfig

# Settings that belong together, by name: what they leave out keeps its default.
PRESETS: dict[str, dict[str, Any]] = {
    # The defaults: two CPU cores, under an hour, simulated scans.
    "light": {},
    # The same network on KITTI, filled up with objects cut from its other scans.
    "light_kitti": {
        "data": "data/kitti",
        "reuse": 1,
        "augmentation": {"camera_crop_probability": 0.0, "sampled_objects": (15, 10, 10)},
    },
    # PointPillars on KITTI for a GPU. Network and augmentation as published (Lang et al., CVPR
    # 2019, sections 2, 3.4 and 4.2; rotation and scaling from SECOND, section 3.2); 80 epochs of
    # 3,712 frames, 16 at a time, under one cycle in place of the paper's steps.
    "pointpillars": {
        "data": "data/kitti",
        "reuse": 1,
        "steps": 18_560,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "num_workers": 12,
        "training_half_width": None,
        "grid": {"voxel_size": (0.16, 0.16), "max_points_per_pillar": 32},
        "network": POINTPILLARS.model_dump(),
        "augmentation": {
            "rotation_deg": 45.0,
            "scaling": 0.05,
            "translation": 0.2,
            "height_jitter": 0.2,
            "intensity_gain": 0.0,
            "dropout_probability": 0.0,
            "camera_crop_probability": 0.0,
            "sampled_objects": (15, 0, 8),
            "object_rotation_deg": 9.0,
            "object_translation": (0.25, 0.25, 0.25),
        },
    },
}


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


class ValidationConfig(BaseModel):
    """When and on what a run is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(2000, ge=1, description="steps; also at the end of the run")
    data: Path | None = Field(None, description="KITTI root; none is simulated scans")
    split: str = "val"
    num_frames: int = Field(100, ge=1, description="the first of the split, or simulated ones")
    seed: int = Field(0, ge=0, description="of the simulated scans, never those of a training run")
    lidar: str = "hdl64e"


class TrainingSettings(BaseModel):
    """A training run. YAML files hold any part of it; what they leave out keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("light", description="the run's folder below `output`")
    output: Path = Path("runs")
    data: Path | None = Field(None, description="KITTI root; none trains on the simulator")
    split: str = "train"
    lidar: str = Field("hdl64e", description="simulated sensor")
    num_scans: int | None = Field(
        None, ge=1, description="simulated scans, kept in the cache; none simulates without end"
    )
    full_turn: bool = Field(False, description="train on the whole sweep, not the camera's view")
    reuse: int = Field(3, ge=1, description="variations drawn of each scan")
    steps: int = Field(10_000, ge=1)
    batch_size: int = Field(4, ge=1, description="samples of a step, over all processes")
    accumulate: int = Field(
        1, ge=1, description="parts that a process's share of a step is computed in, to save memory"
    )
    learning_rate: float = Field(2e-3, gt=0, description="the peak of one cycle")
    warm_up: float = Field(0.3, gt=0, lt=1, description="part of the run before that peak")
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(10.0, gt=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    initial_weights: Path | None = Field(
        None, description="checkpoint whose averaged weights a new run starts from"
    )
    seed: int = Field(0, ge=0)
    deterministic: bool = Field(
        False, description="refuse algorithms that differ between runs (matters on a GPU)"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the convolutions; losses and entropies are always float32"
    )
    compile: bool = Field(False, description="torch.compile the network")
    num_workers: int = Field(1, ge=0, description="of each process, preparing samples")
    num_threads: int = Field(2, ge=1, description="of each process, on a CPU")
    checkpoint_every: int = Field(500, ge=1, description="steps")
    log_every: int = Field(100, ge=1, description="steps that a line of metrics is the mean of")
    profile_every: int = Field(500, ge=1, description="steps between entropy profiles")
    tensorboard: bool = Field(True, description="event files, where the package is installed")
    validation: ValidationConfig | None = Field(None, description="none evaluates nothing")
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

    @model_validator(mode="after")
    def _classes_agree(self) -> TrainingSettings:
        if len(self.class_names) != self.network.num_classes:
            raise ValueError(
                f"network.num_classes is {self.network.num_classes}, but there are "
                f"{len(self.class_names)} class_names"
            )
        return self

    @property
    def run_dir(self) -> Path:
        """Folder of the run's checkpoint and metrics."""
        return self.output / self.name

    @property
    def cache_dir(self) -> Path:
        """Folder of cropped and simulated scans and of objects to paste, shared by the runs."""
        return self.output / "cache"

    @property
    def validation_split(self) -> str | None:
        """Split that must share no frame with the training split; None where there is none."""
        if self.validation is None or self.data is None or self.validation.data is None:
            return None
        same_root = self.validation.data.resolve() == self.data.resolve()
        return self.validation.split if same_root else None


def load_settings(
    path: Path | None, overrides: list[str], preset: str | None = None
) -> TrainingSettings:
    """Reads settings: a preset, over it a YAML file, over both ``key.sub=value`` overrides.

    Args:
        path: YAML file with any part of the settings.
        overrides: Single settings, their values parsed as YAML.
        preset: Key of ``PRESETS``.

    Raises:
        ConfigError: Naming the key, the value and what is valid.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    values: dict[str, Any] = {} if preset is None else {"name": preset, **PRESETS[preset]}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read training settings {path}: {error}") from None
        if not isinstance(loaded, dict):
            raise ConfigError(f"{path}: expected a mapping of settings, got {loaded!r}")
        values = _merged(values, loaded)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"setting {override!r} is not of the form key=value")
        try:
            nested = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"setting {key} = {text!r} is no YAML value") from None
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = _merged(values, nested)
    return parse_settings(json.dumps(values, default=str))


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with those of ``above`` laid over those of ``below``, key by key."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        merged[key] = value
    return merged


def parse_settings(text: str) -> TrainingSettings:
    """Reads settings from JSON, as checkpoints carry them.

    Raises:
        ConfigError: Naming the key, the value and what is valid.
    """
    try:
        return TrainingSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise ConfigError(f"training settings: {first['msg']}") from None
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"training setting {key} = {first['input']!r}: {first['msg']}") from None
