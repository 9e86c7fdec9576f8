# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a bundle: export and calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from calibration_factory import drive_scan
from health_reference_factory import make_reference
from training_factory import CarFrames, settings

from eloss_perception.calibration.calibrate import recalibrate
from eloss_perception.errors import BundleError, DataError
from eloss_perception.export import onnx as export
from eloss_perception.runtime.bundle import Bundle, write_reference
from eloss_perception.training import trainer
from eloss_perception.training.data import loading
from eloss_perception.training.data.loading import TrainingData


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
    monkeypatch.setattr("eloss_perception.export.onnx_graph._MAX_READING_DIFFERENCE", -1.0)
    with pytest.raises(BundleError, match="differ in layer_entropy"):
        export.export_checkpoint(checkpoint, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_compares_nothing_or_cannot_be_written_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="no scan has a point"):
        export.export_checkpoint(
            checkpoint, tmp_path / "far", bev_range=(900.16, -10.24, 920.64, 10.24)
        )
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        export.export_checkpoint(checkpoint, tmp_path / "file" / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_export_replaces_a_bundle_but_no_other_folder(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    export.export_checkpoint(checkpoint, out)
    export.export_checkpoint(checkpoint, out)
    (out / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="more than a bundle"):
        export.export_checkpoint(checkpoint, out)


def test_an_exported_bundle_is_calibrated_and_replaced_whole(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = export.export_checkpoint(checkpoint, tmp_path / "bundle").path
    facts = Bundle.load(path).facts
    assert facts.health is None
    with pytest.raises(BundleError, match="eloss calibrate"):
        recalibrate(path, [], "none")
    write_reference(path, make_reference(facts.layer_names, facts.layer_stages), 1.0, 10.0)
    reference = recalibrate(path, [drive_scan(index) for index in range(30)], "thirty places")
    found = Bundle.load(path).require_health()
    np.testing.assert_array_equal(found.mean, reference.mean)
    # An export undoes no calibration unless it is told to.
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(DataError, match=r"was calibrated.*--overwrite"):
        export.export_checkpoint(checkpoint, path)
    (path / "model.yaml").write_text("no bundle")  # nor does it where it cannot tell
    with pytest.raises(DataError, match="was calibrated"):
        export.export_checkpoint(checkpoint, path)
    (path / "model.yaml").write_bytes(before["model.yaml"])
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert export.export_checkpoint(checkpoint, path, overwrite=True).facts.health is None
    assert sorted(p.name for p in path.iterdir()) == ["model.onnx", "model.yaml"]
