# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles: whole ones load, everything else is refused with what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from eloss_perception.errors import BackendError, BundleError, CloudError, ConfigError
from eloss_perception.runtime.bundle import FILE_NAMES, Bundle, default_bundle_path, write_reference
from eloss_perception.runtime.detector import DetectionThresholds, Detector


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    copy = tmp_path / "bundle"
    shutil.copytree(default_bundle_path(), copy)
    return copy


def edit(path: Path, **changes: object) -> None:
    file = path / "model.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def scan(num_points: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.uniform((0, -39, -2, 0), (69, 39, 0.5, 1), (num_points, 4))
    return points.astype(np.float32)


def test_the_shipped_bundle_is_whole_calibrated_and_small() -> None:
    bundle = Bundle.load(default_bundle_path())
    assert bundle.class_names == ("Car", "Pedestrian", "Cyclist")
    assert bundle.require_health().num_frames >= 100
    assert bundle.onnx_path.stat().st_size < 10_000_000
    assert {"data", "step", "settings"} <= set(bundle.facts.training)


def test_a_missing_folder_or_file_is_named(bundle_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        Bundle.load(tmp_path / "nowhere")
    (bundle_copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"incomplete: model\.onnx"):
        Bundle.load(bundle_copy)


def test_an_altered_network_is_refused(bundle_copy: Path) -> None:
    content = bytearray((bundle_copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="altered"):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"format_version": 1}, "format version 1, .*export the bundle again"),
        ({"head": {"kind": "wheel"}}, "head"),
        ({"surprise": 1}, "surprise"),
        ({"class_names": 3}, "class_names"),
        ({"grid": {"point_cloud_range": [0, 0, 0, 0, 0, 0]}}, "grid"),
    ],
)
def test_unreadable_facts_are_refused(bundle_copy: Path, changes: dict, message: str) -> None:
    edit(bundle_copy, **changes)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize("text", ["", "[1, 2", "just words", "\x00"])
def test_a_yaml_of_nonsense_is_refused(bundle_copy: Path, text: str) -> None:
    (bundle_copy / "model.yaml").write_text(text)
    with pytest.raises(BundleError):
        Bundle.load(bundle_copy)


def test_a_bundle_that_was_never_calibrated_says_so(bundle_copy: Path) -> None:
    edit(bundle_copy, health=None)
    with pytest.raises(BundleError, match="eloss calibrate"):
        Bundle.load(bundle_copy).require_health()


def test_a_health_reference_that_is_missing_or_altered_is_refused(bundle_copy: Path) -> None:
    file = bundle_copy / "health.npz"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"!")
    with pytest.raises(BundleError, match=r"altered: health\.npz .*eloss calibrate"):
        Bundle.load(bundle_copy)
    file.unlink()
    with pytest.raises(BundleError, match=r"incomplete: health\.npz"):
        Bundle.load(bundle_copy)
    # To calibrate it, the network is enough.
    assert Bundle.load_uncalibrated(bundle_copy).health is None


def test_a_health_reference_is_stored_with_the_rate_that_it_is_for(bundle_copy: Path) -> None:
    reference = replace(Bundle.load(bundle_copy).require_health(), threshold=7.25, source="a test")
    write_reference(bundle_copy, reference, 0.5, 20.0)
    stored = Bundle.load(bundle_copy)
    health = stored.facts.health
    assert health is not None
    assert (health.false_alarms_per_hour, health.rate_hz, health.source) == (0.5, 20.0, "a test")
    assert stored.require_health().threshold == 7.25
    assert sorted(p.name for p in bundle_copy.iterdir()) == sorted(FILE_NAMES)


def test_identical_input_gives_identical_output_in_any_order() -> None:
    detector = Detector(
        Bundle.load(default_bundle_path()), thresholds=DetectionThresholds(score=0.01)
    )
    points = scan()
    first = detector.detect(points)
    for other in (points, np.random.default_rng(1).permutation(points)):
        again = detector.detect(other)
        np.testing.assert_array_equal(again.boxes.boxes, first.boxes.boxes)
        np.testing.assert_array_equal(again.boxes.scores, first.boxes.scores)
        np.testing.assert_array_equal(again.readings, first.readings)


@pytest.mark.parametrize("num_points", [0, 1])
def test_an_almost_empty_scan_gives_no_boxes_and_finite_readings(num_points: int) -> None:
    detections = Detector(Bundle.load(default_bundle_path())).detect(scan(num_points))
    assert len(detections.boxes) == 0
    assert np.isfinite(detections.readings).all()


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    bundle = Bundle.load(default_bundle_path())
    with pytest.raises(ConfigError, match="onnxruntime_cpu"):
        Detector(bundle, backend="abacus")
    with pytest.raises(ConfigError, match="Pedestrian"):
        Detector(bundle, thresholds=DetectionThresholds(class_score={"car": 0.2}))
    with pytest.raises(CloudError):
        Detector(bundle).detect(np.zeros((4, 3), np.float32))


def test_a_network_that_is_none_is_a_backend_error(tmp_path: Path) -> None:
    from eloss_perception.core.grid import PillarGrid
    from eloss_perception.runtime.backends import load_backend
    from eloss_perception.runtime.backends.base import BackendSettings

    grid = PillarGrid((0.0, -8.0, -3.0, 16.0, 8.0, 1.0), (0.5, 0.5), 100, 8)
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(BackendError, match="cannot load"):
        load_backend("onnxruntime_cpu", broken, grid, BackendSettings())
