# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Samples are a function of seed and index alone; scans on disk are made once and kept true."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from street_factory import Streets, make_street, write_kitti_root
from torch.utils.data import DataLoader

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import CenterHead
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.training.data import frames
from eloss_perception.training.data.frames import Frame, KittiSplit, SimulatedFrames, StoredFrames
from eloss_perception.training.data.object_database import build_object_database
from eloss_perception.training.data.samples import AugmentationConfig, TrainingSamples, collate

GRID = PillarGrid((0.0, -10.24, -3.0, 20.48, 10.24, 1.0), (0.32, 0.32), 4000, 8)
EVERYTHING = AugmentationConfig(
    sampled_objects=(5, 3, 3), object_rotation_deg=10, object_translation=(0.2, 0.2, 0.1)
)
PLAIN = AugmentationConfig()


def make_samples(source, length: int = 24, augmentation=PLAIN, **options) -> TrainingSamples:
    options = {"reuse": 2, "seed": 5, "block": 4} | options
    return TrainingSamples(source, GRID, 3, CenterHead(), augmentation, length=length, **options)


def load(samples: TrainingSamples, num_workers: int) -> list[torch.Tensor]:
    """Everything in the batches of a run, in order."""
    loader = DataLoader(samples, batch_size=4, num_workers=num_workers, collate_fn=collate)
    return [
        tensor
        for points, features, cells, targets in loader
        for tensor in (points, features, cells, *targets.values())
    ]


