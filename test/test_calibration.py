# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration: what is stored, what is refused and why, from simulation and from scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnx", reason="the tiny bundle is written with it")
pytest.importorskip("torch", reason="training needs torch")

from calibration_factory import drive_scan, standing_scan, write_bundle
from health_reference_factory import disturbed_readings, make_reference

from eloss_perception.calibration import calibrate as calibration
from eloss_perception.calibration.calibrate import (
    anomalous_frames,
    calibrate_from_simulation,
    check_clean,
    recalibrate,
)
from eloss_perception.errors import BundleError, DataError
from eloss_perception.health.fit import ProfileReadings
from eloss_perception.health.judge import HealthJudge
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, write_facts
from eloss_perception.runtime.detector import Detector

REFERENCE = make_reference()
LABELS = [f"{i / 10:.1f} s" for i in range(60)]


def streets(num_frames: int = 60, spread: float = 1.0, seed: int = 0) -> npt.NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(0, spread, (num_frames, len(REFERENCE.mean)))
    return np.asarray(REFERENCE.mean + 5.0 * REFERENCE.std + noise * REFERENCE.std)


def test_a_clean_drive_passes_wherever_its_normal_lies() -> None:
    check_clean(REFERENCE, streets(), LABELS)
    check_clean(REFERENCE, streets(spread=3.0), LABELS)


def test_a_vehicle_that_stands_is_refused() -> None:
    with pytest.raises(DataError, match="stood or hardly moved"):
        check_clean(REFERENCE, streets(spread=0.15), LABELS)


def test_a_recording_that_is_clean_in_part_is_refused_and_the_part_named() -> None:
    readings = streets()
    shift = REFERENCE.profiles.shifts[0] * 2
    odd = [*range(20, 27), 41]
    readings[odd] += np.sinh(shift) * REFERENCE.std
    with pytest.raises(DataError, match=r"8 of 60 .*2\.0 s to 2\.6 s, 4\.1 s; leave"):
        check_clean(REFERENCE, readings, LABELS)
    # One frame in sixty may be odd.
    readings = streets()
    readings[30] = disturbed_readings(REFERENCE, "fog")
    check_clean(REFERENCE, readings, LABELS)


def test_anomalous_frames_are_far_from_the_others() -> None:
    distance = np.random.default_rng(0).normal(1.0, 0.1, 200)
    assert not anomalous_frames(distance).any()
    distance[50:60] = 2.0
    np.testing.assert_array_equal(np.flatnonzero(anomalous_frames(distance)), np.arange(50, 60))
    assert not anomalous_frames(np.ones(40)).any()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def test_a_recalibrated_bundle_finds_the_scans_normal(bundle: Path) -> None:
    scans = [drive_scan(index) for index in range(40)]
    done: list[int] = []
    reference = recalibrate(
        bundle, iter(scans), "forty places", 3.0, 15.0, labels=LABELS, progress=done.append
    )
    assert done == list(range(1, 41))
    loaded = Bundle.load(bundle)
    found = loaded.require_health()
    health = loaded.facts.health
    assert health is not None
    assert (health.num_frames, health.false_alarms_per_hour, health.rate_hz) == (40, 3.0, 15.0)
    assert health.source == "forty places; profiles of disturbances from made up for tests"
    assert health.threshold == found.threshold == reference.threshold
    detector = Detector(loaded, settings=BackendSettings(num_threads=1))
    rows = np.array([detector.detect(points).readings for points in scans])
    np.testing.assert_allclose(found.mean, np.median(rows, axis=0))
    assert (HealthJudge(found).score(rows) > found.threshold).mean() < 0.05


@pytest.mark.parametrize(
    ("scans", "message"),
    [
        ([drive_scan(i) for i in range(29)], "29 scans are too few .* 30 are needed"),
        ([drive_scan(0)] * 40, "degenerate"),
        ([standing_scan(i) for i in range(40)], "hardly moved"),
        ([drive_scan(i)[:: 1 if i < 30 else 40] for i in range(40)], "scan 30 to scan 39"),
    ],
)
def test_bad_scans_are_refused_and_the_bundle_stays_as_it_was(
    bundle: Path, scans: list, message: str
) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(DataError, match=message):
        recalibrate(bundle, scans, "bad")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_bundle_without_a_reference_has_none_to_move(bundle: Path) -> None:
    facts = Bundle.load(bundle).facts
    write_facts(bundle, facts.model_copy(update={"health": None}))
    with pytest.raises(BundleError, match="eloss calibrate"):
        recalibrate(bundle, [drive_scan(0)], "one")


@dataclass
class FakeScan:
    points: npt.NDArray[np.float32]


def test_calibration_from_simulation_stores_a_reference(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cheap scans in place of the simulator's, and two profiles."""

    def collect(
        bundle: Bundle, num_drives: int, backend: str, num_threads: int, progress
    ) -> ProfileReadings:
        detector = Detector(bundle, settings=BackendSettings(num_threads=num_threads))
        rows = np.array([detector.detect(drive_scan(i)).readings for i in range(500, 520)])
        noise = np.random.default_rng(0).normal(0, 0.01, (2, *rows.shape))
        progress(20)
        corrupted = {("fog", 5): rows + 3.0, ("rain", 1): rows + noise[0]}
        return ProfileReadings(
            rows + noise[1], rows, corrupted, {("fog", 5): 40.0, ("rain", 1): 0.2}
        )

    monkeypatch.setattr(calibration, "simulate_scan", lambda seed: FakeScan(drive_scan(seed)))
    monkeypatch.setattr(calibration, "collect_profiles", collect)
    done: list[int] = []
    reference = calibrate_from_simulation(bundle, 60, 3, num_threads=1, progress=done.append)
    assert done == [*range(2, 121, 2), 140]
    loaded = Bundle.load(bundle)
    assert loaded.require_health().threshold == reference.threshold >= 5.0
    assert reference.num_frames == 60 and "fog" in reference.profiles.names
    assert "60 simulated scans and 3 simulated drives" in reference.source
    assert reference.source == loaded.facts.health.source
    detector = Detector(loaded, settings=BackendSettings(num_threads=1))
    scores = HealthJudge(reference).score(
        np.array([detector.detect(drive_scan(i)).readings for i in range(900, 930)])
    )
    assert np.median(scores) < reference.threshold


@pytest.mark.parametrize(("scans", "drives"), [(29, 60), (400, 2)])
def test_too_little_simulation_is_refused(bundle: Path, scans: int, drives: int) -> None:
    with pytest.raises(DataError, match="too few"):
        calibrate_from_simulation(bundle, scans, drives)
