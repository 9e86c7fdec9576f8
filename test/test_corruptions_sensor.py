# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sensor faults, noise and losses: what each one takes, moves or leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scan_factory import make_scan

from eloss_perception.simulation.corruptions import corrupt
from eloss_perception.simulation.corruptions.noise import _is_outside_balls
from eloss_perception.simulation.corruptions.sensor import beam_indices
from eloss_perception.simulation.schedule import CorruptionWindow, corrupt_on_schedule


def test_whole_beams_are_lost_and_the_others_untouched() -> None:
    points = make_scan()
    kept = corrupt(points, "beam_missing", 3, seed=5)
    lines = {line.tobytes() for line in points.reshape(64, 400, 4)}
    assert len(kept) == 32 * 400
    assert all(line.tobytes() in lines for line in kept.reshape(32, 400, 4))


def test_rows_of_a_real_scan(kitti_object_root: Path) -> None:
    path = sorted((kitti_object_root / "training" / "velodyne").glob("*.bin"))[0]
    points = np.fromfile(path, dtype=np.float32).reshape(-1, 4)
    rows = beam_indices(points)
    assert rows.max() in (62, 63)
    kept = corrupt(points, "beam_missing", 5, seed=0)
    assert 0.1 < len(kept) / len(points) < 0.4


def test_dropout_removes_the_stated_share() -> None:
    points = make_scan()
    assert len(corrupt(points, "point_dropout", 5, seed=0)) / len(points) == pytest.approx(
        0.3, abs=0.02
    )


def test_noise_has_the_stated_sigma_and_leaves_intensity() -> None:
    points = make_scan()
    noisy = corrupt(points, "gaussian_noise", 5, seed=0)
    assert (noisy - points)[:, :3].std() == pytest.approx(0.10, rel=0.05)
    np.testing.assert_array_equal(noisy[:, 3], points[:, 3])


@pytest.mark.parametrize(("severity", "num_beams"), [(1, 48), (2, 32), (3, 21), (4, 16), (5, 11)])
def test_another_sensor_has_fewer_beams_over_the_same_field(severity: int, num_beams: int) -> None:
    points = make_scan()
    lines = corrupt(points, "cross_sensor", severity, seed=0).reshape(-1, 400, 4)
    assert len(lines) == num_beams
    np.testing.assert_array_equal(lines[0], points[:400])
    np.testing.assert_array_equal(lines[-1], points[-400:])


def test_only_dark_returns_at_a_vehicles_height_are_incomplete() -> None:
    points = make_scan()
    points[:, 3] = np.arange(len(points)) % 2 * 0.5 + 0.02
    height = points[:, 2] + 1.73
    is_dark = (points[:, 3] < 0.1) & (height > 0.25) & (height < 3.5)
    kept = {row.tobytes() for row in corrupt(points, "incomplete_echo", 5, seed=0)}
    survived = np.array([row.tobytes() in kept for row in points])
    assert survived[~is_dark].all()
    assert survived[is_dark].mean() == pytest.approx(0.05, abs=0.02)


def test_motion_during_the_sweep_shows_behind_and_not_ahead() -> None:
    ring = np.array([[20, 0, 0, 0.5], [0, 20, 0, 0.5], [-20, 1e-4, 0, 0.5]], dtype=np.float32)
    blurred = corrupt(ring, "motion_blur", 5, seed=0)
    np.testing.assert_array_equal(blurred[0], ring[0])
    # Clockwise: what is on the left was measured a quarter of 0.1 s before straight ahead, when the
    # vehicle was 25 m/s * 0.025 s farther back and everything that much farther ahead.
    for i, seconds in ((1, -0.025), (2, -0.05)):
        x, y = ring[i, 0] - 25.0 * seconds, ring[i, 1]
        assert np.hypot(*blurred[i, :2]) == pytest.approx(np.hypot(x, y), rel=1e-5)
        turned = np.arctan2(y, x) - np.arctan2(blurred[i, 1], blurred[i, 0])
        wrapped = (turned + np.pi) % (2 * np.pi) - np.pi
        assert abs(wrapped) == pytest.approx(0.25 * abs(seconds), rel=1e-2)


