# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""health.npz: what is written is what is read, byte for byte the same, and nothing else is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from health_reference_factory import LAYERS, clean_readings, make_reference

from eloss_perception.core.health_reference import HealthReference
from eloss_perception.errors import BundleError
from eloss_perception.runtime.health_file import read_health, write_health

REFERENCE = make_reference(threshold=6.5, distance_limits=(0.9, 1.1))


def read(path: Path, layer_names: tuple[str, ...] = LAYERS) -> HealthReference:
    stages = REFERENCE.stages[: len(layer_names)]
    return read_health(path, layer_names, stages, 6.5, 1e-3, 100, "made up for tests")


def repack(path: Path, **changes: np.ndarray | None) -> None:
    """Writes the file anew with some of its arrays changed, or left out where None."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    write_health(path, REFERENCE)
    found = read(path)
    for name in ("mean", "std", "covariance", "change_covariance", "gap", "check_limits"):
        np.testing.assert_allclose(getattr(found, name), getattr(REFERENCE, name), rtol=1e-6)
    np.testing.assert_array_equal(found.mean, REFERENCE.mean)
    np.testing.assert_allclose(found.distance_limits, REFERENCE.distance_limits, rtol=1e-6)
    assert found.profiles.names == REFERENCE.profiles.names
    assert found.profiles.severities == REFERENCE.profiles.severities
    rows = np.stack([clean_readings(REFERENCE, seed, spread=2.0) for seed in range(20)])
    np.testing.assert_allclose(found.score(rows), REFERENCE.score(rows), rtol=1e-3, atol=1e-3)
    # Written again it is the same file: nothing is lost a second time.
    again = tmp_path / "again.npz"
    write_health(again, found)
    assert again.read_bytes() == path.read_bytes()


def test_equal_references_give_equal_files_and_no_other_file_is_left(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    write_health(first, REFERENCE)
    write_health(second, make_reference(threshold=9.0, distance_limits=(0.9, 1.1)))
    assert first.read_bytes() == second.read_bytes()  # the threshold is in model.yaml
    write_health(second, replace(REFERENCE, mean=REFERENCE.mean + 1e-9))
    assert first.read_bytes() != second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and then nothing"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "health.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="cannot read"):
        read(path)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    write_health(path, REFERENCE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BundleError, match="cannot read"):
        read(path)


def test_readings_of_another_version_or_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    write_health(path, REFERENCE)
    with pytest.raises(BundleError, match="run `eloss calibrate` again"):
        read(path, ("stage1.conv1",))
    names = np.array(["entropy.all", *REFERENCE.reading_names[1:]])
    repack(path, reading_names=names)
    with pytest.raises(BundleError, match="other readings"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gap": None}, "lacks .*gap.* run `eloss calibrate` again"),
        ({"mean": None}, "mean"),
        ({"mean": np.zeros(3)}, "mean"),
        ({"std": np.zeros(len(REFERENCE.mean))}, "out of range"),
        ({"harm": np.array([-1.0, 0.0, 0.0])}, "profile"),
        ({"covariance": -np.eye(len(REFERENCE.mean))}, "positive definite"),
        ({"distance_limits": np.ones(3)}, "distance_limits"),
        ({"names": np.array([{"a": 1}], dtype=object)}, "cannot read"),
    ],
)
def test_impossible_content_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "health.npz"
    write_health(path, REFERENCE)
    repack(path, **changes)
    with pytest.raises(BundleError, match=message):
        read(path)
