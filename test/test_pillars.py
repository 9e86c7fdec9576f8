# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pillarizer: right content, any point order, limits that are stated and counted."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillarizer, Pillars, pillarize
from eloss_perception.errors import CloudError, ConfigError

GRID = PillarGrid((0.0, -4.0, -3.0, 8.0, 4.0, 1.0), (0.5, 0.5), 200, 4)


def scan(seed: int, num_points: int = 800) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-2, -6, -4, 0), (10, 6, 2, 1), (num_points, 4))
    return points.astype(np.float32)


def assert_equal(a: Pillars, b: Pillars) -> None:
    assert a.counts == b.counts
    for field in ("points", "features", "cell_to_pillar"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def add_up(pillars: Pillars) -> int:
    counts = pillars.counts
    return (
        counts.num_points
        + counts.num_dropped_points
        + counts.num_out_of_range
        + counts.num_non_finite
    )


def test_a_pillar_holds_its_points_relative_to_its_centre() -> None:
    points = np.array([[1.1, 0.2, -1.0, 0.25], [1.4, 0.3, 0.5, 0.75]], np.float32)
    pillars = pillarize(points, GRID)
    assert pillars.counts.num_pillars == 1
    column, row = 2, 8  # x in [1.0, 1.5), y in [0.0, 0.5)
    assert pillars.cell_to_pillar[row * GRID.num_x + column] == 0
    assert np.sum(pillars.cell_to_pillar == 1) == GRID.num_cells - 1  # empty cells: P
    center = np.array([1.25, 0.25, 0.0, 0.0])
    held = pillars.points[0][np.argsort(pillars.points[0][:, 0])]
    np.testing.assert_allclose(held[0], points[0] - center, atol=1e-6)
    np.testing.assert_allclose(held[-1], points[1] - center, atol=1e-6)
    np.testing.assert_allclose(
        pillars.features[0],
        [0.0, 0.0, -0.25, 0.5, np.log(3.0), np.hypot(1.25, 0.25)],
        atol=1e-6,
    )


def test_free_places_repeat_the_first_point() -> None:
    pillars = pillarize(np.array([[1.1, 0.2, -1.0, 0.25]], np.float32), GRID)
    np.testing.assert_array_equal(pillars.points[0], np.repeat(pillars.points[0][:1], 4, axis=0))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_order_of_the_points_does_not_matter(seed: int, permutation_seed: int) -> None:
    points = scan(seed)
    shuffled = np.random.default_rng(permutation_seed).permutation(points)
    assert_equal(pillarize(points, GRID), pillarize(shuffled, GRID))


def test_every_kept_point_is_one_of_the_scan_and_no_pillar_exceeds_its_limit() -> None:
    points = scan(5, 3000)
    pillars = pillarize(points, GRID)
    assert add_up(pillars) == len(points)
    cells = np.flatnonzero(pillars.cell_to_pillar < pillars.counts.num_pillars)
    centers = np.column_stack(
        [(cells % GRID.num_x + 0.5) * 0.5, -4.0 + (cells // GRID.num_x + 0.5) * 0.5]
    )
    absolute = pillars.points.copy()
    absolute[:, :, :2] += centers[:, None]
    available = {tuple(np.round(p, 4)) for p in points.astype(np.float64)}
    kept = {tuple(np.round(p, 4)) for p in absolute.reshape(-1, 4).astype(np.float64)}
    near = sum(1 for p in kept if any(np.abs(np.subtract(p, q)).max() < 2e-4 for q in available))
    assert near == len(kept) == pillars.counts.num_points


def test_pillars_over_capacity_are_dropped_farthest_first_and_counted() -> None:
    grid = PillarGrid(GRID.point_cloud_range, GRID.voxel_size, 10, 4)
    points = scan(7)
    everything, limited = pillarize(points, GRID), pillarize(points, grid)
    assert limited.counts.num_pillars == 10
    assert limited.counts.num_dropped_pillars == everything.counts.num_pillars - 10
    assert add_up(limited) == len(points)
    nearest = np.sort(everything.features[:, 5])[:10]
    np.testing.assert_allclose(np.sort(limited.features[:, 5]), nearest)
    assert_equal(limited, pillarize(points[::-1].copy(), grid))


def plainly(points: np.ndarray, grid: PillarGrid) -> tuple[np.ndarray, np.ndarray]:
    """Points and features as the docstrings have it, one point after the other."""
    x_min, y_min, z_min, x_max, y_max, z_max = grid.point_cloud_range
    cells: dict[int, list[tuple[int, tuple[float, ...]]]] = {}
    for point, bits in zip(points.tolist(), points.view(np.uint32).tolist(), strict=True):
        x, y, z = point[:3]
        if x_min <= x < x_max and y_min <= y < y_max and z_min <= z < z_max:
            column = min(int((x - x_min) / grid.voxel_size[0]), grid.num_x - 1)
            row = min(int((y - y_min) / grid.voxel_size[1]), grid.num_y - 1)
            cells.setdefault(row * grid.num_x + column, []).append((mixed(bits), tuple(point)))
    center = {
        cell: (
            x_min + (cell % grid.num_x + 0.5) * grid.voxel_size[0],
            y_min + (cell // grid.num_x + 0.5) * grid.voxel_size[1],
        )
        for cell in cells
    }
    nearest = sorted(cells, key=lambda cell: (center[cell][0] ** 2 + center[cell][1] ** 2, cell))
    kept = sorted(nearest[: grid.max_pillars])
    pillar_points = np.empty((len(kept), grid.max_points_per_pillar, 4), np.float32)
    features = np.empty((len(kept), 6), np.float32)
    for pillar, cell in enumerate(kept):
        (cx, cy), members = center[cell], sorted(cells[cell])[: grid.max_points_per_pillar]
        moved = [(x - cx, y - cy, z, intensity) for _, (x, y, z, intensity) in members]
        pillar_points[pillar] = moved + [moved[0]] * (grid.max_points_per_pillar - len(moved))
        sums = [0.0, 0.0, 0.0, 0.0]
        for point in moved:
            sums = [total + value for total, value in zip(sums, point, strict=True)]
        means = [total / len(moved) for total in sums]
        features[pillar] = [*means, np.log(1.0 + len(cells[cell])), np.sqrt(cx * cx + cy * cy)]
    return pillar_points, features


def mixed(bits: list[int]) -> int:
    """The hash of a point by its bits."""
    all_bits = (1 << 64) - 1
    key = bits[0] << 32 | bits[1]
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & all_bits
    key ^= bits[2] << 32 | bits[3]
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & all_bits
    return (key ^ (key >> 31)) >> 1


@pytest.mark.parametrize("max_pillars", [200, 90])
@pytest.mark.parametrize("kind", ["even", "crowded", "doubled", "one place", "one point", "empty"])
def test_pillars_are_what_the_obvious_way_makes_of_the_points(kind: str, max_pillars: int) -> None:
    grid = PillarGrid(GRID.point_cloud_range, GRID.voxel_size, max_pillars, 4)
    points = scan(3, 3000)
    if kind == "crowded":
        points[::2, :2] = [1.3, 0.2]
    elif kind == "doubled":
        points = np.concatenate([points, points[::2], points[::3]])
    elif kind == "one place":
        points[:, :3] = [1.3, 0.2, 0.1]
    elif kind == "one point":
        points[:] = [1.3, 0.2, 0.1, 0.5]
    elif kind == "empty":
        points = points[:0]
    pillars = pillarize(points, grid)
    pillar_points, features = plainly(points, grid)
    np.testing.assert_array_equal(pillars.points, pillar_points)
    # The logarithm is another library's here.
    np.testing.assert_allclose(pillars.features, features, rtol=1e-7)
    np.testing.assert_array_equal(pillars.features[:, :4], features[:, :4])


def test_a_stream_is_answered_scan_by_scan_whatever_was_before() -> None:
    pillarizer = Pillarizer(GRID)
    for seed, num_points in enumerate([800, 3000, 0, 50, 2999, 10]):
        points = scan(seed, num_points)
        assert_equal(pillarizer(points), pillarize(points, GRID))


def test_a_stream_is_answered_in_the_same_memory() -> None:
    pillarizer = Pillarizer(GRID)
    points = scan(1, 2500)
    pillarizer(scan(0, 3000))
    pillarizer(points)
    tracemalloc.start()
    try:
        pillarizer(points)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        pillarizer(points)
        assert tracemalloc.get_traced_memory()[1] - before < 8000
    finally:
        tracemalloc.stop()


def test_non_finite_and_distant_points_are_counted_apart() -> None:
    points = np.array(
        [
            [1, 0, 0, 0.5],
            [np.nan, 0, 0, 0.5],
            [1, np.inf, 0, 0.5],
            [1, 0, 0, np.nan],
            [100, 0, 0, 0.5],
            [3e38, 3e38, 0, 0.5],  # finite, though the sum of its coordinates is not
            [8.0, 0, 0, 0.5],  # upper bounds are outside
        ],
        np.float32,
    )
    counts = pillarize(points, GRID).counts
    assert (counts.num_points, counts.num_non_finite, counts.num_out_of_range) == (1, 3, 3)


EDGY = PillarGrid((-20.48, -10.24, -3.0, 20.48, 10.24, 1.0), (0.16, 0.64), 4096, 3)


@pytest.mark.parametrize("max_points", [1, 3])
@pytest.mark.parametrize("grid", [GRID, EDGY], ids=["even", "uneven"])
def test_points_at_every_border_of_the_grid_are_where_the_obvious_way_puts_them(
    grid: PillarGrid, max_points: int
) -> None:
    limits, (size_x, size_y) = grid.point_cloud_range, grid.voxel_size
    grid = PillarGrid(limits, grid.voxel_size, grid.max_pillars, max_points)
    x = around(limits[0] + size_x * np.arange(grid.num_x + 1))
    y = around(limits[1] + size_y * np.arange(grid.num_y + 1))
    z = around(np.array([limits[2], limits[5]]))
    middle = np.float32([limits[3] - 0.01, limits[4] - 0.01, 0.0])
    points = [
        np.stack(np.meshgrid(x, around(np.array([limits[1], limits[4]])), middle[2:]), axis=-1),
        np.stack(np.meshgrid(around(np.array([limits[0], limits[3]])), y, middle[2:]), axis=-1),
        np.stack(np.meshgrid(middle[:1], middle[1:2], z), axis=-1),
    ]
    places = np.concatenate([p.reshape(-1, 3) for p in points])
    scan = np.column_stack([places, np.full(len(places), 0.5)]).astype(np.float32)
    pillars = pillarize(scan, grid)
    pillar_points, features = plainly(scan[np.isfinite(scan).all(axis=1)], grid)
    assert add_up(pillars) == len(scan)
    np.testing.assert_array_equal(pillars.points, pillar_points)
    np.testing.assert_array_equal(pillars.features[:, :4], features[:, :4])


def around(edges: np.ndarray) -> np.ndarray:
    """Each edge, what float32 has next to it, and what is no place."""
    edge = edges.astype(np.float32)
    beside = [np.nextafter(edge, np.float32(end)) for end in (-np.inf, np.inf)]
    return np.concatenate([edge, *beside, np.float32([np.nan, np.inf, -np.inf, 1e30, -1e30])])


def test_three_points_for_one_place_are_fairly_drawn() -> None:
    # Six are wanted of three: that share of all hashes is no 64-bit number.
    grid = PillarGrid(GRID.point_cloud_range, GRID.voxel_size, 200, 1)
    points = scan(2, 3)
    points[:, :3] = [1.3, 0.2, 0.1]
    np.testing.assert_array_equal(pillarize(points, grid).points, plainly(points, grid)[0])


def test_a_point_a_hair_below_the_upper_bound_falls_into_the_last_cell() -> None:
    edge = np.nextafter(np.float32(8.0), np.float32(0.0))
    pillars = pillarize(np.array([[edge, 3.9999998, 0, 0.5]], np.float32), GRID)
    assert pillars.cell_to_pillar[-1] == 0


def test_an_empty_scan_is_a_normal_value() -> None:
    pillars = pillarize(np.zeros((0, 4), np.float32), GRID)
    assert pillars.points.shape == (0, 4, 4) and pillars.features.shape == (0, 6)
    assert (pillars.cell_to_pillar == 0).all()


@pytest.mark.parametrize("points", [np.zeros((3, 3), np.float32), np.zeros((3, 4)), np.zeros(4)])
def test_other_shapes_and_types_are_refused(points: np.ndarray) -> None:
    with pytest.raises(CloudError, match=r"\(N, 4\) float32"):
        pillarize(points, GRID)


@pytest.mark.parametrize(
    ("limits", "size", "max_pillars"),
    [
        ((0, 0, 0, 0, 1, 1), (0.5, 0.5), 10),
        ((0, 0, 0, 1, 1, 1), (0.3, 0.5), 10),
        ((0, 0, 0, 1, 1, 1), (0.5, -0.5), 10),
        ((0, 0, 0, 1, 1, 1), (0.5, 0.5), 0),
        ((0, 0, 0, 1, 1, 1), (1e5, 0.5), 10),  # not one cell
        ((0, 0, 0, 1, 1, 1), (1e-9, 0.5), 10),
        ((0, 0, 0, 1e4, 1e4, 1), (0.5, 0.5), 10),  # more than 32 bits or memory take
        ((0, 0, 0, np.inf, 1, 1), (0.5, 0.5), 10),
        ((0, 0, np.nan, 1, 1, 1), (0.5, 0.5), 10),
        ((0, 0, 0, 1, 1, 1), (0.5, np.nan), 10),
    ],
)
def test_an_impossible_grid_is_refused(limits: tuple, size: tuple, max_pillars: int) -> None:
    with pytest.raises(ConfigError):
        PillarGrid(limits, size, max_pillars, 4)
