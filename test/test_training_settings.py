# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training settings: preset below YAML below overrides, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from eloss_perception.detection.heads import AnchorHead
from eloss_perception.errors import ConfigError
from eloss_perception.network.network import POINTPILLARS
from eloss_perception.training.settings import (
    PRESETS,
    TrainingSettings,
    load_settings,
    parse_settings,
)


def test_a_file_lies_over_a_preset_and_overrides_over_both(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("steps: 20\nseed: 3\ngrid: {max_pillars: 9000}\n")
    loaded = load_settings(file, ["seed=4", "grid.voxel_size=[0.64, 0.64]"], "pointpillars")
    assert (loaded.name, loaded.steps, loaded.seed, loaded.reuse) == ("pointpillars", 20, 4, 1)
    assert loaded.grid.max_pillars == 9000
    assert (
        loaded.grid.max_points_per_pillar
        == PRESETS["pointpillars"]["grid"]["max_points_per_pillar"]
    )
    assert loaded.grid.voxel_size == (0.64, 0.64)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_survives_a_checkpoint(name: str) -> None:
    loaded = load_settings(None, [], name)
    assert parse_settings(loaded.model_dump_json()) == loaded


def test_the_light_preset_is_the_defaults_and_pointpillars_the_paper() -> None:
    assert load_settings(None, [], "light") == TrainingSettings()
    paper = load_settings(None, [], "pointpillars")
    assert paper.network == POINTPILLARS and isinstance(paper.network.head, AnchorHead)
    grid = paper.grid.build()
    assert (grid.num_y, grid.num_x) == (496, 432)


def test_a_validation_split_of_the_same_root_is_compared(tmp_path: Path) -> None:
    def split(**validation: object) -> str | None:
        return TrainingSettings.model_validate(
            {"data": tmp_path, "validation": validation}
        ).validation_split

    assert split(data=tmp_path / ".", split="val") == "val"
    assert split(data=tmp_path / "other") is None
    assert split() is None
    assert TrainingSettings(data=tmp_path).validation_split is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("colour=red", r"colour = 'red'"),
        ("steps=0", r"steps = 0.*greater than or equal to 1"),
        ("steps", "key=value"),
        ("steps=[", "steps = '\\['"),
        ("network.widths=[1]", r"network\.widths"),
        ("network.num_classes=2", r"network\.num_classes is 2.*3 class_names"),
        ("precision=int8", r"precision = 'int8'"),
    ],
)
def test_impossible_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(None, [override])


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'heavy'; there are light, light_kitti, pointpillars"):
        load_settings(None, [], "heavy")
