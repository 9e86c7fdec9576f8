# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a tiny network: it learns, repeats itself, and stops when something is wrong."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from street_factory import Streets, write_kitti_root
from training_factory import STILL, CarFrames, EmptyFrames, settings

from eloss_perception import interrupts
from eloss_perception.detection.pillars import pillarize
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.network.network import PillarNetwork
from eloss_perception.runtime.detector import DetectionThresholds
from eloss_perception.training import trainer
from eloss_perception.training.checkpoints import load_checkpoint, load_network
from eloss_perception.training.data import frames, loading
from eloss_perception.training.data.frames import StoredFrames
from eloss_perception.training.data.loading import TrainingData
from eloss_perception.training.metrics import read_metrics
from eloss_perception.training.optimization import (
    choose_device,
    choose_precision,
    make_optimizer,
    update_average,
)
from eloss_perception.training.settings import ValidationConfig
from eloss_perception.training.validation import network_detector


@pytest.fixture(autouse=True)
def cheap_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "open_data", lambda settings: TrainingData(CarFrames(), None))


def rows(run_dir: Path, key: str) -> list[dict]:
    return [row for row in read_metrics(run_dir / "metrics.jsonl") if key in row]


def losses(run_dir: Path) -> list[float]:
    return [row["loss"] for row in rows(run_dir, "loss")]


def test_a_network_learns_a_scene_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        loading, "open_data", lambda settings: TrainingData(CarFrames(still=True), None)
    )
    run = settings(tmp_path, steps=150, learning_rate=1e-2, augmentation=STILL, ema_decay=0.9)
    network, saved = load_network(trainer.train(run))
    detector = network_detector(
        network, saved.grid.build(), saved.class_names, DetectionThresholds(score=0.4)
    )
    expected = CarFrames(still=True).frame(0)
    found = detector.detect(expected.points).boxes
    assert len(found) == 1 and found.labels[0] == 0
    np.testing.assert_allclose(found.boxes[0], expected.boxes[0], atol=0.15)


def test_a_seed_gives_the_same_hundred_losses_and_another_seed_others(tmp_path: Path) -> None:
    def run(name: str, seed: int, steps: int) -> list[float]:
        run = settings(
            tmp_path,
            name=name,
            seed=seed,
            steps=steps,
            batch_size=1,
            log_every=1,
            precision="bfloat16",
            deterministic=True,
        )
        trainer.train(run)
        return losses(run.run_dir)

    first = run("first", 0, 100)
    assert len(first) == 100
    assert run("second", 0, 100) == first
    assert run("other", 1, 1)[0] != first[0]


def test_metrics_hold_losses_rates_and_the_profile_of_every_layer(tmp_path: Path) -> None:
    run = settings(tmp_path, steps=7, log_every=2, profile_every=3)
    trainer.train(run)
    means = rows(run.run_dir, "loss")
    assert [row["step"] for row in means] == [2, 4, 6, 7]
    for row in means:
        terms = row["heatmap"] + row["box"] + row["steadiness"] + row["direction"]
        assert row["loss"] == pytest.approx(terms)
        assert row["gradient_norm"] > 0 and row["samples_per_second"] > 0
        assert 0 <= row["waiting"] <= 1
    assert means[0]["learning_rate"] < run.learning_rate
    profiles = rows(run.run_dir, "layer_entropy")
    assert [row["step"] for row in profiles] == [0, 3, 6]
    for row in profiles:
        assert list(row["layer_entropy"])[:2] == ["stage1.conv1", "stage1.conv2"]
        assert len(row["layer_entropy"]) == 6
        assert all(0 < value < 1 for value in row["layer_entropy"].values())
    assert "loss" in read_metrics(run.run_dir / "metrics.jsonl")[-1]


