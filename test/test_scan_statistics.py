# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of a whole scan: known answers, any order of the points, any input."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_factory import make_scan

from eloss_perception.detection.points import Sampler
from eloss_perception.health import scan_statistics
from eloss_perception.health.scan_statistics import (
    HEIGHT_EDGES,
    INTENSITY_EDGES,
    NUM_FINE_BINS,
    NUM_SECTORS,
    NUM_SLOPE_BINS,
    RANGE_EDGES,
    SCAN_READINGS,
    SLOPE_MAX,
    SLOPE_MIN,
    scan_readings,
)

Array = npt.NDArray[np.float32]


def reading(points: Array, name: str) -> float:
    return float(scan_readings(Sampler()(points))[SCAN_READINGS.index(name)])


def group(points: Array, check: str) -> npt.NDArray[np.float64]:
    values = scan_readings(Sampler()(points))
    return np.array(
        [v for v, n in zip(values, SCAN_READINGS, strict=True) if n.startswith(f"{check}.")]
    )


def cone(slope: float, num_points: int = 20_000, seed: int = 0) -> Array:
    """Points of one ring: z = slope * r, all around, 3 to 18 m away."""
    rng = np.random.default_rng(seed)
    r, azimuth = rng.uniform(3, 18, num_points), rng.uniform(-np.pi, np.pi, num_points)
    columns = [r * np.cos(azimuth), r * np.sin(azimuth), slope * r, np.full(num_points, 0.25)]
    return np.column_stack(columns).astype(np.float32)


