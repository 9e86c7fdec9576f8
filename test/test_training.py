# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a bundle: export and calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from training_factory import CarFrames, settings

from eloss_perception.core.health import make_readings
from eloss_perception.errors import BundleError, DataError
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector
from eloss_perception.training import export, trainer
from eloss_perception.training.calibration import calibrate_bundle, simulated_scans
from eloss_perception.training.data import loading
from eloss_perception.training.data.sources import TrainingData


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "open_data", lambda settings: TrainingData(CarFrames(), None))
        return trainer.train(settings(tmp_path_factory.mktemp("runs")))


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
    monkeypatch.setattr("eloss_perception.training.parity._MAX_ENTROPY_DIFFERENCE", -1.0)
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
