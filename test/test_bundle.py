# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles: whole ones load, everything else is refused with what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from tiny_bundle import write_tiny_bundle

from eloss_perception import cli
from eloss_perception.errors import BackendError, BundleError, CloudError, ConfigError, DataError
from eloss_perception.runtime.bundle import (
    FILE_NAMES,
    Bundle,
    default_bundle_path,
    sha256_of,
    write_reference,
)
from eloss_perception.runtime.detector import DetectionThresholds, Detector


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    copy = tmp_path / "bundle"
    shutil.copytree(default_bundle_path(), copy)
    return copy


def edit(path: Path, **changes: object) -> None:
    """Changes facts, and the checksum with them, as `eloss seal` would."""
    file = path / "model.yaml"
    rewrite(path, yaml.safe_dump(yaml.safe_load(file.read_text().split("\n", 1)[1]) | changes))


def rewrite(path: Path, text: str) -> None:
    """Gives ``model.yaml`` another content under a checksum that is right."""
    checksum = hashlib.sha256(text.encode()).hexdigest()
    (path / "model.yaml").write_text(f"checksum: {checksum}\n{text}")


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


# ------------------------------------------------------------------------------- the checksums


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("threshold: 5.0", "threshold: 50.0"),
        ("- Car\n- Pedestrian", "- Pedestrian\n- Car"),
        ("training:", "# a comment\ntraining:"),
        ("step: 4500", "step: 4501"),
        ("checksum: ", "checksum:  "),
        ("checksum: ", "a_checksum: "),
        ("checksum: ", "# a comment\nchecksum: "),
    ],
)
def test_an_edit_by_hand_or_a_flipped_bit_is_refused(bundle_copy: Path, old: str, new: str) -> None:
    file = bundle_copy / "model.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(BundleError, match="checksum"):
        Bundle.load(bundle_copy)


def test_a_yaml_that_is_cut_off_anywhere_is_refused(bundle_copy: Path) -> None:
    file = bundle_copy / "model.yaml"
    content = file.read_bytes()
    for end in (0, 40, 75, 76, 1000, len(content) - 1):
        file.write_bytes(content[:end])
        with pytest.raises(BundleError):
            Bundle.load(bundle_copy)


def test_a_bundle_of_an_earlier_version_loads_and_says_how_to_seal_it(
    bundle_copy: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bundle_copy / "model.yaml"
    sealed = file.read_text()
    file.write_text("# ours\n" + sealed.split("\n", 1)[1])
    assert Bundle.load(bundle_copy).facts == Bundle.load(default_bundle_path()).facts
    assert f"`eloss seal {bundle_copy}`" in caplog.text
    caplog.clear()
    assert cli.main(["seal", str(bundle_copy)]) == 0
    assert "has the checksum" in capsys.readouterr().out
    assert file.read_text().startswith("checksum: ") and "\n# ours\n" in file.read_text()
    Bundle.load(bundle_copy)
    assert not caplog.records
    # An edit on purpose is sealed in the same way; one that makes no sense is not.
    file.write_text(file.read_text().replace("threshold: 5.0", "threshold: 6.0"))
    with pytest.raises(BundleError, match="`eloss seal "):
        Bundle.load(bundle_copy)
    assert cli.main(["seal", str(bundle_copy)]) == 0
    assert Bundle.load(bundle_copy).require_health().threshold == 6.0
    edited = file.read_text().replace("threshold: 6.0", "threshold: .inf")
    file.write_text(edited)
    assert cli.main(["seal", str(bundle_copy)]) == 2
    assert "finite" in capsys.readouterr().err and file.read_text() == edited


def test_what_was_hashed_is_what_runs(bundle_copy: Path) -> None:
    bundle = Bundle.load(bundle_copy)
    expected = Detector(bundle).detect(scan()).readings
    (bundle_copy / "model.onnx").write_bytes(b"an update that is half-way")
    np.testing.assert_array_equal(Detector(bundle).detect(scan()).readings, expected)
    (bundle_copy / "model.onnx").unlink()
    np.testing.assert_array_equal(Detector(bundle).detect(scan()).readings, expected)


def test_files_are_written_whole_or_not_at_all(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in bundle_copy.iterdir()}
    reference = replace(Bundle.load(bundle_copy).require_health(), threshold=7.25, source="a test")
    calls = []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space"):
        write_reference(bundle_copy, reference, 0.5, 20.0)
    assert {path.name: path.read_bytes() for path in bundle_copy.iterdir()} == before


# --------------------------------------------------------------------------- hostile content


def _with(path: Path, old: str, new: str) -> None:
    text = (path / "model.yaml").read_text().split("\n", 1)[1]
    assert old in text
    rewrite(path, text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Time and memory.
        ("training:", "a: &a [x]\ntraining:\n  b: *a\n "),
        ("training:", "training:\n  <<: &a {k: v}\n "),
        ("training:", "deep: " + "[" * 5000 + "]" * 5000 + "\ntraining:"),
        ("training:", "deep: " + "{a: " * 5000 + "\ntraining:"),
        ("max_pillars: 16000", "max_pillars: " + "9" * 5000),
        ("max_pillars: 16000", "max_pillars: 0x" + "f" * 100_000),
        ("max_pillars: 16000", "max_pillars: 1" + ":59" * 50_000),
        ("step: 4500", "step: 1" + ":59" * 50_000),
        ("training:", "training:\n  a: " + "x" * 2_000_000 + "\n "),
        # What PyYAML's constructors stumble on.
        ("name: pillars_light", "name: 2020-13-45"),
        ("name: pillars_light", "name: !!int ''"),
        ("name: pillars_light", "name: !!timestamp x"),
        ("name: pillars_light", "name: !!python/object/apply:os.getcwd []"),
        ("name: pillars_light", "? [a, b]\n: c"),
        ("name: pillars_light", "name: a\nname: b"),
        ("name: pillars_light", "---\nname: b"),
        # Names that do not fit in a line of a log.
        ("name: pillars_light", 'name: "a\\nb"'),
        ("name: pillars_light", 'name: "\\e[31m"'),
        ("name: pillars_light", "name: " + "x" * 1000),
        ("- Car\n", "- Pedestrian\n"),
        ("- stage1.conv2\n", "- stage1.conv1\n"),
        ("- stage1.conv1\n", ""),
        ("layer_stages:\n- 0\n", "layer_stages:\n"),
        ("layer_stages:\n- 0\n", "layer_stages:\n- -1\n"),
        # Numbers out of range.
        ("  - 69.12\n", "  - .inf\n"),
        ("  - -3.0\n", "  - .nan\n"),
        ("  - 69.12\n", "  - 1.0e+300\n"),
        ("voxel_size:\n  - 0.32\n  - 0.32", "voxel_size:\n  - .inf\n  - .inf"),
        ("voxel_size:\n  - 0.32\n  - 0.32", "voxel_size:\n  - 1.0e-300\n  - 0.32"),
        ("voxel_size:\n  - 0.32\n  - 0.32", "voxel_size:\n  - 1.0e-320\n  - 0.32"),
        ("voxel_size:\n  - 0.32\n  - 0.32", "voxel_size:\n  - 1.0e+300\n  - 0.32"),
        ("max_pillars: 16000", "max_pillars: 1000000000000"),
        ("max_pillars: 16000", "max_pillars: -1"),
        ("max_points_per_pillar: 16", "max_points_per_pillar: 1000000000000"),
        ("stride: 2", "stride: 0"),
        ("stride: 2", "stride: 1000000000000"),
        ("threshold: 5.0", "threshold: .inf"),
        ("threshold: 5.0", "threshold: .nan"),
        ("threshold: 5.0", "threshold: 500.0"),
        ("threshold: 5.0", "threshold: 0.0"),
        ("eloss_normal: 0", "eloss_normal: -1"),
        ("num_frames: 400", "num_frames: 0"),
        ("rate_hz: 10.0", "rate_hz: 0.0"),
        ("false_alarms_per_hour: 1.0", "false_alarms_per_hour: .nan"),
        ("onnx_sha256: ", "onnx_sha256: x"),
        ("format_version: 3", "format_version: 3.0"),
        ("format_version: 3", "format_version: [" + "3, " * 10_000 + "3]"),
        # Facts of another network.
        ("- Cyclist\n", ""),
        ("- Cyclist\n", "- Cyclist\n- Lorry\n"),
        ("voxel_size:\n  - 0.32\n  - 0.32", "voxel_size:\n  - 0.64\n  - 0.64"),
        ("max_points_per_pillar: 16", "max_points_per_pillar: 17"),
        ("stride: 2", "stride: 4"),
    ],
    ids=lambda text: text[:40].replace("\n", " "),
)
def test_hostile_facts_are_refused_in_one_line(bundle_copy: Path, old: str, new: str) -> None:
    _with(bundle_copy, old, new)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle_copy)
    said = str(caught.value)
    assert said.isprintable() and len(said) < 1000


