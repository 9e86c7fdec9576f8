# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The LiDAR simulator: known geometry, occlusion, labels, determinism, consistency in time."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest

from eloss_perception.detection.sensors import LIDARS, LidarModel, lidar_model
from eloss_perception.errors import ConfigError
from eloss_perception.simulation.drive import simulate_drive, simulate_scan
from eloss_perception.simulation.lidar.ground import Ground
from eloss_perception.simulation.lidar.rays import sensor_pose
from eloss_perception.simulation.lidar.render import SceneArrays, render
from eloss_perception.simulation.lidar.response import SensorResponse
from eloss_perception.simulation.objects import cars, people, surroundings
from eloss_perception.simulation.objects.builder import BOX, CYLINDER, ELLIPSOID, SceneBuilder

QUIET = SensorResponse(noise=0.0, dropout=0.0)


def ideal(**changes: object) -> LidarModel:
    """An HDL-64E that hears everything, without noise and without a vehicle under it."""
    return dataclasses.replace(
        LIDARS["hdl64e"],
        range_noise=0.0,
        signal_threshold=0.0,  # type: ignore[arg-type]
        ego_mask_deg=(),
        **changes,
    )


def scan_of(
    builder: SceneBuilder, height: float = 1.73, pitch: float = 0.0, model: LidarModel | None = None
):  # type: ignore[no-untyped-def]
    """Scan what a builder holds, on flat ground, from (0, 0, height)."""
    scene = SceneArrays.from_builder(builder, Ground.flat())
    return render(scene, sensor_pose(0.0, 0.0, height, 0.0, pitch, 0.0), model or ideal(), 5, QUIET)


def test_ground_lies_where_the_beams_meet_it() -> None:
    points = scan_of(SceneBuilder())[0].points
    near = points[np.hypot(points[:, 0], points[:, 1]) < 40.0]
    assert len(near) > 50_000
    np.testing.assert_allclose(near[:, 2], -1.73, atol=0.035)
    # The steepest beam: 25 deg below the horizon from a laser 0.116 m over the frame's origin.
    expected = (1.73 + 0.116) / math.tan(math.radians(25.0))
    assert np.hypot(points[:, 0], points[:, 1]).min() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("far", [1e6, -1e30, 1e300, math.inf, -math.inf, math.nan])
def test_the_ground_has_a_height_at_any_place_or_none(far: float) -> None:
    ground = Ground.flat()
    assert ground.height_at(far, 0.0) == ground.height_at(0.0, far) == 0.0
    assert ground.centre_at(far) == 0.0


def test_pitch_tilts_the_ground_and_keeps_labels_on_it() -> None:
    builder = SceneBuilder()
    cars.add_car(builder, np.random.default_rng(0), (15.0, 0.0, 0.0, 0.3))
    scan, _ = scan_of(builder, pitch=math.radians(2.0))
    ahead = scan.points[(scan.points[:, 0] > 8.0) & (scan.points[:, 0] < 10.0)]
    # Nose down by 2 deg: the ground ahead comes up in the sensor frame.
    assert np.median(ahead[:, 2]) == pytest.approx(
        -1.73 + 9.0 * math.tan(math.radians(2.0)), abs=0.06
    )
    flat, _ = scan_of(builder)
    assert scan.boxes[0, 2] - flat.boxes[0, 2] == pytest.approx(
        15.0 * math.sin(math.radians(2.0)), abs=0.02
    )
    assert scan.boxes[0, 6] == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize(("kind", "expected"), [(BOX, 9.0), (CYLINDER, 9.0), (ELLIPSOID, 9.0)])
def test_range_to_a_solid_ahead(kind: int, expected: float) -> None:
    builder = SceneBuilder()
    owner = builder.add_object((10.0, 0.0, 1.73, 0.0), "Misc", (2.0, 2.0, 2.0))
    builder.add_part(kind, owner, (0.0, 0.0, 0.2), (1.0, 1.0, 1.0), 0.5)
    points = scan_of(builder)[0].points
    ahead = points[
        (np.abs(points[:, 1]) < 0.05)
        & (np.abs(points[:, 2] - 0.2) < 0.1)
        & (points[:, 0] < 12.0)
        & (points[:, 0] > 0)
    ]
    assert len(ahead) > 0
    np.testing.assert_allclose(ahead[:, 0], expected, atol=0.02)


