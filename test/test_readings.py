# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All readings of a frame as one vector: names, order of the points, hostile input."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scan_factory import make_scan

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import pillarize
from eloss_perception.detection.points import Sampler
from eloss_perception.health.readings import check_of, checks_of, make_readings, reading_names

LAYERS = ("stage1.conv1", "stage2.conv1")
GRID = PillarGrid(
    point_cloud_range=(0.0, -16.0, -3.0, 32.0, 16.0, 1.0),
    voxel_size=(0.5, 0.5),
    max_pillars=4096,
    max_points_per_pillar=8,
)


def read(points: npt.NDArray[np.float32]) -> dict[str, float]:
    values = make_readings(
        np.array([0.7, 0.6], np.float32),
        np.array([-1.0, -2.0], np.float32),
        Sampler()(points),
        pillarize(points, GRID).counts,
    )
    return dict(zip(reading_names(LAYERS), values.tolist(), strict=True))


def at(*cells: tuple[float, float]) -> npt.NDArray[np.float32]:
    """A point in each of these places."""
    return np.array([[x, y, -1.0, 0.5] for x, y in cells], np.float32).reshape(-1, 4)


def test_names_begin_with_the_layers_and_know_their_check() -> None:
    names = reading_names(LAYERS)
    assert names[:4] == tuple(f"{c}.{layer}" for c in ("entropy", "scale") for layer in LAYERS)
    assert check_of("entropy.stage1.conv1") == "entropy"
    checks = checks_of(names)
    assert len(set(checks)) == len(checks)
    assert {"counts", "range", "elevation", "intensity", "ground", "isolation"} <= set(checks)


def test_the_layers_come_first_and_are_not_changed() -> None:
    values = list(read(make_scan()).values())
    np.testing.assert_allclose(values[:4], [0.7, 0.6, -1.0, -2.0], rtol=1e-6)


def test_the_order_of_the_points_does_not_matter() -> None:
    points = make_scan()
    assert read(np.random.default_rng(1).permutation(points)) == read(points)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e36, 0.0])
@pytest.mark.parametrize("num_points", [0, 1, 3000])
def test_any_input_gives_finite_readings(value: float, num_points: int) -> None:
    points = np.full((num_points, 4), value, np.float32)
    assert np.isfinite(list(read(points).values())).all()


def test_counts_are_those_of_the_pillarizer() -> None:
    points = make_scan()
    counts = pillarize(points, GRID).counts
    found = read(points)
    assert found["counts.in_range"] == pytest.approx(math.log1p(counts.num_in_range))
    assert found["counts.pillars"] == pytest.approx(math.log1p(counts.num_occupied))


@pytest.mark.parametrize("share", [0.0005, 0.3, 0.9])
@pytest.mark.parametrize("nothing", [(np.nan,) * 4, (np.inf,) * 4, (np.nan, np.nan, np.nan, 0.5)])
def test_points_without_a_return_change_no_reading(share: float, nothing: tuple[float]) -> None:
    points = make_scan()
    rng = np.random.default_rng(2)
    num = int(len(points) / (1 - share))
    organised = np.full((num, 4), nothing, np.float32)
    organised[rng.choice(num, len(points), replace=False)] = points
    assert read(organised) == read(points)


def test_returns_that_vanish_do_change_the_counts() -> None:
    points = make_scan()
    few = points.copy()
    few[rng_choice(len(points), 0.95)] = np.nan
    for name in ("counts.in_range", "counts.pillars", "counts.scan_points"):
        assert read(few)[name] < read(points)[name] - 0.5


def rng_choice(num: int, share: float) -> npt.NDArray[np.int64]:
    return np.random.default_rng(3).choice(num, int(share * num), replace=False)


def test_lone_pillars_are_those_without_one_of_eight_neighbours() -> None:
    lone = at((5.2, 0.2), (10.2, 3.2), (20.2, -7.2))
    pairs = at((15.2, 0.2), (15.7, 0.7), (25.2, 5.2), (25.7, 5.2), (25.2, -5.2), (25.2, -4.7))
    edge = at((0.2, 0.2), (31.7, 8.2), (9.2, -15.7), (9.2, 15.7))  # without all their neighbours
    found = read(np.concatenate([lone, pairs, edge]))
    assert found["isolation.lone_pillars"] == pytest.approx(math.log((3 + 5) / (13 + 5)))


def test_pillars_of_a_single_point_are_counted() -> None:
    points = np.concatenate([at((5.2, 0.2), (10.2, 3.2)), at((20.2, 1.2))[[0, 0]]])
    assert read(points)["isolation.single_points"] == pytest.approx(math.log((2 + 5) / (3 + 5)))
