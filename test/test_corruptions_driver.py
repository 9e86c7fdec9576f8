# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Wrong mountings and drivers' mistakes: geometry, persistence, and what needs the scan before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scan_factory import make_scan

from eloss_perception.simulation.corruptions import corrupt
from eloss_perception.simulation.corruptions.scan import fit_road
from eloss_perception.simulation.schedule import CorruptionWindow, corrupt_on_schedule, is_stuck

PERIOD_NS = 100_000_000
TOPIC = "/velodyne_points"
CLOUD = "sensor_msgs/msg/PointCloud2"


@pytest.mark.parametrize(("name", "axis"), [("pitch", 0), ("roll", 1)])
@pytest.mark.parametrize(("severity", "degrees"), [(1, 0.5), (2, 1.0), (5, 3.0)])
def test_a_tilt_turns_the_level_floor_by_its_angle(
    name: str, axis: int, severity: int, degrees: float
) -> None:
    points = make_scan()
    tilted = corrupt(points, name, severity, seed=1)
    plane = fit_road(tilted)
    assert np.degrees(np.arctan(abs(plane[axis]))) == pytest.approx(degrees, abs=0.02)
    assert plane[1 - axis] == pytest.approx(0.0, abs=1e-3)
    assert plane[2] == pytest.approx(-1.73 / np.cos(np.radians(degrees)), abs=1e-2)
    # A rotation about the sensor: every range stays.
    np.testing.assert_allclose(
        np.linalg.norm(tilted[:, :3], axis=1), np.linalg.norm(points[:, :3], axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["pitch", "roll", "height_offset"])
def test_both_signs_occur_but_not_within_a_window(name: str) -> None:
    points = make_scan(40)
    signs = {np.sign(float((corrupt(points, name, 3, s) - points)[::7, 2].sum())) for s in range(9)}
    assert len(signs) == 2
    schedule = [CorruptionWindow(name, 3)]
    first = corrupt_on_schedule(points, schedule, 0.0, 0)
    np.testing.assert_array_equal(corrupt_on_schedule(points, schedule, 3.0, 30), first)


def test_an_offset_moves_all_heights_alike() -> None:
    points = make_scan(40)
    moved = corrupt(points, "height_offset", 4, seed=0) - points
    np.testing.assert_allclose(np.abs(moved[:, 2]), 0.4, atol=1e-5)
    assert np.ptp(moved[:, 2]) < 1e-5
    assert not moved[:, [0, 1, 3]].any()


def test_intensity_of_the_wrong_scale_is_dark_or_saturated() -> None:
    points = make_scan(40)
    points[0, 3] = 0.0
    assert (corrupt(points, "intensity_scale", 5, seed=0)[:, 3] == 0.0).all()
    saturated = corrupt(points, "intensity_saturated", 1, seed=0)[:, 3]
    assert saturated[0] == 0.0
    assert (saturated[points[:, 3] >= 1 / 255] == 1.0).all()


def test_axes_and_frames() -> None:
    points = np.array([[10, 2, -1, 0.3]], dtype=np.float32)
    np.testing.assert_allclose(corrupt(points, "swapped_axes", 1, 0), [[2, 10, -1, 0.3]])
    # Straight ahead is now along y, as in the table of sensors nuScenes' LiDAR has it.
    np.testing.assert_allclose(corrupt(points, "wrong_frame", 1, 0), [[-2, 10, -1, 0.3]])


def test_half_a_turn_is_lost_and_the_same_half_for_a_window() -> None:
    points = make_scan()
    schedule = [CorruptionWindow("halved_rotation", 5)]
    first = corrupt_on_schedule(points, schedule, 0.0, 0)
    assert len(first) / len(points) == pytest.approx(0.5, abs=0.01)
    azimuth = np.sort(np.arctan2(first[:, 1], first[:, 0]))
    gaps = np.diff(np.append(azimuth, azimuth[0] + 2 * np.pi))
    assert gaps.max() == pytest.approx(np.pi, abs=0.05)
    np.testing.assert_array_equal(corrupt_on_schedule(points, schedule, 1.0, 10), first)
    other = corrupt(points, "halved_rotation", 5, seed=77)
    assert other.shape != first.shape or not np.array_equal(other, first)


def test_a_stale_scan_is_the_one_before_bit_for_bit() -> None:
    points, before = make_scan(40, seed=1), make_scan(30, seed=2)
    before[0] = np.nan
    stale = corrupt(points, "stale_scan", 5, 0, before)
    assert stale.tobytes() == before.tobytes()
    assert not np.shares_memory(stale, before)
    np.testing.assert_array_equal(corrupt(points, "stale_scan", 5, 0), points)


def test_a_torn_sweep_is_half_old_and_half_new() -> None:
    points, before = make_scan(), make_scan()
    points[:, 3], before[:, 3] = 0.75, 0.25
    torn = corrupt(points, "time_shift", 3, seed=0, previous=before)
    assert (torn[:, 3] == 0.25).mean() == pytest.approx(0.5, abs=0.01)
    assert len(torn) == pytest.approx(len(points), abs=70)
    # Each direction comes from one of the two only.
    places = {row[:3].tobytes() for row in torn}
    assert len(places) == len(torn)


def test_without_the_scan_before_half_of_the_sweep_is_moved_ahead() -> None:
    points = make_scan()
    moved = (corrupt(points, "time_shift", 5, seed=0) - points)[:, :3]
    assert not moved[:, 1:].any()
    is_late = moved[:, 0] != 0
    assert is_late.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(moved[is_late, 0], 1.0, atol=1e-4)


# ------------------------------------------------------------------------------------ in the player


def scan_of(index: int) -> npt.NDArray[np.float32]:
    points = make_scan(20, seed=index)
    points[:, 3] = index / 10.0
    return points


def play(path: Path, window: CorruptionWindow, num_turns: int = 1) -> list[tuple[int, bytes]]:
    """Stamp [frames since the start] and data of each cloud played from a bag of six scans."""
    pytest.importorskip("rosbags")
    from eloss_perception.datasets.bags import messages
    from eloss_perception.datasets.bags.reader import BagReader
    from eloss_perception.datasets.bags.writer import BagWriter
    from eloss_perception.replay.playback import Playback

    with BagWriter(path) as bag:
        bag.add_topic(TOPIC, CLOUD)
        for index in range(6):
            stamp = 10**18 + index * PERIOD_NS
            bag.write(TOPIC, stamp, messages.point_cloud(scan_of(index), stamp, "velodyne"))
    played = []
    with BagReader(path) as reader:
        playback = Playback(reader, loop=num_turns > 1, corruptions=[window])
        playback.warm_up()
        for number, message in enumerate(playback, 1):
            cloud = reader.typestore.deserialize_cdr(message.data, CLOUD)
            stamp = cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec
            played.append(((stamp - 10**18) // PERIOD_NS, bytes(cloud.data)))
            if number == 6 * num_turns:
                break
    return played


def test_a_stuck_driver_repeats_its_last_scan_under_new_stamps(tmp_path: Path) -> None:
    played = play(tmp_path / "bag", CorruptionWindow("stale_scan", 5, 0.2, 0.5), num_turns=2)
    assert [stamp for stamp, _ in played] == [*range(6), *range(6)]
    shown = [0, 1, 1, 1, 1, 5]
    assert [data for _, data in played] == [scan_of(i).tobytes() for i in shown * 2]


def test_a_driver_that_is_stuck_from_the_start_repeats_the_first_scan(tmp_path: Path) -> None:
    played = play(tmp_path / "bag", CorruptionWindow("stale_scan", 5))
    assert {data for _, data in played} == {scan_of(0).tobytes()}


def test_a_torn_sweep_in_the_player_holds_the_clean_scan_before(tmp_path: Path) -> None:
    played = play(tmp_path / "bag", CorruptionWindow("time_shift", 3, 0.2, 0.5))
    for index, (_, data) in enumerate(played):
        intensity = np.frombuffer(data, np.float32).reshape(-1, 4)[:, 3]
        expected = {index - 1, index} if 2 <= index < 5 else {index}
        assert {round(10 * float(value)) for value in np.unique(intensity)} == expected


def test_stuck_is_who_needs_the_scan_before() -> None:
    windows = [CorruptionWindow("fog", 3), CorruptionWindow("stale_scan", 5, 1.0, 2.0)]
    assert [is_stuck(windows, time) for time in (0.5, 1.0, 2.0)] == [False, True, False]