def test_tensorboard_files_appear_where_the_package_does(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = settings(tmp_path, steps=2, tensorboard=True, log_every=1)
    trainer.train(run)
    assert list((run.run_dir / "tensorboard").glob("events.*"))


def test_entropy_loss_can_be_switched_off(tmp_path: Path) -> None:
    run = settings(tmp_path, steps=1, entropy_loss={"variant": "off"})
    trainer.train(run)
    assert not {"steadiness", "direction"} & set(rows(run.run_dir, "loss")[0])


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer.detection_losses
    calls = []

    def broken(*arguments: object) -> dict:
        calls.append(1)
        return {
            name: v * (float("nan") if len(calls) == 3 else 1)
            for name, v in real(*arguments).items()
        }

    monkeypatch.setattr(trainer, "detection_losses", broken)
    run = settings(tmp_path, checkpoint_every=1)
    with pytest.raises(DataError, match=r"loss nan .*step 2: .*bad_batch_0"):
        trainer.train(run)
    batches = torch.load(run.run_dir / "bad_batch_0.pt", weights_only=True)
    assert batches[0]["points"].shape[2] == 4
    saved = load_checkpoint(run.run_dir / "checkpoint.pt")
    assert saved["step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["network"].values())


def test_scans_without_objects_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "open_data", lambda settings: TrainingData(EmptyFrames(), None))
    monkeypatch.setattr(trainer, "_STEPS_TO_SEE_AN_OBJECT", 3)
    with pytest.raises(DataError, match=r"no labelled object in 3 steps.*class_names"):
        trainer.train(settings(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = trainer.update_average

    def interrupted(*arguments: object) -> None:
        real(*arguments)
        if arguments[3] == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(trainer, "update_average", interrupted)
    run = settings(tmp_path)
    before = signal.getsignal(number)
    # The handler notes the signal; the step after it is the one that ends with a checkpoint.
    with pytest.raises(KeyboardInterrupt, match=r"after step 4 of 6; the same command continues"):
        trainer.train(run)
    assert signal.getsignal(number) is before
    assert load_checkpoint(run.run_dir / "checkpoint.pt")["step"] == 4
    monkeypatch.setattr(trainer, "update_average", real)
    assert load_checkpoint(trainer.train(run))["step"] == 6


def test_a_step_in_parts_is_the_mean_of_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part has its own batch norm: two equal parts are what one of them is alone."""
    still = TrainingData(CarFrames(still=True), None)
    monkeypatch.setattr(loading, "open_data", lambda settings: still)
    losses = {}
    for name, batch_size, parts in (("whole", 2, 1), ("parts", 4, 2)):
        run = settings(
            tmp_path,
            name=name,
            batch_size=batch_size,
            accumulate=parts,
            steps=1,
            augmentation=STILL,
        )
        trainer.train(run)
        losses[name] = rows(run.run_dir, "loss")[0]
    for name in ("heatmap", "box", "steadiness", "gradient_norm"):
        assert losses["parts"][name] == pytest.approx(losses["whole"][name], rel=1e-4)
    with pytest.raises(ConfigError, match=r"batch_size = 4 .* accumulate \(3\)"):
        trainer.train(settings(tmp_path, name="three", batch_size=4, accumulate=3))


def test_validation_scores_the_averaged_network(tmp_path: Path) -> None:
    validation = ValidationConfig(every=2, num_frames=2)
    run = settings(tmp_path, steps=3, validation=validation)
    trainer.train(run)
    found = rows(run.run_dir, "validation")
    assert [row["step"] for row in found] == [2, 3]
    assert {"Car_bev_0.7", "Car_3d_0.5", "Pedestrian_3d_0.5"} <= set(found[0]["validation"])


def test_a_validation_that_fails_or_is_interrupted_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer.Validation.score

    def failing(validation: object, averaged: object) -> dict:
        raise DataError("the disk is gone")

    monkeypatch.setattr(trainer.Validation, "score", failing)
    run = settings(tmp_path, steps=3, validation=ValidationConfig(every=2, num_frames=1))
    with pytest.raises(DataError, match="the disk is gone"):
        trainer.train(run)
    assert load_checkpoint(run.run_dir / "checkpoint.pt")["step"] == 2

    def interrupted(validation: object, averaged: object) -> dict:
        os.kill(os.getpid(), signal.SIGTERM)
        interrupts.check_interrupt()
        raise AssertionError("the flag was not seen")

    # The last step's: the run is complete but for it, and the same command makes up for it.
    monkeypatch.setattr(trainer.Validation, "score", interrupted)
    assert load_checkpoint(trainer.train(run))["step"] == 3
    assert not rows(run.run_dir, "validation")
    monkeypatch.setattr(trainer.Validation, "score", real)
    for _ in range(2):
        trainer.train(run)
        assert [row["step"] for row in rows(run.run_dir, "validation")] == [3]


def test_a_signal_during_a_validation_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(validation: object, averaged: object) -> dict:
        os.kill(os.getpid(), signal.SIGINT)
        interrupts.check_interrupt()
        raise AssertionError("the flag was not seen")

    monkeypatch.setattr(trainer.Validation, "score", interrupted)
    run = settings(tmp_path, validation=ValidationConfig(every=2, num_frames=1))
    with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
        trainer.train(run)
    assert load_checkpoint(run.run_dir / "checkpoint.pt")["step"] == 3


@pytest.mark.parametrize(
    ("validation", "names", "message"),
    [
        ({"data": "nowhere"}, None, "nowhere: no folder training/"),
        ({"data": "kitti", "split": "test"}, None, r"test\.txt: cannot read the split"),
        ({"data": "kitti", "split": "bad"}, None, r"000002\.bin: the scan is empty"),
        ({"data": "kitti", "split": "train"}, ("Bus",), "KITTI evaluates no class Bus"),
        ({"data": "kitti", "split": "vans"}, None, "no labelled object of the classes Car"),
        ({"lidar": "nonsense"}, None, "nonsense"),
    ],
)
def test_what_cannot_be_validated_on_is_found_before_the_first_step(
    tmp_path: Path, validation: dict, names: tuple[str, ...] | None, message: str
) -> None:
    root = write_kitti_root(tmp_path / "kitti", 4)
    (root / "training/velodyne/000002.bin").write_bytes(b"")
    (root / "training/label_2/000003.txt").write_text("")
    for split, content in {"train": "000000\n", "bad": "000002\n", "vans": "000003\n"}.items():
        (root / f"ImageSets/{split}.txt").write_text(content)
    if "data" in validation:
        validation["data"] = tmp_path / validation["data"]
    changes: dict = {"validation": ValidationConfig(num_frames=2, **validation)}
    if names is not None:
        network = settings(tmp_path).network.model_copy(update={"num_classes": len(names)})
        changes |= {"class_names": names, "network": network}
    with pytest.raises((DataError, ConfigError), match=message):
        trainer.train(settings(tmp_path, **changes))
    assert not (tmp_path / "light/checkpoint.pt").exists()


def test_a_validation_scores_the_classes_that_kitti_knows(tmp_path: Path) -> None:
    root = write_kitti_root(tmp_path / "kitti", 1, "val")
    validation = ValidationConfig(data=root, every=1, num_frames=2)
    run = settings(
        tmp_path,
        steps=1,
        validation=validation,
        class_names=("van", "car"),
        network=settings(tmp_path).network.model_copy(update={"num_classes": 2}),
    )
    trainer.train(run)
    assert all(name.startswith("car_") for name in rows(run.run_dir, "validation")[0]["validation"])


def test_a_full_disk_is_one_line_and_the_checkpoint_before_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = settings(tmp_path, steps=4, checkpoint_every=2)
    real = torch.save

    def full(state: dict, file: object) -> None:
        if state["step"] == 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DataError, match=r"No space left.*the previous one is kept") as caught:
        trainer.train(run)
    assert "\n" not in str(caught.value)
    assert load_checkpoint(run.run_dir / "checkpoint.pt")["step"] == 2
    assert not list(run.run_dir.glob("*partial*"))
    monkeypatch.setattr(torch, "save", real)
    assert load_checkpoint(trainer.train(run))["step"] == 4


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        trainer.train(settings(tmp_path / "file"))


def test_fine_tuning_starts_from_averaged_weights_and_a_fresh_optimizer(tmp_path: Path) -> None:
    first = trainer.train(settings(tmp_path, name="first"))
    run = settings(tmp_path, name="second", initial_weights=first, learning_rate=1e-12, steps=1)
    before, after = load_checkpoint(first), load_checkpoint(trainer.train(run))
    assert after["step"] == 1
    name = "stages.0.0.0.weight"
    torch.testing.assert_close(after["averaged"][name], before["averaged"][name])
    assert not torch.equal(before["network"][name], before["averaged"][name])
    assert [(r["name"], r["step"]) for r in after["earlier_runs"]] == [("first", before["step"])]
    other = settings(
        tmp_path,
        name="third",
        initial_weights=first,
        network=run.network.model_copy(update={"head_channels": 24}),
    )
    with pytest.raises(DataError, match=r"checkpoint\.pt fit another network"):
        trainer.train(other)


def test_weight_decay_spares_norms_and_biases() -> None:
    network = PillarNetwork(settings(Path()).network, 64, 64)
    decayed, spared = make_optimizer(network, 1e-3, 0.01, torch.device("cpu")).param_groups
    assert decayed["weight_decay"] == 0.01 and spared["weight_decay"] == 0
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    norms = {id(p) for m in network.modules() if "Norm" in type(m).__name__ for p in m.parameters()}
    assert norms <= {id(parameter) for parameter in spared["params"]}


def test_the_average_follows_at_first_and_settles_later() -> None:
    averaged, network = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    torch.nn.init.constant_(network.weight, 3.0)
    update_average(averaged, network, 0.99, 0)
    torch.testing.assert_close(averaged.weight, network.weight)
    torch.nn.init.constant_(network.weight, 4.0)
    network.num_batches_tracked += 7
    update_average(averaged, network, 0.99, 10_000)
    torch.testing.assert_close(averaged.weight.detach(), torch.full((2,), 3.01))
    assert int(averaged.num_batches_tracked) == 7


def test_a_detector_of_a_network_agrees_with_its_outputs() -> None:
    run = settings(Path())
    grid = run.grid.build()
    network = PillarNetwork(run.network, grid.num_y, grid.num_x)
    detector = network_detector(network, grid, run.class_names, DetectionThresholds(score=0.0))
    points = CarFrames().frame(0).points
    detections = detector.detect(points)
    pillars = pillarize(points, grid)
    with torch.inference_mode():
        outputs = network(
            torch.from_numpy(pillars.points),
            torch.from_numpy(pillars.features),
            torch.from_numpy(pillars.cell_to_pillar)[None],
        )
    entropy = outputs.layer_entropy[0].numpy()
    np.testing.assert_array_equal(detections.readings[: len(entropy)], entropy)
    assert len(detections.boxes) > 0


@pytest.mark.parametrize("name", ["cuda:99", "quantum", "mps"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        choose_device(name)


def test_half_precision_needs_a_gpu() -> None:
    assert choose_precision("auto", torch.device("cpu")) is torch.bfloat16
    with pytest.raises(ConfigError, match="float16"):
        choose_precision("float16", torch.device("cpu"))


def batches_of(run: object) -> list[torch.Tensor]:
    return [
        tensor
        for batch in loading.load_batches(run)
        for points, features, cells, targets in batch
        for tensor in (points, features, cells, *targets.values())
    ]


def test_batches_go_through_pipes_where_shared_memory_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = settings(tmp_path, steps=3, num_workers=1)
    expected = batches_of(run)
    assert not caplog.records
    for free in (64_000, None):  # as much as a small container has; no such folder

        def usage(path: str, free: int | None = free) -> SimpleNamespace:
            assert path == "/dev/shm"
            if free is None:
                raise FileNotFoundError(path)
            return SimpleNamespace(free=free)

        monkeypatch.setattr(loading.shutil, "disk_usage", usage)
        caplog.clear()
        found = batches_of(run)
        assert "they go through pipes" in caplog.text
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_an_error_in_a_worker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(CarFrames):
        def frame(self, index: int) -> object:
            raise DataError(f"scan {index}.bin: is gone") if index == 0 else DataError("other")

    monkeypatch.setattr(loading, "open_data", lambda settings: TrainingData(Broken(), None))
    with pytest.raises(DataError) as caught:
        trainer.train(settings(tmp_path, num_workers=1))
    assert str(caught.value) == "scan 0.bin: is gone"
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadly(CarFrames):
        def frame(self, index: int) -> object:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(loading, "open_data", lambda settings: TrainingData(Deadly(), None))
    with pytest.raises(DataError, match=r"workers .* failed: .*lower num_workers") as caught:
        trainer.train(settings(tmp_path, num_workers=1))
    assert "\n" not in str(caught.value)


def test_a_scan_that_cannot_be_kept_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = Streets()
    stored = StoredFrames(source, tmp_path)

    def full(path: Path, content: bytes) -> None:
        raise DataError(f"{path}: cannot write: No space left on device")

    monkeypatch.setattr(frames, "write_file", full)
    for _ in range(2):
        np.testing.assert_array_equal(stored.frame(1).points, source.frame(1).points)
    assert caplog.text.count("No space left") == 1