def test_oblique_wall_is_a_plane() -> None:
    builder = SceneBuilder()
    surroundings.add_box(builder, (12.0, 0.0, 0.0, 0.5), (20.0, 0.2, 6.0), 0.5)
    points = scan_of(builder)[0].points
    wall = points[(points[:, 0] > 0) & (points[:, 2] > -1.5)]
    normal = np.array([-math.sin(0.5), math.cos(0.5)])
    offset = (wall[:, :2] - np.array([12.0, 0.0])) @ normal
    assert len(wall) > 1000
    assert np.mean(np.abs(offset - 0.1) < 0.003) > 0.98  # the rest meets the wall's ends


def test_what_stands_behind_a_wall_is_not_seen() -> None:
    builder = SceneBuilder()
    cars.add_car(builder, np.random.default_rng(1), (20.0, 0.0, 0.0, 0.0))
    assert scan_of(builder)[0].num_points[0] > 100
    surroundings.add_box(builder, (10.0, 0.0, 0.0, 0.0), (0.3, 12.0, 4.0), 0.5)
    scan, tracks = scan_of(builder)
    assert len(scan.boxes) == len(tracks) == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("add", [cars.add_car, people.add_pedestrian, people.add_cyclist])
def test_returns_of_an_object_lie_in_its_box(add, seed: int) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    builder = SceneBuilder()
    yaw = float(rng.uniform(-3.0, 3.0))
    add(builder, rng, (9.0, 2.0, 0.0, yaw))
    scan, _ = scan_of(builder)
    box = scan.boxes[0].astype(np.float64)
    off_ground = scan.points[scan.points[:, 2] > -1.73 + 0.1, :3].astype(np.float64)
    assert len(off_ground) > 50
    delta = off_ground - box[:3]
    c, s = math.cos(box[6]), math.sin(box[6])
    local = np.stack(
        [c * delta[:, 0] + s * delta[:, 1], c * delta[:, 1] - s * delta[:, 0], delta[:, 2]], 1
    )
    # Mirrors, bags and elbows stick out a little, in KITTI as well.
    assert np.all(np.abs(local) < 0.5 * box[3:6] + 0.3)
    assert np.mean(np.all(np.abs(local) < 0.5 * box[3:6] + 0.06, axis=1)) > 0.8


def test_foliage_lets_some_rays_pass() -> None:
    builder = SceneBuilder()
    surroundings.add_box(builder, (10.0, 0.0, 0.0, 0.0), (1.0, 30.0, 6.0), 0.5, free_path=1.0)
    surroundings.add_box(builder, (20.0, 0.0, 0.0, 0.0), (0.2, 80.0, 12.0), 0.5)
    points = scan_of(builder)[0].points
    level = points[:, 2] - 0.2 > -0.03 * points[:, 0]
    high = points[level & (np.abs(points[:, 1]) < 0.2 * points[:, 0])]
    passed = np.mean(high[:, 0] > 19.0)
    assert passed == pytest.approx(math.exp(-1.0), abs=0.04)


def test_dark_surfaces_vanish_with_range() -> None:
    counts = []
    for x in (15.0, 60.0):
        builder = SceneBuilder()
        owner = builder.add_object((x, 0.0, 0.0, 0.0), "Misc", (1.0, 1.0, 1.0))
        builder.add_part(BOX, owner, (0.0, 0.0, 1.5), (0.5, 0.1 * x, 0.1 * x), 0.05)
        scan = scan_of(builder, model=dataclasses.replace(LIDARS["hdl64e"]))[0]
        counts.append(int(scan.num_points.sum()))
    assert counts[0] > 1000 > 300 > counts[1]


