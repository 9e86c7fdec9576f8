# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A quarter of the points, drawn by their content: fair, bit for bit, of any input."""

from __future__ import annotations

import numpy as np
from scan_factory import make_scan

from eloss_perception.detection.points import Sampler


def rows(points: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in points)


def test_it_is_a_quarter_of_the_points_wherever_they_are() -> None:
    points = make_scan(num_columns=1000)
    sample = Sampler()(points)
    assert sample.dtype == np.float32 and sample.flags.c_contiguous
    assert set(rows(sample)) <= set(rows(points))
    for part in (points, points[points[:, 0] > 0], points[points[:, 3] > 0.5], points[:6400]):
        assert abs(len(Sampler()(part)) / len(part) - 0.25) < 0.03


def test_the_order_of_the_points_does_not_matter() -> None:
    points = make_scan()
    shuffled = np.random.default_rng(0).permutation(points)
    assert rows(Sampler()(shuffled)) == rows(Sampler()(points))
    assert rows(Sampler()(points[::-1])) == rows(Sampler()(points))


def test_another_scan_is_another_draw() -> None:
    points = make_scan()
    points[:, 3] = np.arange(len(points))  # so that each can be told
    moved = points.copy()
    moved[:, :2] += np.random.default_rng(0).normal(0, 0.01, (len(points), 2))
    again = np.isin(Sampler()(moved)[:, 3], Sampler()(points)[:, 3])
    assert abs(again.mean() - 0.25) < 0.05


def test_any_input_is_drawn_from() -> None:
    assert Sampler()(np.zeros((0, 4), np.float32)).shape == (0, 4)
    bits = np.random.default_rng(0).integers(0, 2**32, (40_000, 4), np.uint64).astype(np.uint32)
    sample = Sampler()(bits.view(np.float32))
    assert abs(len(sample) - 10_000) < 400
    assert set(rows(sample)) <= set(rows(bits))  # NaNs keep their bits
    alike = np.tile(np.float32([[3, 4, -1, 0.5]]), (1000, 1))
    assert len(Sampler()(alike)) in (0, 1000)


def test_points_that_are_alike_are_all_drawn_or_none_however_many() -> None:
    (drawn, *_) = Sampler()(make_scan())
    assert len(Sampler()(np.tile(drawn, (20_000, 1)))) == 20_000
    some = np.concatenate([np.tile(drawn, (5_000, 1)), make_scan()])
    assert len(Sampler()(some)) == 5_000 + len(Sampler()(make_scan()))