def pitched(points: Array, angle: float) -> Array:
    """Turned about y: the front goes down for a positive angle [rad]."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return np.column_stack([points[:, :3] @ turn.T, points[:, 3]]).astype(np.float32)


def test_there_is_a_reading_for_every_name() -> None:
    assert scan_readings(make_scan()).shape == (len(SCAN_READINGS),)
    assert len(set(SCAN_READINGS)) == len(SCAN_READINGS)


def test_the_order_of_the_points_does_not_matter() -> None:
    points = make_scan(num_columns=900)
    first = scan_readings(points)
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(points)
        np.testing.assert_array_equal(scan_readings(shuffled), first)
    np.testing.assert_array_equal(scan_readings(points[::-1]), first)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 4)),
        np.zeros((1, 4)),
        np.full((1000, 4), np.nan),
        np.full((1000, 4), np.inf),
        np.full((1000, 4), -np.inf),
        np.full((1000, 4), 1e36),
        np.tile([[10.0, 1.0, -1.7, 0.5]], (1_000_000, 1)),
        np.tile([[10.0, 1.0, -1.7, np.nan]], (1000, 1)),
        np.tile([[0.0, 0.0, 5.0, 7.0]], (1000, 1)),
        np.tile([[1e-30, -1e-30, 1e-30, -7.0]], (1000, 1)),
    ],
)
def test_any_input_gives_finite_readings(points: npt.NDArray[np.float64]) -> None:
    assert np.isfinite(scan_readings(points.astype(np.float32))).all()


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=0, max_size=1600))
def test_any_bytes_give_finite_readings(data: bytes) -> None:
    points = np.frombuffer(data[: len(data) // 16 * 16], np.float32).reshape(-1, 4)
    assert np.isfinite(scan_readings(points)).all()


def around(*edges: float) -> Array:
    """Each edge of either sign and what float32 has next to it, and what is no number."""
    edge = np.float32([*edges, *(-e for e in edges)])
    below, above = np.nextafter(edge, np.float32(-np.inf)), np.nextafter(edge, np.float32(np.inf))
    special = np.float32([0.0, -0.0, 1e-45, 1e30, -3.4e38, np.nan, np.inf, -np.inf])
    return np.unique(np.concatenate([below, edge, above, special]))


def at_every_edge() -> Array:
    """Points at the edges of cells, ranges, heights, slopes, sectors and intensities."""
    flat = around(0.3, 0.5, 2.5, 10.0, 19.5, 20.0, 300.0)
    heights = around(*HEIGHT_EDGES, 1.0, 4.0)
    grid = np.stack(np.meshgrid(flat, flat, heights, np.float32([0.5])), axis=-1).reshape(-1, 4)
    ahead = around(*RANGE_EDGES)
    line = np.zeros((3 * len(ahead), 4), np.float32)
    for axis in range(3):
        line[axis * len(ahead) : (axis + 1) * len(ahead), axis] = ahead
    bright = np.tile(np.float32([5.0, 1.0, -1.7, 0.0]), (len(around(1.0, *INTENSITY_EDGES)), 1))
    bright[:, 3] = around(1.0, *INTENSITY_EDGES)
    bins = SLOPE_MIN + np.arange(NUM_FINE_BINS + 1) * ((SLOPE_MAX - SLOPE_MIN) / NUM_FINE_BINS)
    slopes = around(*bins)
    steep = np.zeros((len(slopes), 4), np.float32)
    steep[:, 0], steep[:, 2] = 1.0, slopes
    # The eighths of a turn are the only sectors whose edges are exact.
    turn = np.float32([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]])
    round_about = np.concatenate([np.nextafter(turn, np.float32(s)) * 9 for s in (-9, 0, 9)])
    ring = np.column_stack([round_about, 0 * round_about]).astype(np.float32)
    return np.concatenate([grid, line, bright, steep, ring])


def accumulate(points: Array, compiled: bool) -> tuple[npt.NDArray[np.generic], ...]:
    run = scan_statistics._accumulate if compiled else scan_statistics._accumulate.py_func
    tables = ("_RANGE_BINS", "_HEIGHT_BINS", "_INTENSITY_BINS")
    with np.errstate(all="ignore"):
        return tuple(run(points, *(getattr(scan_statistics, name) for name in tables)))


def test_every_point_at_an_edge_is_counted_once_and_within_the_tables() -> None:
    points = at_every_edge()
    ranges, heights, _, fine, intensities, sectors, *_, cells = accumulate(points, compiled=True)
    with np.errstate(all="ignore"):
        x, y, z = points[:, 0], points[:, 1], points[:, 2]
        square = x * x + y * y + z * z
        seen = (square >= 0.3**2) & (square <= 300.0**2) & np.isfinite(points).all(axis=1)
        inside = seen & (np.abs(x) < 20) & (np.abs(y) < 20) & (z > -4) & (z < 1)
        slope = z / np.maximum(np.sqrt(x * x + y * y), np.float32(1e-3))
        leaning = seen & (slope >= SLOPE_MIN) & (slope < SLOPE_MAX)
    for table in (ranges, heights, intensities, sectors):
        assert table.sum() == seen.sum()
    assert fine.sum() == leaning.sum()
    # In float32, as the kernel has it, but no further than the last cell.
    twenty, two = np.float32(20), np.float32(2)
    row = np.minimum(((y[inside] + twenty) * two).astype(int), 79)
    column = np.minimum(((x[inside] + twenty) * two).astype(int), 79)
    expected = np.bincount(row * 80 + column, minlength=6400)
    np.testing.assert_array_equal(cells[:, 0], expected)


def test_the_interpreted_pass_which_checks_every_index_counts_as_many() -> None:
    # Mixed products round otherwise there, so a point may be in the bin beside.
    points = at_every_edge()[::7]
    compiled, interpreted = accumulate(points, True), accumulate(points, False)
    for index in (0, 1, 4, 5):
        assert compiled[index].sum() == interpreted[index].sum()


@pytest.mark.parametrize("x", [19.9, np.nextafter(np.float32(20), np.float32(0)), -5.0])
@pytest.mark.parametrize("y", [np.nextafter(np.float32(20), np.float32(0)), 3.0])
def test_a_point_just_inside_twenty_metres_is_in_the_last_cell(x: float, y: float) -> None:
    points = np.tile(np.float32([x, y, -1.0, 0.5]), (5, 1))
    cells = accumulate(points, compiled=True)[-1]
    cell = min(int((y + 20) * 2), 79) * 80 + min(int((x + 20) * 2), 79)
    assert np.flatnonzero(cells[:, 0]).tolist() == [cell]


def test_non_finite_points_are_left_out() -> None:
    points = make_scan()
    bad = np.full((5000, 4), np.nan, np.float32)
    bad[::2, :3] = make_scan(seed=1)[:2500, :3]  # only the intensity is none
    np.testing.assert_array_equal(
        scan_readings(np.concatenate([bad, points])), scan_readings(points)
    )


def test_the_points_are_counted() -> None:
    counted = scan_readings(cone(-0.1, 40_000))[SCAN_READINGS.index("counts.scan_points")]
    assert math.expm1(counted) == pytest.approx(40_000)


def test_shares_of_the_ranges_add_up_and_follow_the_range() -> None:
    points = cone(-0.05)
    shares = np.exp(group(points, "range"))
    assert shares.sum() == pytest.approx(1.0)
    # 3 to 18 m, evenly: 2.5..5, 5..7.5, 7.5..10, 10..15, 15..20.
    np.testing.assert_allclose(shares[1:6] * 15, [2, 2.5, 2.5, 5, 3], rtol=0.12)
    assert shares[7] < 0.01
    far = points * np.float32([3, 3, 3, 1])
    assert reading(far, "range.to_45m") > reading(points, "range.to_45m") + 3


def test_coarse_slope_bins_are_sums_of_fine_ones() -> None:
    # The bounds and numbers of bins make both products exact, so that no slope falls between two.
    assert NUM_FINE_BINS % NUM_SLOPE_BINS == 0
    slopes = np.random.default_rng(0).uniform(SLOPE_MIN, SLOPE_MAX, 500_000).astype(np.float32)
    width = SLOPE_MAX - SLOPE_MIN
    edges = np.float32(SLOPE_MIN) + np.arange(NUM_SLOPE_BINS, dtype=np.float32) * np.float32(0.04)
    for near in (edges, np.nextafter(edges, np.float32(-9)), np.nextafter(edges, np.float32(9))):
        slopes = np.concatenate([slopes, near])
    above = slopes.astype(np.float64) - SLOPE_MIN
    coarse = (above * (NUM_SLOPE_BINS / width)).astype(int)
    fine = (above * (NUM_FINE_BINS / width)).astype(int)
    np.testing.assert_array_equal(fine // (NUM_FINE_BINS // NUM_SLOPE_BINS), coarse)


def test_lost_beams_leave_gaps_in_the_elevations() -> None:
    points = make_scan(num_columns=1500)
    ring = np.arange(len(points)) // 1500
    before = reading(points, "elevation.gaps")
    lost = points[~np.isin(ring, np.arange(4, 60, 4))]
    assert reading(lost, "elevation.gaps") > before + 0.05


def test_the_envelope_of_a_level_cone_is_its_slope() -> None:
    np.testing.assert_allclose(group(cone(-0.4), "envelope"), -0.4, atol=1e-4)


def test_the_envelope_of_a_tilted_cone_dips_where_it_was_tilted_to() -> None:
    angle = math.radians(2.0)
    envelope = group(pitched(cone(-0.4), angle), "envelope")
    front, back = [0, NUM_SECTORS - 1], [NUM_SECTORS // 2 - 1, NUM_SECTORS // 2]
    # tan(atan(0.4) ± 2°); the k-th lowest of a sector lies near its extreme.
    assert envelope[front].min() == pytest.approx(-math.tan(math.atan(0.4) + angle), abs=4e-3)
    assert envelope[back].max() > -0.4 + 0.02
    assert envelope[NUM_SECTORS // 4] == pytest.approx(-0.4, abs=0.02)


def test_a_few_stray_points_are_no_ring() -> None:
    strays = np.tile(np.float32([[10, 0.5, -9, 0.5]]), (3, 1)) + np.float32([[0], [0.1], [0.2]])
    points = cone(-0.4)
    np.testing.assert_allclose(
        group(np.concatenate([points, strays]), "envelope"), group(points, "envelope"), atol=1e-4
    )


def test_the_emptiest_sector_and_the_centre_of_the_points() -> None:
    points = cone(-0.1, 40_000)
    assert abs(reading(points, "sectors.forward")) < 0.03
    ahead = points[points[:, 0] > 0]
    assert reading(ahead, "sectors.emptiest") < reading(points, "sectors.emptiest") - 2
    # Mean of cos over half a turn is 2 / pi.
    assert reading(ahead, "sectors.forward") == pytest.approx(2 / np.pi, abs=0.03)
    left = points[points[:, 1] > 0]
    assert reading(left, "sectors.left") == pytest.approx(2 / np.pi, abs=0.03)


def test_reach_is_the_mean_range_of_each_side() -> None:
    points = cone(0.0, 40_000)
    points[points[:, 0] > np.abs(points[:, 1]), :3] *= 2.0
    front, left = (reading(points, f"sectors.reach_{side}") for side in ("front", "left"))
    assert front - left == pytest.approx(math.log(2.0), abs=0.05)
    assert math.exp(left) / 100 == pytest.approx(10.5, rel=0.05)  # [cm]


def test_intensity_mean_spread_and_saturation() -> None:
    points = cone(-0.1)
    points[::2, 3] = 0.75
    assert reading(points, "intensity.mean") == pytest.approx(0.5, abs=0.01)
    assert reading(points, "intensity.spread") == pytest.approx(0.25, abs=0.01)
    before = reading(points, "intensity.saturated")
    points[:, 3] = 255.0
    assert reading(points, "intensity.saturated") > before + 3
    assert reading(points, "intensity.mean") == pytest.approx(1.0)
