# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opening the data of a run: checked, compared with the validation split, cached."""

from __future__ import annotations

from pathlib import Path

import pytest
from street_factory import write_kitti_root
from training_factory import settings

from eloss_perception.errors import ConfigError, DataError
from eloss_perception.training.data import loading
from eloss_perception.training.data.frames import SimulatedFrames, StoredFrames
from eloss_perception.training.data.samples import AugmentationConfig
from eloss_perception.training.settings import ValidationConfig

PASTING = AugmentationConfig(sampled_objects=(5, 3, 3))


class TestOpening:
    def open(self, tmp_path: Path, **changes: object) -> loading.TrainingData:
        return loading.open_data(settings(tmp_path, **changes))

    def test_simulation_is_endless_or_kept(self, tmp_path: Path) -> None:
        assert isinstance(self.open(tmp_path).frames, SimulatedFrames)
        assert isinstance(self.open(tmp_path, num_scans=2).frames, StoredFrames)
        with pytest.raises(ConfigError, match="finite number of scans"):
            self.open(tmp_path, augmentation=PASTING)
        with pytest.raises(DataError, match=r"GB are missing"):
            self.open(tmp_path, num_scans=10**9)

    def test_objects_come_from_simulated_scans_too(self, tmp_path: Path) -> None:
        data = self.open(tmp_path, num_scans=2, augmentation=PASTING)
        assert data.objects is not None and len(data.objects) > 4

    def test_a_split_is_checked_once_until_it_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        checked: list[str] = []
        real = loading.check_split

        def check(dataset, **options):
            checked.append(dataset.split)
            return real(dataset, **options)

        monkeypatch.setattr(loading, "check_split", check)
        for _ in range(2):
            data = self.open(tmp_path, data=root, augmentation=PASTING)
            assert data.objects is not None and len(data.objects) == 12
        assert checked == ["train"]
        (root / "training/velodyne/000002.bin").write_bytes(b"")
        for _ in range(2):
            with pytest.raises(DataError, match=r"000002\.bin: the scan is empty"):
                self.open(tmp_path, data=root)
        (root / "training/velodyne/000002.bin").unlink()
        with pytest.raises(DataError, match=r"bad files:\n.*000002\.bin: cannot read"):
            self.open(tmp_path, data=root)

    def test_validation_frames_are_refused(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        (root / "ImageSets/val.txt").write_text("000002\n")
        with pytest.raises(DataError, match="1 of the 3 frames of split 'train'"):
            self.open(tmp_path, data=root, validation=ValidationConfig(data=root))
        with pytest.raises(DataError, match=r"val2\.txt: cannot read the split"):
            self.open(tmp_path, data=root, validation=ValidationConfig(data=root, split="val2"))
        self.open(tmp_path, data=root, validation=None)

    def test_reduced_scans_have_no_full_turn(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        (root / "training/velodyne").rename(root / "training/velodyne_reduced")
        self.open(tmp_path, data=root)
        with pytest.raises(DataError, match="camera view only"):
            self.open(tmp_path, data=root, full_turn=True)

    def test_more_classes_wanted_than_there_are(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        with pytest.raises(ConfigError, match="3 numbers for the 2 classes Car, Van"):
            self.open(
                tmp_path,
                data=root,
                augmentation=PASTING,
                class_names=("Car", "Van"),
                network={"num_classes": 2},
            )
