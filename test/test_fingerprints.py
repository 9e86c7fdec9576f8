# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sectors that repeat the last scan are found, whatever the order of the points."""

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.health.recent_frames import repeated_share, sector_fingerprints
from eloss_perception.health.scan_statistics import NUM_SECTORS, sector_of


def turn(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(-np.pi, np.pi, 20_000)
    distance = rng.uniform(3, 60, 20_000)
    points = np.column_stack(
        [distance * np.cos(azimuth), distance * np.sin(azimuth), rng.normal(-1, 1, 20_000)]
    )
    return np.column_stack([points, rng.random(20_000)]).astype(np.float32)


def test_every_direction_is_in_one_of_the_sectors() -> None:
    sizes = np.float32([0.0, 1e-45, 1e-30, 1e-7, 1.0, 20.0, 3e5, 3.4e38])
    edges = np.concatenate([np.nextafter(sizes, np.float32(e)) for e in (-1, 1)])
    values = np.concatenate([edges, -edges, np.float32([np.nan, np.inf, -np.inf])])
    with np.errstate(all="ignore"):
        for x in values:
            for y in values:
                # Compiled and, which checks what becomes of an index, interpreted.
                for find in (sector_of, sector_of.py_func):
                    assert 0 <= find(x, y) < NUM_SECTORS
    azimuth = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, 2000)
    for x, y, a in zip(np.cos(azimuth), np.sin(azimuth), azimuth, strict=True):
        # The diamond's corners are those of the quarters.
        assert sector_of(np.float32(9 * x), np.float32(9 * y)) // 4 == int(a / (np.pi / 2))
    assert sector_of(np.float32(1), np.float32(-1e-45)) in (0, NUM_SECTORS - 1)
    assert sector_of(np.float32(1), np.float32(-1e-7)) == NUM_SECTORS - 1


def test_order_does_not_matter_and_every_sector_counts() -> None:
    points = turn(0)
    first = sector_fingerprints(points)
    shuffled = sector_fingerprints(np.random.default_rng(1).permutation(points))
    np.testing.assert_array_equal(first, shuffled)
    assert first.shape == (16,) and (first != 0).all()


def test_one_changed_bit_of_noise_is_another_sector() -> None:
    points = turn(0)
    noisy = points.copy()
    noisy[:, 2] = np.nextafter(noisy[:, 2], np.float32(10))
    assert repeated_share(sector_fingerprints(noisy), sector_fingerprints(points)) == 0.0


@pytest.mark.parametrize("half", [np.s_[:, 1], np.s_[:, 0]], ids=["left", "front"])
def test_a_half_of_the_last_turn_is_half_of_the_sectors(half: tuple) -> None:
    last, now = turn(0), turn(1)
    mixed = np.concatenate([last[last[half] > 0], now[now[half] <= 0]])
    share = repeated_share(sector_fingerprints(mixed), sector_fingerprints(last))
    assert share == pytest.approx(0.5)


def test_the_same_scan_again_is_all_of_it() -> None:
    assert repeated_share(sector_fingerprints(turn(3)), sector_fingerprints(turn(3))) == 1.0


def test_nothing_repeats_nothing() -> None:
    empty = sector_fingerprints(np.zeros((0, 4), np.float32))
    assert (empty == 0).all() and repeated_share(empty, empty) == 0.0


def test_hostile_points_do_no_harm() -> None:
    points = turn(0)
    points[::3] = np.nan
    points[1::3, :2] = np.float32(3e38)
    assert sector_fingerprints(points).dtype == np.uint64
