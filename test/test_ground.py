# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground of synthetic planes: pitch, roll, height, roughness and brightness come back."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from eloss_perception.detection.points import Sampler
from eloss_perception.health.ground import GROUND_READINGS
from eloss_perception.health.scan_statistics import SCAN_READINGS, scan_readings

Array = npt.NDArray[np.float32]


def plane(
    pitch: float = 0.0,
    roll: float = 0.0,
    height: float = -1.73,
    noise: float = 0.0,
    num_points: int = 200_000,
) -> Array:
    """Points of z = tan(pitch) x + tan(roll) y + height, with noise in z [deg, m]."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-19, 19, (2, num_points))
    z = math.tan(math.radians(pitch)) * x + math.tan(math.radians(roll)) * y + height
    z += rng.normal(0.0, noise, num_points) if noise else 0.0
    return np.column_stack([x, y, z, np.full(num_points, 0.3)]).astype(np.float32)


def ground(points: Array) -> dict[str, float]:
    values = dict(zip(SCAN_READINGS, scan_readings(Sampler()(points)), strict=True))
    return {name.partition(".")[2]: float(values[name]) for name in GROUND_READINGS}


@pytest.mark.parametrize(
    ("pitch", "roll", "height"), [(0, 0, -1.73), (1.5, 0, -1.7), (0, -1, -1.8), (-1, 0.7, -1.6)]
)
def test_a_tilted_plane_is_recovered(pitch: float, roll: float, height: float) -> None:
    found = ground(plane(pitch, roll, height))
    assert found["pitch"] == pytest.approx(pitch, abs=0.02)
    assert found["roll"] == pytest.approx(roll, abs=0.02)
    assert found["height"] == pytest.approx(height, abs=2e-3)
    assert math.exp(found["misfit"]) < 5e-3
    assert found["flat_share"] == pytest.approx(1.0)
    assert math.exp(found["points_share"]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_roughness_is_the_noise_of_the_plane(noise: float) -> None:
    rough = math.exp(ground(plane(noise=noise))["roughness"]) - 1e-3
    # About eight points in each cell: their own mean takes an eighth of the variance.
    assert rough == pytest.approx(noise, rel=0.15)


def test_brightness_is_that_of_the_ground() -> None:
    points = plane()
    walls = plane()
    walls[:, 2] += 1.5
    walls[:, 3] = 0.9
    found = ground(np.concatenate([points, walls[::50]]))
    assert found["brightness"] == pytest.approx(0.3, abs=0.01)


def test_points_under_the_ground_are_counted() -> None:
    below = plane(height=-2.5)[::100]
    assert ground(np.concatenate([plane(), below]))["below"] > ground(plane())["below"] + 2


def test_a_slab_over_the_road_does_not_pose_as_ground() -> None:
    points = plane()
    roof = plane(height=-0.9)
    over = (np.abs(roof[:, 0]) < 6) & (np.abs(roof[:, 1]) < 6)
    under = (np.abs(points[:, 0]) < 6) & (np.abs(points[:, 1]) < 6)
    assert ground(np.concatenate([points[~under], roof[over]]))["height"] == pytest.approx(
        -1.73, abs=0.01
    )


@pytest.mark.parametrize("points", [np.zeros((0, 4)), plane(height=5.0), plane()[:50]])
def test_without_ground_the_readings_are_finite_and_far_from_normal(points: Array) -> None:
    found = ground(points.astype(np.float32))
    assert np.isfinite(list(found.values())).all()
    assert found["points_share"] < -5
    assert found["height"] == 0.0
