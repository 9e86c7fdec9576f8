# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Corruptions: determinism, what each one may and may not touch, and the schedule's syntax."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eloss_perception.errors import CloudError, ConfigError
from eloss_perception.simulation.beams import HDL64E_ELEVATION, beam_indices
from eloss_perception.simulation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from eloss_perception.simulation.schedule import (
    CorruptionWindow,
    corrupt_on_schedule,
    parse_corruption_window,
)


def make_scan(num_columns: int = 400, seed: int = 0) -> npt.NDArray[np.float32]:
    """An HDL-64E in a room, line by line, each starting straight ahead: (64 * columns, 4)."""
    azimuth = np.tile(np.linspace(0.0, 2.0 * np.pi, num_columns, endpoint=False) + 1e-3, 64)
    elevation = np.repeat(HDL64E_ELEVATION, num_columns)
    direction = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=1,
    )
    walls = np.where(direction > 0, [70.0, 35.0, 3.0], [70.0, 35.0, 1.73])
    distance = (walls / np.maximum(np.abs(direction), 1e-9)).min(axis=1)
    intensity = np.random.default_rng(seed).uniform(0.0, 1.0, len(azimuth))
    points: npt.NDArray[np.float32] = np.column_stack([direction * distance[:, None], intensity])
    return points.astype(np.float32)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_every_corruption_keeps_the_contract(name: str, severity: int) -> None:
    points = make_scan()
    before = points.copy()
    first = corrupt(points, name, severity, seed=7)
    again = corrupt(points, name, severity, seed=7)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.shape[1] == 4
    assert len(first) <= len(points)
    assert np.isfinite(first).all()
    assert first[:, 3].min() >= 0.0
    assert first[:, 3].max() <= 1.0
    assert not np.shares_memory(first, points)
    if not CORRUPTIONS[name].needs_previous:
        assert first.shape != points.shape or not np.array_equal(first, points)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("num_points", [0, 1])
def test_nearly_empty_scans_pass(name: str, num_points: int) -> None:
    points = np.full((num_points, 4), 0.5, dtype=np.float32)
    assert corrupt(points, name, 5, seed=0).shape[1] == 4


@pytest.mark.parametrize("name", ["fog", "point_dropout", "gaussian_noise", "crosstalk"])
def test_another_seed_is_another_draw(name: str) -> None:
    points = make_scan()
    first, second = corrupt(points, name, 3, seed=1), corrupt(points, name, 3, seed=2)
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_fog_moves_points_only_towards_the_sensor_and_along_their_ray() -> None:
    points = make_scan()
    points[:, 3] = np.arange(len(points)) % 2 * 0.5 + 0.2
    foggy = corrupt(points, "fog", 4, seed=3)
    directions = points[:, :3] / np.linalg.norm(points[:, :3], axis=1, keepdims=True)
    foggy_directions = foggy[:, :3] / np.linalg.norm(foggy[:, :3], axis=1, keepdims=True)
    assert np.linalg.norm(foggy[:, :3], axis=1).max() <= np.linalg.norm(points[:, :3], axis=1).max()
    cosines = (foggy_directions[:200] @ directions.T).max(axis=1)
    assert cosines.min() > 1.0 - 1e-5


def test_fog_attenuates_by_beer_lambert() -> None:
    # One bright wall close by: the target's echo stays far above the fog's.
    points = np.array([[8.0, 0.0, 0.0, 0.9]], dtype=np.float32)
    foggy = corrupt(points, "fog", 5, seed=0)
    np.testing.assert_allclose(foggy[0, :3], points[0, :3])
    assert foggy[0, 3] == pytest.approx(0.9 * math.exp(-2.0 * 0.06 * 8.0), rel=1e-5)


def test_view_in_fog_shrinks_with_severity_to_about_25_m() -> None:
    points = make_scan()
    points[:, 3] = 0.2
    far = [
        np.percentile(np.linalg.norm(corrupt(points, "fog", s, seed=0)[:, :3], axis=1), 99.9)
        for s in SEVERITIES
    ]
    assert all(a >= b for a, b in itertools.pairwise(far))
    assert 15.0 < far[-1] < 35.0


def test_rows_are_recovered_in_storage_order_and_by_elevation() -> None:
    points = make_scan()
    truth = np.repeat(np.arange(64), 400)
    np.testing.assert_array_equal(beam_indices(points), truth)
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(beam_indices(points[order]), truth[order])


@pytest.mark.parametrize("start", [0, 200])
def test_rows_are_whole_whether_lines_start_ahead_or_behind(start: int) -> None:
    points = np.roll(make_scan().reshape(64, 400, 4), start, axis=1).reshape(-1, 4)
    np.testing.assert_array_equal(beam_indices(points), np.repeat(np.arange(64), 400))


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


@pytest.mark.parametrize(
    ("name", "severity"), [("snowball", 1), ("fog", 0), ("fog", 6), ("Fog", 3)]
)
def test_nonsense_is_refused_by_name(name: str, severity: int) -> None:
    with pytest.raises(ConfigError, match="valid are"):
        corrupt(make_scan(4), name, severity, seed=0)


def test_wrong_shape_is_a_cloud_error() -> None:
    with pytest.raises(CloudError, match=r"\(3, 3\)"):
        corrupt(np.zeros((3, 3), dtype=np.float32), "fog", 1, seed=0)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("fog:3@5s-10s", CorruptionWindow("fog", 3, 5.0, 10.0)),
        ("fog@5-10", CorruptionWindow("fog", 3, 5.0, 10.0)),
        ("beam_missing:5@2.5s-", CorruptionWindow("beam_missing", 5, 2.5)),
        ("crosstalk:1", CorruptionWindow("crosstalk", 1)),
    ],
)
def test_schedule_syntax(text: str, window: CorruptionWindow) -> None:
    assert parse_corruption_window(text) == window
    assert parse_corruption_window(str(window)) == window


@pytest.mark.parametrize(
    "text",
    ["", "fog:", "fog:x", "fog:3@", "fog:3@5s", "fog:3@10s-5s", "fog:9", "smog:3", "fog:3@1.2.3-4"],
)
def test_schedule_refuses_nonsense(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_corruption_window(text)


@given(st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_window_or_a_config_error(text: str) -> None:
    try:
        window = parse_corruption_window(text)
    except ConfigError:
        return
    assert parse_corruption_window(str(window)) == window


def test_schedule_applies_inside_its_window_only() -> None:
    points = make_scan()
    schedule = [CorruptionWindow("beam_missing", 3, 1.0, 2.0)]
    assert corrupt_on_schedule(points, schedule, 0.99, 9) is points
    assert corrupt_on_schedule(points, schedule, 2.0, 20) is points
    first = corrupt_on_schedule(points, schedule, 1.0, 10)
    later = corrupt_on_schedule(points, schedule, 1.9, 19)
    assert len(first) == 32 * 400
    # A dead beam stays dead.
    np.testing.assert_array_equal(first, later)


def test_fog_differs_from_scan_to_scan() -> None:
    points = make_scan()
    schedule = [CorruptionWindow("fog", 4)]
    first = corrupt_on_schedule(points, schedule, 0.0, 0)
    second = corrupt_on_schedule(points, schedule, 0.1, 1)
    assert first.shape != second.shape or not np.array_equal(first, second)