def test_many_short_aliases_and_keys_take_little_time_and_memory(bundle_copy: Path) -> None:
    for text in (
        "a: &a\n" * 30_000,
        "- " * 100_000,
        "? " * 100_000,
        "[" * 200_000,
        "- 1\n" * 50_000,
    ):
        rewrite(bundle_copy, text)
        tracemalloc.start()
        with pytest.raises(BundleError):
            Bundle.load(bundle_copy)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("name", FILE_NAMES)
def test_only_regular_files_of_a_bundles_size_are_read(bundle_copy: Path, name: str) -> None:
    file = bundle_copy / name
    for make in (
        lambda: os.mkfifo(file),
        lambda: file.symlink_to("/dev/zero"),
        file.mkdir,
        lambda: (file.write_bytes(b"") and None) or os.truncate(file, 1 << 40),
    ):
        if file.is_dir():
            file.rmdir()
        else:
            file.unlink()
        make()
        with pytest.raises(BundleError, match=f"cannot read .*{name}: it is (no|larger)"):
            Bundle.load(bundle_copy)
    # A link to a whole file is one, as colcon's --symlink-install makes it.
    file.unlink()
    file.symlink_to(default_bundle_path() / name)
    Bundle.load(bundle_copy).require_health()


def test_readings_that_the_reference_does_not_know_are_refused_on_the_first_frame(
    tmp_path: Path,
) -> None:
    # The file does not say how many there are.
    path = write_tiny_bundle(tmp_path / "tiny")
    model = onnx.load(path / "model.onnx")
    (columns,) = (t for t in model.graph.initializer if t.name == "columns")
    columns.CopyFrom(onnx.numpy_helper.from_array(np.array([3], np.int64), "columns"))
    onnx.save(model, path / "model.onnx")
    edit(path, onnx_sha256=sha256_of(path / "model.onnx"))
    detector = Detector(Bundle.load(path))
    with pytest.raises(BackendError, match=r"outputs have the shapes .*export the bundle again"):
        detector.warm_up(num_frames=1)


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
    from eloss_perception.detection.grid import PillarGrid
    from eloss_perception.runtime.backends import load_backend
    from eloss_perception.runtime.backends.base import BackendSettings

    grid = PillarGrid((0.0, -8.0, -3.0, 16.0, 8.0, 1.0), (0.5, 0.5), 100, 8)
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(BackendError, match="cannot load"):
        load_backend("onnxruntime_cpu", broken, grid, BackendSettings())
