# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""health.npz: what is written is what is read, byte for byte the same, and nothing else is read."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from health_reference_factory import LAYERS, clean_readings, make_reference

from eloss_perception.errors import BundleError
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.reference import HealthReference
from eloss_perception.health.reference_file import (
    LIKE_TRAFFIC_BEFORE_0_5,
    TEXTS_BEFORE_0_5,
    health_bytes,
    read_health,
)
from eloss_perception.simulation.corruptions import CORRUPTIONS

REFERENCE = make_reference(threshold=6.5, distance_limits=(0.9, 1.1))


def read(path: Path, layer_names: tuple[str, ...] = LAYERS) -> HealthReference:
    stages = REFERENCE.stages[: len(layer_names)]
    return read_health(
        path.read_bytes(), path, layer_names, stages, 6.5, 1e-3, 100, "made up for tests"
    )


def repack(path: Path, **changes: np.ndarray | None) -> None:
    """Writes the file anew with some of its arrays changed, or left out where None."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    path.write_bytes(health_bytes(REFERENCE))
    found = read(path)
    for name in ("mean", "std", "covariance", "change_covariance", "gap", "check_limits"):
        np.testing.assert_allclose(getattr(found, name), getattr(REFERENCE, name), rtol=1e-6)
    np.testing.assert_array_equal(found.mean, REFERENCE.mean)
    np.testing.assert_allclose(found.distance_limits, REFERENCE.distance_limits, rtol=1e-6)
    assert found.profiles.names == REFERENCE.profiles.names
    assert found.profiles.severities == REFERENCE.profiles.severities
    rows = np.stack([clean_readings(REFERENCE, seed, spread=2.0) for seed in range(20)])
    np.testing.assert_allclose(
        HealthJudge(found).score(rows), HealthJudge(REFERENCE).score(rows), rtol=1e-3, atol=1e-3
    )
    assert found.profiles.texts == REFERENCE.profiles.texts
    # Written again it is the same file: nothing is lost a second time.
    again = tmp_path / "again.npz"
    again.write_bytes(health_bytes(found))
    assert again.read_bytes() == path.read_bytes()


def test_equal_references_give_equal_files_and_no_other_file_is_left(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    first.write_bytes(health_bytes(REFERENCE))
    second.write_bytes(health_bytes(make_reference(threshold=9.0, distance_limits=(0.9, 1.1))))
    assert first.read_bytes() == second.read_bytes()  # the threshold is in model.yaml
    second.write_bytes(health_bytes(replace(REFERENCE, mean=REFERENCE.mean + 1e-9)))
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
    path.write_bytes(health_bytes(REFERENCE))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BundleError, match="cannot read"):
        read(path)


def test_readings_of_another_version_or_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    path.write_bytes(health_bytes(REFERENCE))
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
        ({"distance_limits": np.zeros(2)}, "distance_limits is out of range"),
        ({"distance_limits": np.array([1.0, np.nan])}, "distance_limits is out of range"),
        ({"mean": np.full(len(REFERENCE.mean), np.nan)}, "mean is out of range"),
        ({"std": np.full(len(REFERENCE.mean), np.inf)}, "std is out of range"),
        ({"harm": np.full(3, np.inf)}, "harm of a profile is out of range"),
        ({"harm": np.full(3, 101.0)}, "harm of a profile is out of range"),
        ({"shifts": np.full(REFERENCE.profiles.shifts.shape, np.nan)}, "shifts of a profile"),
        ({"check_limits": np.zeros(len(REFERENCE.check_limits))}, "check_limits is out of range"),
        ({"covariance": np.full(REFERENCE.covariance.shape, np.nan)}, "covariance is out of"),
        ({"change_covariance": 1e9 * REFERENCE.covariance}, "change_covariance is out of"),
        ({"change_covariance": np.zeros(REFERENCE.covariance.shape)}, "positive definite"),
        ({"covariance": np.triu(np.ones(REFERENCE.covariance.shape))}, "not symmetric"),
        ({"covariance": np.ones(3)}, "covariance"),
        ({"gap": -np.eye(len(REFERENCE.mean)) * 2}, "positive definite"),
        ({"severities": np.ones(3)}, "severities"),
        ({"mean": np.ones(len(REFERENCE.mean), np.complex128)}, "mean holds complex128"),
        ({"harm": np.array(1.0)}, "harm holds"),
        ({"names": np.array(["fog", "rain", "clean"])}, "unusable name"),
        ({"names": np.array(["fog", "rain", "a\nb"])}, "unusable name"),
        ({"names": np.array([["fog", "rain", "hail"]])}, "names holds"),
        ({"surprise": np.ones(1)}, "other arrays"),
    ],
)
def test_impossible_content_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "health.npz"
    path.write_bytes(health_bytes(REFERENCE))
    repack(path, **changes)
    with pytest.raises(BundleError, match=message):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    whole = health_bytes(REFERENCE)

    def with_mean(array: bytes, how: int = zipfile.ZIP_DEFLATED) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(content, "w", how) as new:
            for name in old.namelist():
                new.writestr(name, array if name == "mean.npy" else old.read(name))
        return content.getvalue()

    def header(shape: str, descr: str = "'<f8'") -> bytes:
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text

    array = io.BytesIO()
    np.save(array, REFERENCE.mean)
    lone = array.getvalue()
    hostile = {
        "a shape of 10^13": with_mean(header("(10000000000000,)")),
        "a shape below zero": with_mean(header("(-1, -8)") + bytes(64)),
        "nothing of a wide shape": with_mean(header("(0, 1000000000000000000000)")),
        "a long element": with_mean(header("(1,)", "'<U1000000000'")),
        "a nested header": with_mean(header("(" * 9000)),
        "a pickle": with_mean(header("(1,)", "'|O'") + b"cos\nsystem\n(S'true'\ntR."),
        "another format": with_mean(lone.replace(b"NUMPY\x01", b"NUMPY\x03")),
        "100 MB in 100 kB": with_mean(header("(12500000,)") + bytes(100_000_000)),
        "an odd compression": with_mean(lone, zipfile.ZIP_LZMA),
        "no archive": lone,
        "a name twice": _twice(whole),
    }
    for what, content in hostile.items():
        assert len(content) < 1_000_000, what
        tracemalloc.start()
        with pytest.raises(BundleError, match=r"cannot read \S+: [^\n]+\Z"):
            read_health(content, tmp_path, LAYERS, REFERENCE.stages, 6.5, 1e-3, 100, "tests")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000, what
        tracemalloc.stop()


def _twice(archive: bytes) -> bytes:
    content = io.BytesIO(archive)
    with zipfile.ZipFile(content, "a") as file:
        file.writestr("gap.npy", b"")
    return content.getvalue()


def test_a_file_from_before_0_5_has_the_texts_of_that_time(tmp_path: Path) -> None:
    path = tmp_path / "health.npz"
    path.write_bytes(health_bytes(REFERENCE))
    repack(path, texts=None, text_names=None, like_traffic=None)
    found = read(path).profiles
    assert found.texts == TEXTS_BEFORE_0_5
    assert found.like_traffic == {"incomplete_echo", "local_dropout"}
    repack(path, texts=np.array(["like lost beams"]))
    with pytest.raises(BundleError, match=r"lacks .*run `eloss calibrate` again"):
        read(path)


def test_every_corruption_of_that_time_is_told_in_the_same_words_today() -> None:
    assert {n: c.words for n, c in CORRUPTIONS.items() if c.words}.items() <= (
        TEXTS_BEFORE_0_5.items()
    )
    like_traffic = {name for name, corruption in CORRUPTIONS.items() if corruption.like_traffic}
    assert like_traffic == LIKE_TRAFFIC_BEFORE_0_5
