# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fog, precipitation and a wet road: distributions and closed forms of the physics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scan_factory import make_scan

from eloss_perception.simulation.corruptions import SEVERITIES, corrupt
from eloss_perception.simulation.corruptions.precipitation import Particles, with_particles
from eloss_perception.simulation.corruptions.scan import (
    BEAM_DIAMETER_M,
    BEAM_DIVERGENCE,
    OVERLAP_FULL_M,
    OVERLAP_START_M,
)
from eloss_perception.simulation.corruptions.weather import _fresnel

FloatArray = npt.NDArray[np.float64]


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


def strongest_particles(
    particles: Particles, num_rays: int, max_range: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Power and range of the strongest echo of each ray, with every particle placed in its beam."""
    # The beam's cone: ranges are drawn from a box over it, and those in the cone are kept.
    widest = BEAM_DIAMETER_M + BEAM_DIVERGENCE * max_range
    volume = 0.25 * np.pi * widest**2 * (max_range - OVERLAP_START_M)
    counts = rng.poisson(particles.intercept / particles.slope * volume, num_rays)
    ray = np.repeat(np.arange(num_rays), counts)
    at = rng.uniform(OVERLAP_START_M, max_range, len(ray))
    beam = BEAM_DIAMETER_M + BEAM_DIVERGENCE * at
    in_cone = rng.random(len(ray)) < (beam / widest) ** 2
    ray, at, beam = ray[in_cone], at[in_cone], beam[in_cone]
    diameter = particles.expansion * rng.exponential(1.0 / particles.slope, len(ray)) * 1e-3
    overlap = np.clip((at - OVERLAP_START_M) / (OVERLAP_FULL_M - OVERLAP_START_M), 0.0, 1.0)
    power = particles.reflectivity * np.minimum((diameter / beam) ** 2, 1.0) / at**2
    power *= overlap * np.exp(-2.0 * particles.extinction * at)
    order = np.lexsort((power, ray))
    strongest = order[np.flatnonzero(np.diff(ray[order], append=num_rays))]
    powers, where = np.zeros(num_rays), np.zeros(num_rays)
    powers[ray[strongest]], where[ray[strongest]] = power[strongest], at[strongest]
    return powers, where


@pytest.mark.parametrize(("distance", "reflectivity"), [(45.0, 0.1), (20.0, 0.05), (13.0, 0.05)])
def test_drawn_flakes_are_distributed_as_placed_ones(distance: float, reflectivity: float) -> None:
    flakes = Particles(1712.0, 1.64, 2.15, 0.2)
    num_rays = 3000
    powers, where = strongest_particles(flakes, num_rays, distance, np.random.default_rng(0))
    target = reflectivity * math.exp(-2.0 * flakes.extinction * distance) / distance**2
    wins = powers > target
    points = np.tile(np.array([[distance, 0, 0, reflectivity]], np.float32), (num_rays, 1))
    snowy = with_particles(points, flakes, np.random.default_rng(1))
    drawn = snowy[snowy[:, 0] < distance - 1e-3]
    sigma = math.sqrt(max(wins.mean() * (1 - wins.mean()), 1e-4) / num_rays)
    assert wins.sum() > 30
    assert len(drawn) / num_rays == pytest.approx(wins.mean(), abs=5 * sigma + 0.003)
    expected = np.percentile(where[wins], [25, 50, 75])
    np.testing.assert_allclose(np.percentile(drawn[:, 0], [25, 50, 75]), expected, rtol=0.12)


def test_snow_falls_between_sensor_and_target() -> None:
    points = make_scan()
    snowy = corrupt(points, "snow", 5, seed=0)
    kept = {row.tobytes() for row in points[:, :3]}
    flakes = snowy[[row.tobytes() not in kept for row in np.ascontiguousarray(snowy[:, :3])]]
    assert 0.01 < len(flakes) / len(points) < 0.3
    distance = np.linalg.norm(flakes[:, :3], axis=1)
    assert distance.min() >= OVERLAP_START_M - 1e-3
    assert np.median(distance) < 10.0
    directions = points[:, :3] / np.linalg.norm(points[:, :3], axis=1, keepdims=True)
    cosines = (flakes[:200, :3] / distance[:200, None] @ directions.T).max(axis=1)
    assert cosines.min() > 1.0 - 1e-5


def test_visibility_in_heavy_snow_is_some_hundred_metres() -> None:
    # ln(20) / extinction, 2.5 mm/h: what meteorologists call heavy snow has less than 500-1000 m.
    heavy = Particles(3800.0 * 2.5**-0.87, 2.55 * 2.5**-0.48, 2.15, 0.2)
    assert 300.0 < math.log(20.0) / heavy.extinction < 1000.0


def test_rain_dims_by_cover_and_air() -> None:
    points = np.array([[6.0, 0.0, 0.0, 0.9]], dtype=np.float32)
    slope = 4.1 * 100.0**-0.21
    extinction = 2.0 * 0.25 * math.pi * 8000.0 * 2.0 / slope**3 * 1e-6
    wet = corrupt(points, "rain", 5, seed=0)
    np.testing.assert_array_equal(wet[0, :3], points[0, :3])
    assert wet[0, 3] == pytest.approx(0.9 * 0.4 * math.exp(-2.0 * extinction * 6.0), rel=1e-5)


def test_rain_takes_the_far_and_dark_and_leaves_few_drops() -> None:
    points = make_scan()
    points[:, 3] = np.arange(len(points)) % 2 * 0.5 + 0.02
    distance = np.linalg.norm(points[:, :3], axis=1)
    wet = corrupt(points, "rain", 5, seed=0)
    kept = {row.tobytes() for row in np.ascontiguousarray(wet[:, :3])}
    survived = np.array([row.tobytes() in kept for row in points[:, :3]])
    is_dark, is_far = points[:, 3] < 0.1, distance > 60.0
    assert survived[is_far & is_dark].mean() < 0.1
    assert survived[is_far & ~is_dark].mean() > 0.9
    assert survived[distance < 15.0].mean() > 0.97
    assert 0 < len(wet) - survived.sum() < 0.03 * len(points)


def test_fresnel_at_the_angles_where_it_is_known() -> None:
    n = 1.33
    brewster = math.cos(math.atan(n))
    expected = [((n - 1) / (n + 1)) ** 2, 0.5 * ((n**2 - 1) / (n**2 + 1)) ** 2, 1.0]
    cosines = np.array([1.0, brewster, 0.0], dtype=np.float32)
    np.testing.assert_allclose(_fresnel(cosines), expected, rtol=1e-3)


def test_a_wet_road_is_dark_below_and_gone_where_rays_are_flat() -> None:
    points = make_scan()
    points[:, 3] = 0.3
    is_floor = np.abs(points[:, 2] + 1.73) < 1e-3
    wet = corrupt(points, "wet_ground", 5, seed=0)
    # Nothing moves, and what is no road stays as it is.
    before = {row.tobytes() for row in points[:, :3]}
    assert all(row.tobytes() in before for row in np.ascontiguousarray(wet[:, :3]))
    high = wet[wet[:, 2] > -1.2]
    assert (high[:, 3] == np.float32(0.3)).all()
    assert len(high) == (points[:, 2] > -1.2).sum()
    floor = wet[np.abs(wet[:, 2] + 1.73) < 1e-3]
    distance = np.linalg.norm(floor[:, :3], axis=1)
    near = floor[distance < 4.1, 3]
    # 25 degrees below the horizon: 65 degrees of incidence, where water reflects 8 %.
    np.testing.assert_allclose(near, 0.3 * 0.5 * (1 - 0.081) ** 2, rtol=0.05)
    assert distance.max() < 45.0 < np.linalg.norm(points[is_floor, :3], axis=1).max()


@pytest.mark.parametrize("name", ["fog", "snow", "rain"])
def test_weather_shortens_the_view(name: str) -> None:
    points = make_scan()
    points[:, 3] = 0.1
    far = [
        (np.linalg.norm(corrupt(points, name, s, seed=0)[:, :3], axis=1) > 40.0).sum()
        for s in SEVERITIES
    ]
    assert all(a > b or a == b == 0 for a, b in itertools.pairwise(far))