@pytest.mark.parametrize("seed", [0, 7])
def test_scan_contract(seed: int) -> None:
    scan = simulate_scan(seed, azimuth_limits_deg=(-90.0, 90.0))
    assert scan.points.dtype == np.float32
    assert scan.points.shape[1] == 4
    assert 25_000 < len(scan.points) < 64 * 1076
    assert np.isfinite(scan.points).all()
    assert scan.points[:, 3].min() >= 0.0
    assert scan.points[:, 3].max() <= 1.0
    assert scan.points[:, 0].min() > -0.3
    assert scan.boxes.dtype == np.float32
    assert scan.boxes.shape == (len(scan.labels), 7)
    assert scan.labels.dtype == np.int64
    assert scan.num_points.dtype == np.int32
    assert len(scan.names) == len(scan.labels) == len(scan.num_points)
    assert (scan.num_points > 0).all()
    assert (scan.boxes[:, 3:6] > 0).all()
    assert ((scan.boxes[:, 6] >= -np.pi) & (scan.boxes[:, 6] < np.pi)).all()
    known = {"Car": 0, "Pedestrian": 1, "Cyclist": 2}
    assert [known.get(name, -1) for name in scan.names] == scan.labels.tolist()


def test_same_seed_same_scan() -> None:
    first, second, other = simulate_scan(3), simulate_scan(3), simulate_scan(4)
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert first.names == second.names
    assert not np.array_equal(first.points[:1000], other.points[:1000])


def test_cars_are_as_long_as_those_of_kitti() -> None:
    lengths = [scan.boxes[scan.labels == 0, 3] for scan in (simulate_scan(s) for s in range(6))]
    cars = np.concatenate(lengths)
    assert len(cars) > 40
    assert cars.mean() == pytest.approx(3.88, abs=0.2)


@pytest.mark.parametrize("lidar", sorted(LIDARS))
def test_every_sensor_scans(lidar: str) -> None:
    model = LIDARS[lidar]
    assert (np.diff(model.elevation_deg) < 0).all()
    assert len(model.origin_z) == model.num_beams
    assert len(simulate_scan(1, lidar).points) > 0.4 * model.num_beams * model.num_azimuth


def test_unknown_sensor_and_bad_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match="hdl64e"):
        lidar_model("hdl65")
    with pytest.raises(ConfigError, match="azimuth"):
        simulate_scan(0, azimuth_limits_deg=(90.0, -90.0))
    with pytest.raises(ConfigError, match="rate_hz"):
        simulate_drive(0, 1, rate_hz=0.0)


def test_drive_is_one_world() -> None:
    frames = list(simulate_drive(2, 8))
    assert [b.stamp_ns - a.stamp_ns for a, b in pairwise(frames)] == [100_000_000] * 7
    step = np.diff([frame.ego_pose[0, 3] for frame in frames])
    assert ((step > 0.75) & (step < 1.25)).all()
    tracks: dict[int, list[np.ndarray]] = {}
    sizes: dict[int, np.ndarray] = {}
    for frame in frames:
        assert len(frame.track_ids) == len(frame.scan.boxes) == len(set(frame.track_ids.tolist()))
        for track, box in zip(frame.track_ids.tolist(), frame.scan.boxes, strict=True):
            world = frame.ego_pose @ np.append(box[:3].astype(np.float64), 1.0)
            tracks.setdefault(track, []).append(world[:3])
            np.testing.assert_array_equal(sizes.setdefault(track, box[3:6]), box[3:6])
    long = [np.array(path) for path in tracks.values() if len(path) == len(frames)]
    travel = np.array([np.linalg.norm(path[-1] - path[0]) for path in long])
    still = travel < 0.01
    assert still.sum() >= 3
    assert (~still).any()
    assert (travel < 0.7 * 13.0).all()


def test_drive_is_deterministic() -> None:
    first, second = (list(simulate_drive(5, 2)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.scan.points, b.scan.points)
        np.testing.assert_array_equal(a.ego_pose, b.ego_pose)
