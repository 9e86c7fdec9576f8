# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training on a tiny network: it learns, resumes exactly, exports and calibrates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch

from eloss_perception.core.health import make_readings
from eloss_perception.errors import BundleError, ConfigError, DataError
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import DetectionThresholds, Detector
from eloss_perception.training import export, trainer
from eloss_perception.training.calibration import calibrate_bundle, simulated_scans
from eloss_perception.training.frames import Frame
from eloss_perception.training.settings import TrainingSettings, load_settings

TINY = {
    "grid": {
        "point_cloud_range": (0.0, -10.24, -3.0, 20.48, 10.24, 1.0),
        "voxel_size": (0.32, 0.32),
        "max_pillars": 4000,
        "max_points_per_pillar": 8,
    },
    "network": {
        "encoder_channels": 8,
        "stage_channels": (8, 16),
        "stage_layers": (3, 3),
        "neck_channels": 8,
        "head_channels": 16,
    },
    "training_half_width": None,
    "batch_size": 2,
    "num_workers": 0,
    "num_threads": 1,
    "bfloat16": False,
}


def settings(folder: Path, **changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate(TINY | {"output": folder, "steps": 6} | changes)


def weights(checkpoint: Path) -> dict:
    return trainer.load_checkpoint(checkpoint)["averaged"]


class OneFrame:
    """A source that always gives the same easy scan."""

    def frame(self, index: int) -> Frame:
        rng = np.random.default_rng(0)
        ground = rng.uniform((0, -10, -1.75, 0.1), (20, 10, -1.7, 0.3), (3000, 4))
        car = np.array([12.0, 2.0, -1.0, 4.0, 1.7, 1.5, 0.3])
        side = rng.uniform((-2, -0.85, -0.7, 0.3), (2, -0.75, 0.7, 0.9), (300, 4))
        cos, sin = np.cos(car[6]), np.sin(car[6])
        side[:, :2] = side[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        side[:, :3] += car[:3]
        points = np.concatenate([ground, side]).astype(np.float32)
        return Frame(points, car[None].astype(np.float32), np.zeros(1, np.int64))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trainer.train(settings(tmp_path_factory.mktemp("runs")))


def test_a_network_learns_a_scene_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SimulatedFrames", lambda *_: OneFrame())
    still = {
        "rotation_deg": 0,
        "flip_probability": 0,
        "scaling": 0,
        "height_jitter": 0,
        "intensity_gain": 0,
        "dropout_probability": 0,
        "camera_crop_probability": 0,
    }
    run = settings(tmp_path, steps=150, learning_rate=1e-2, augmentation=still, ema_decay=0.9)
    bundle = export.export_checkpoint(trainer.train(run), tmp_path / "bundle")
    detector = Detector(bundle, thresholds=DetectionThresholds(score=0.4))
    found = detector.detect(OneFrame().frame(0).points).boxes
    assert len(found) == 1 and found.labels[0] == 0
    np.testing.assert_allclose(found.boxes[0], OneFrame().frame(0).boxes[0], atol=0.15)


def test_the_same_seed_gives_the_same_network(checkpoint: Path, tmp_path: Path) -> None:
    again = trainer.train(settings(tmp_path))
    for name, value in weights(checkpoint).items():
        torch.testing.assert_close(weights(again)[name], value, rtol=0, atol=0)


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = settings(tmp_path, checkpoint_every=3)
    save = trainer._save_checkpoint

    def save_and_die(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_save_checkpoint", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(run)
    monkeypatch.setattr(trainer, "_save_checkpoint", save)
    resumed = trainer.train(run)
    for name, value in weights(checkpoint).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=0, atol=0)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "detection_losses", lambda *_: {"box": torch.tensor(float("nan"))})
    with pytest.raises(DataError, match=r"nan at step 0.*bad_batch"):
        trainer.train(settings(tmp_path))
    batch = torch.load(tmp_path / "light" / "bad_batch.pt", weights_only=True)
    assert batch["points"].shape[2] == 4


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoint\.pt"):
        trainer.load_checkpoint(path)


def test_entropy_loss_is_part_of_the_gradient_and_can_be_switched_off(tmp_path: Path) -> None:
    def metrics(name: str, **entropy: float) -> set[str]:
        run = settings(tmp_path, name=name, steps=100, batch_size=1, entropy_loss=entropy)
        trainer.train(run)
        return set(json.loads((run.run_dir / "metrics.jsonl").read_text()))

    assert {"steadiness", "direction"} <= metrics("with")
    assert not {"steadiness", "direction"} & metrics("without", steadiness=0, direction=0)


def test_export_agrees_with_torch_and_keeps_the_provenance(
    checkpoint: Path, tmp_path: Path
) -> None:
    bundle = export.export_checkpoint(checkpoint, tmp_path / "bundle", name="tiny")
    assert bundle.facts.name == "tiny" and bundle.facts.training["step"] == 6
    assert bundle.facts.layer_names[:2] == ("stage1.conv1", "stage1.conv2")
    assert bundle.facts.layer_stages == (0, 0, 0, 1, 1, 1)
    for file in bundle.path.iterdir():  # nothing of the machine that it was made on
        content = file.read_bytes()
        assert str(tmp_path).encode() not in content
        assert str(Path(export.__file__).parents[1]).encode() not in content


def test_export_writes_nothing_when_the_networks_disagree(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_MAX_ENTROPY_DIFFERENCE", -1.0)
    with pytest.raises(BundleError, match="differ in layer entropy"):
        export.export_checkpoint(checkpoint, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_export_replaces_a_bundle_but_no_other_folder(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    export.export_checkpoint(checkpoint, out)
    export.export_checkpoint(checkpoint, out)
    (out / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="more than a bundle"):
        export.export_checkpoint(checkpoint, out)


def test_calibration_gives_clean_scans_a_normal_score(checkpoint: Path, tmp_path: Path) -> None:
    path = export.export_checkpoint(checkpoint, tmp_path / "bundle").path
    scans = list(simulated_scans(40))
    reference = calibrate_bundle(path, scans, "a test", false_alarm_rate=0.1)
    assert Bundle.load(path).require_health().threshold == reference.threshold
    detector = Detector(Bundle.load(path))
    scores = []
    for points in scans:
        found = detector.detect(points)
        counts = found.counts
        scores.append(
            reference.score(
                make_readings(found.layer_entropy, counts.num_in_range, counts.num_occupied)
            )
        )
    assert 0.6 < np.median(scores) < 1.3
    assert np.mean(np.array(scores) > reference.threshold) <= 0.1

    moved = calibrate_bundle(path, scans[:5], "five scans", keep_covariance=True)
    np.testing.assert_array_equal(moved.covariance, reference.covariance)
    assert moved.threshold == reference.threshold
    assert not np.array_equal(moved.mean, reference.mean)


def test_calibration_refuses_too_little_and_degenerate_data(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = export.export_checkpoint(checkpoint, tmp_path / "bundle").path
    scan = next(iter(simulated_scans(1)))
    with pytest.raises(DataError, match="too few"):
        calibrate_bundle(path, [scan] * 3, "three scans")
    with pytest.raises(DataError, match="degenerate"):
        calibrate_bundle(path, [scan] * 40, "forty times the same")
    with pytest.raises(BundleError, match="no health reference"):
        calibrate_bundle(path, [scan] * 3, "three scans", keep_covariance=True)


def test_settings_come_from_yaml_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("steps: 20\nnetwork: {neck_channels: 24}\n")
    loaded = load_settings(file, ["learning_rate=0.01", "network.head_channels=32"])
    assert (loaded.steps, loaded.learning_rate) == (20, 0.01)
    assert (loaded.network.neck_channels, loaded.network.head_channels) == (24, 32)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("colour=red", r"colour = 'red'"),
        ("steps=0", r"steps = 0.*greater than or equal to 1"),
        ("steps", "key=value"),
        ("network.widths=[1]", r"network\.widths"),
    ],
)
def test_impossible_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(None, [override])