def assert_equal(a: Frame, b: Frame) -> None:
    for name in ("points", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype


class TestSamples:
    def test_the_number_of_workers_changes_nothing(self, tmp_path: Path) -> None:
        objects = build_object_database(Streets(), tmp_path)
        source = StoredFrames(Streets(), tmp_path)
        runs = [
            load(make_samples(source, augmentation=EVERYTHING, objects=objects), num_workers)
            for num_workers in (0, 1, 2)
        ]
        for other in runs[1:]:
            assert len(other) == len(runs[0])
            for a, b in zip(runs[0], other, strict=True):
                assert torch.equal(a, b)

    def test_a_sample_does_not_depend_on_those_before(self) -> None:
        in_order, alone = make_samples(Streets(6)), make_samples(Streets(6))
        expected = [in_order.frame(index) for index in range(20)]
        for index in (19, 3, 11, 3):
            assert_equal(alone.frame(index), expected[index])
        other = make_samples(Streets(6), seed=6)
        assert not np.array_equal(other.frame(3).points, expected[3].points)

    def test_each_scan_is_made_once_a_block(self) -> None:
        source = Streets(100)
        samples = make_samples(source, reuse=3, block=8)
        for index in range(24):
            samples.frame(index)
        assert source.num_made == 8
        samples.frame(24)
        assert source.num_made == 9

    def test_a_block_of_the_right_size_keeps_scans_in_their_worker(self) -> None:
        batch_size, num_workers, block = 4, 3, 12
        for worker in range(num_workers):
            source = Streets(1000)
            samples = make_samples(source, reuse=4, block=block)
            for batch in range(worker, 4 * block // batch_size, num_workers):
                for place in range(batch_size):
                    samples.frame(batch * batch_size + place)
            assert source.num_made == block // num_workers

    def test_every_round_over_a_source_has_its_own_order(self) -> None:
        class Numbers(Streets):
            def frame(self, index: int) -> Frame:
                seen.append(index)
                return make_street()

        seen: list[int] = []
        samples = make_samples(Numbers(6), reuse=1, block=4)
        for index in range(18):
            samples.frame(index)
        rounds = [seen[0:6], seen[6:12], seen[12:18]]
        assert all(sorted(order) == list(range(6)) for order in rounds)
        assert rounds[0] != rounds[1] != rounds[2]

    def test_pasting_needs_objects(self) -> None:
        with pytest.raises(ConfigError, match="needs an object database"):
            make_samples(Streets(), augmentation=EVERYTHING)

    def test_collate_joins_pillars(self) -> None:
        samples = make_samples(Streets())
        items = [samples[index] for index in range(3)]
        batch = collate(items)
        cells = batch.cell_to_pillar.numpy()
        assert cells.dtype == np.int64
        assert cells.max() == len(batch.points)  # the empty cell
        for row, (pillars, targets) in enumerate(items):
            full = pillars.cell_to_pillar < len(pillars.points)
            np.testing.assert_array_equal(cells[row] < len(batch.points), full)
            np.testing.assert_array_equal(
                batch.points.numpy()[cells[row][full]],
                pillars.points[pillars.cell_to_pillar[full]],
            )
            for name, target in targets.items():
                np.testing.assert_array_equal(batch.targets[name][row].numpy(), target)


class TestStoredFrames:
    def test_what_is_written_reads_back(self, tmp_path: Path) -> None:
        source = Streets(3)
        stored = StoredFrames(source, tmp_path)
        for index in (0, 1, 2, 3, 0):
            assert_equal(stored.frame(index), make_street(index % 3))
        assert source.num_made == 3
        assert_equal(StoredFrames(Streets(3), tmp_path).frame(2), make_street(2))
        assert len(list(stored.folder.glob("*.frame"))) == 3

    def test_an_empty_frame(self, tmp_path: Path) -> None:
        class Nothing(Streets):
            def frame(self, index: int) -> Frame:
                return Frame(
                    np.zeros((0, 4), np.float32), np.zeros((0, 7), np.float32), np.zeros(0, int)
                )

        stored = StoredFrames(Nothing(1), tmp_path)
        for _ in range(2):
            frame = stored.frame(0)
            assert frame.points.shape == (0, 4) and frame.boxes.shape == (0, 7)

    @pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200])
    def test_a_damaged_file_is_made_again(self, tmp_path: Path, damage: bytes) -> None:
        stored = StoredFrames(Streets(1), tmp_path)
        stored.frame(0)
        (path,) = stored.folder.glob("*.frame")
        for content in (damage, path.read_bytes()[:-1]):
            path.write_bytes(content)
            assert_equal(stored.frame(0), make_street(0))

    def test_a_frame_whose_file_changes_is_made_again(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        stored = StoredFrames(KittiSplit(root, "train"), tmp_path / "cache")
        before = [stored.frame(index) for index in range(3)]
        assert len(before[1].labels) == 5
        labels = root / "training/label_2/000001.txt"
        labels.write_text("\n".join(labels.read_text().splitlines()[1:]) + "\n")
        assert len(stored.frame(1).labels) == 4
        for index in (0, 2):
            assert_equal(stored.frame(index), before[index])
        scan = root / "training/velodyne/000002.bin"
        status = scan.stat()
        scan.write_bytes(b"\0" * 8 + scan.read_bytes()[8:])
        os.utime(scan, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert not np.array_equal(stored.frame(2).points, before[2].points)
        scan.unlink()
        with pytest.raises(DataError, match=r"000002\.bin: cannot read"):
            stored.frame(2)

    def test_other_settings_have_other_folders(self, tmp_path: Path) -> None:
        root = write_kitti_root(tmp_path / "kitti")
        kinds = [
            KittiSplit(root, "train"),
            KittiSplit(root, "train", camera_view=False),
            KittiSplit(root, "train", class_names=("Pedestrian", "Car")),
            SimulatedFrames(0, num_scans=3),
            SimulatedFrames(1, num_scans=3),
            SimulatedFrames(0, "hdl32e", 3),
            SimulatedFrames(0, num_scans=3, full_turn=True),
        ]
        folders = {StoredFrames(source, tmp_path).folder for source in kinds}
        assert len(folders) == len(kinds)
        # More scans of the same simulation go beside those that are there.
        assert StoredFrames(SimulatedFrames(0, num_scans=9), tmp_path).folder in folders

    def test_another_simulator_has_another_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = StoredFrames(SimulatedFrames(0, num_scans=3), tmp_path).folder
        monkeypatch.setattr(frames, "SIMULATOR_VERSION", -1)
        assert StoredFrames(SimulatedFrames(0, num_scans=3), tmp_path).folder != before

    def test_simulated_scans_are_the_same_from_disk(self, tmp_path: Path) -> None:
        source = SimulatedFrames(3, num_scans=2)
        stored = StoredFrames(source, tmp_path)
        for index in (1, 1, 3):
            assert_equal(stored.frame(index), source.frame(1))
        assert_equal(source.frame(1), SimulatedFrames(3).frame(1))

    def test_an_endless_source_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="set num_scans"):
            StoredFrames(SimulatedFrames(0), tmp_path)

    def test_two_processes_write_the_same_frames(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            results = [pool.apply_async(_read_all, (tmp_path,)) for _ in range(2)]
            sums = [result.get(60) for result in results]
        assert sums[0] == sums[1]
        assert not list(tmp_path.rglob("*.part"))
        assert len(list(tmp_path.rglob("*.frame"))) == 20

    def test_real_frames_keep_their_points_through_the_cache(
        self, tmp_path: Path, kitti_object_root: Path
    ) -> None:
        source = KittiSplit(kitti_object_root, "train")
        stored = StoredFrames(source, tmp_path)
        for index in (0, 0, 7):
            assert_equal(stored.frame(index), source.frame(index))


def _read_all(cache: Path) -> float:
    stored = StoredFrames(Streets(20), cache)
    return sum(float(stored.frame(index).points.sum()) for index in range(60))