def test_crosstalk_hits_the_stated_share_and_hard() -> None:
    points = make_scan()
    moved = np.linalg.norm((corrupt(points, "crosstalk", 5, seed=0) - points)[:, :3], axis=1)
    assert (moved > 0).mean() == pytest.approx(0.02, rel=0.15)
    assert np.sqrt((moved[moved > 0] ** 2).mean() / 3) == pytest.approx(3.0, rel=0.1)


def test_uniform_noise_keeps_its_bounds() -> None:
    points = make_scan()
    noise = (corrupt(points, "uniform_noise", 5, seed=0) - points)[:, :3]
    assert 0.099 < np.abs(noise).max() < 0.1001
    assert noise.std() == pytest.approx(0.1 / np.sqrt(3.0), rel=0.03)


def test_impulses_stay_on_their_ray() -> None:
    points = make_scan()
    noisy = corrupt(points, "impulse_noise", 5, seed=0)
    is_hit = (noisy != points).any(axis=1)
    assert is_hit.mean() == pytest.approx(0.1, abs=0.01)
    before, after = points[is_hit, :3], noisy[is_hit, :3]
    cosine = (before * after).sum(axis=1)
    cosine /= np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    np.testing.assert_allclose(cosine, 1.0, atol=1e-5)
    distance = np.linalg.norm(after, axis=1)
    assert distance.min() >= 1.0 - 1e-4
    assert distance.max() <= 100.0 + 1e-3
    assert np.median(distance) == pytest.approx(50.0, rel=0.1)


def test_intensity_noise_has_its_sigma_and_moves_nothing() -> None:
    points = make_scan()
    points[:, 3] = 0.5
    noisy = corrupt(points, "intensity_noise", 3, seed=0)
    np.testing.assert_array_equal(noisy[:, :3], points[:, :3])
    assert noisy[:, 3].std() == pytest.approx(0.1, rel=0.03)


def test_holes_are_balls() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-10, 10, (3000, 4)).astype(np.float32)
    centres = points[:7]
    apart = np.linalg.norm(points[:, None, :3] - centres[None, :, :3], axis=2).min(axis=1)
    np.testing.assert_array_equal(_is_outside_balls(points, centres, 2.0), apart >= 2.0)


@pytest.mark.parametrize(("severity", "degrees"), [(1, 180), (3, 90), (5, 40)])
def test_the_field_of_view_is_a_sector_ahead(severity: int, degrees: float) -> None:
    points = make_scan()
    left = corrupt(points, "field_of_view", severity, seed=0)
    azimuth = np.degrees(np.arctan2(left[:, 1], left[:, 0]))
    assert np.abs(azimuth).max() <= degrees / 2 + 1e-3
    assert len(left) / len(points) == pytest.approx(degrees / 360, abs=0.01)


def test_dirt_stays_where_it_is_and_takes_whole_directions() -> None:
    points = make_scan()
    schedule = [CorruptionWindow("dirt", 5)]
    dirty = corrupt_on_schedule(points, schedule, 0.0, 0)
    np.testing.assert_array_equal(corrupt_on_schedule(points, schedule, 0.9, 9), dirty)
    assert 0.6 < len(dirty) / len(points) < 0.99
    intensity = {row[:3].tobytes(): row[3] for row in points}
    assert all(row[3] <= intensity[row[:3].tobytes()] for row in dirty)
    # Losses lie together: most lost points' right neighbours in the line are lost as well.
    kept = {row[:3].tobytes() for row in dirty}
    lost = np.array([row[:3].tobytes() not in kept for row in points]).reshape(64, 400)
    assert (lost & np.roll(lost, 1, axis=1)).sum() > 0.7 * lost.sum()
