# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sectors that repeat the last scan are found, whatever the order of the points."""

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.core.fingerprints import repeated_share, sector_fingerprints


def turn(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(-np.pi, np.pi, 20_000)
    distance = rng.uniform(3, 60, 20_000)
    points = np.column_stack(
        [distance * np.cos(azimuth), distance * np.sin(azimuth), rng.normal(-1, 1, 20_000)]
    )
    return np.column_stack([points, rng.random(20_000)]).astype(np.float32)


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
