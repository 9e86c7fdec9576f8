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

from eloss_perception.core.sampling import Sampler
from eloss_perception.core.scan_statistics import (
    NUM_FINE_BINS,
    NUM_SECTORS,
    NUM_SLOPE_BINS,
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
