# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all corruptions share: contract, severities, hostile points; beams and the schedule."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_factory import make_scan

from eloss_perception.errors import CloudError, ConfigError
from eloss_perception.simulation.corruptions import (
    CORRUPTIONS,
    KINDS,
    SEVERITIES,
    PointArray,
    corrupt,
)
from eloss_perception.simulation.corruptions.sensor import beam_indices
from eloss_perception.simulation.schedule import (
    CorruptionWindow,
    corrupt_on_schedule,
    parse_corruption_window,
)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_every_corruption_keeps_the_contract(name: str, severity: int) -> None:
    points = make_scan()
    before = points.copy()
    first = corrupt(points, name, severity, seed=7)
    again = corrupt(points, name, severity, seed=7)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.shape[1] == 4
    assert len(first) <= len(points)
    assert first.flags.c_contiguous
    assert np.isfinite(first).all()
    assert first[:, 3].min() >= 0.0
    assert first[:, 3].max() <= 1.0
    assert not np.shares_memory(first, points)
    if not CORRUPTIONS[name].needs_previous:
        assert first.shape != points.shape or not np.array_equal(first, points)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_every_corruption_says_what_it_is(name: str) -> None:
    corruption = CORRUPTIONS[name]
    assert corruption.kind in KINDS
    assert len(corruption.what) > 10
    assert len(corruption.source) > 10
    # "2, 4, 6, ...": what has a degree says it for every severity.
    assert (corruption.what.count(",") >= 4) == corruption.has_degree


@pytest.mark.parametrize("name", [n for n, c in CORRUPTIONS.items() if not c.has_degree])
def test_a_mistake_without_degree_is_the_same_at_all(name: str) -> None:
    points, before = make_scan(40), make_scan(40, seed=1)
    least = corrupt(points, name, 1, seed=3, previous=before)
    np.testing.assert_array_equal(corrupt(points, name, 5, seed=3, previous=before), least)


def share_gone(points: PointArray, corrupted: PointArray) -> float:
    """Share of the clean points that are no longer where they were."""
    places = {row.tobytes() for row in np.ascontiguousarray(corrupted[:, :3])}
    return float(np.mean([row.tobytes() not in places for row in points[:, :3]]))


def mean_shift(points: PointArray, corrupted: PointArray) -> float:
    return float(np.linalg.norm((corrupted - points)[:, :3], axis=1).mean())


def intensity_change(points: PointArray, corrupted: PointArray) -> float:
    return float(np.abs(corrupted - points)[:, 3].mean())


def light_lost(points: PointArray, corrupted: PointArray) -> float:
    return 1.0 - float(corrupted[:, 3].sum() / points[:, 3].sum())


SHIFTING = {
    *("gaussian_noise", "uniform_noise", "motion_blur", "pitch", "roll"),
    *("height_offset", "time_shift"),
}


@pytest.mark.parametrize("name", [n for n, c in CORRUPTIONS.items() if c.has_degree])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_severity_does_more_than_the_one_before(name: str, seed: int) -> None:
    points = make_scan(160)
    harm: Callable[[PointArray, PointArray], float] = share_gone
    if name in SHIFTING:
        harm = mean_shift
    elif name in ("rain", "wet_ground"):
        harm = light_lost
    elif name.startswith("intensity"):
        harm = intensity_change
    harms = [harm(points, corrupt(points, name, s, seed)) for s in SEVERITIES]
    assert harms[0] >= 0.0
    assert all(a < b for a, b in itertools.pairwise(harms)), harms


HOSTILE = st.one_of(
    st.floats(-80, 80, width=32),
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 1e-40, 1e-20, 9999.0, 1e30, np.inf, -np.inf, np.nan]),
)


@given(
    rows=st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE, HOSTILE), max_size=12),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 9),
    repeated=st.sampled_from([1, 30]),
)
@settings(max_examples=50, deadline=None)
def test_hostile_points_neither_crash_nor_multiply(
    rows: list[tuple[float, float, float, float]], severity: int, seed: int, repeated: int
) -> None:
    points = np.array(rows * repeated, dtype=np.float32).reshape(-1, 4)
    before = points.copy()
    for name in CORRUPTIONS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            corrupted = corrupt(points, name, severity, seed, before[::2])
        assert points.tobytes() == before.tobytes()
        assert corrupted.shape[1] == 4
        invented = ~np.isfinite(corrupted).all(axis=1)
        assert invented.sum() <= (~np.isfinite(points).all(axis=1)).sum(), name


def test_rows_that_are_no_returns_pass_through_behind_the_others() -> None:
    points = make_scan(40)
    points[5] = np.nan
    points[9, 0] = np.inf
    dropped = corrupt(points, "gaussian_noise", 3, seed=0)
    assert len(dropped) == len(points)
    assert np.isfinite(dropped[:-2]).all()
    assert dropped[-2:].tobytes() == points[[5, 9]].tobytes()


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
@pytest.mark.parametrize("num_points", [0, 1])
def test_nearly_empty_scans_pass(name: str, num_points: int) -> None:
    points = np.full((num_points, 4), 0.5, dtype=np.float32)
    assert corrupt(points, name, 5, seed=0).shape[1] == 4


@pytest.mark.parametrize("name", ["fog", "point_dropout", "gaussian_noise", "crosstalk"])
def test_another_seed_is_another_draw(name: str) -> None:
    points = make_scan()
    first, second = corrupt(points, name, 3, seed=1), corrupt(points, name, 3, seed=2)
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_rows_are_recovered_in_storage_order_and_by_elevation() -> None:
    points = make_scan()
    truth = np.repeat(np.arange(64), 400)
    np.testing.assert_array_equal(beam_indices(points), truth)
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(beam_indices(points[order]), truth[order])


@pytest.mark.parametrize("start", [0, 200])
def test_rows_are_whole_whether_lines_start_ahead_or_behind(start: int) -> None:
    points = np.roll(make_scan().reshape(64, 400, 4), start, axis=1).reshape(-1, 4)
    np.testing.assert_array_equal(beam_indices(points), np.repeat(np.arange(64), 400))


@pytest.mark.parametrize(
    ("name", "severity"), [("snowball", 1), ("fog", 0), ("fog", 6), ("Fog", 3)]
)
def test_nonsense_is_refused_by_name(name: str, severity: int) -> None:
    with pytest.raises(ConfigError, match="valid are"):
        corrupt(make_scan(4), name, severity, seed=0)


def test_wrong_shape_is_a_cloud_error() -> None:
    with pytest.raises(CloudError, match=r"\(3, 3\)"):
        corrupt(np.zeros((3, 3), dtype=np.float32), "fog", 1, seed=0)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("fog:3@5s-10s", CorruptionWindow("fog", 3, 5.0, 10.0)),
        ("fog@5-10", CorruptionWindow("fog", 3, 5.0, 10.0)),
        ("beam_missing:5@2.5s-", CorruptionWindow("beam_missing", 5, 2.5)),
        ("crosstalk:1", CorruptionWindow("crosstalk", 1)),
    ],
)
def test_schedule_syntax(text: str, window: CorruptionWindow) -> None:
    assert parse_corruption_window(text) == window
    assert parse_corruption_window(str(window)) == window


@pytest.mark.parametrize(
    "text",
    ["", "fog:", "fog:x", "fog:3@", "fog:3@5s", "fog:3@10s-5s", "fog:9", "smog:3", "fog:3@1.2.3-4"],
)
def test_schedule_refuses_nonsense(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_corruption_window(text)


@given(st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_window_or_a_config_error(text: str) -> None:
    try:
        window = parse_corruption_window(text)
    except ConfigError:
        return
    assert parse_corruption_window(str(window)) == window


def test_schedule_applies_inside_its_window_only() -> None:
    points = make_scan()
    schedule = [CorruptionWindow("beam_missing", 3, 1.0, 2.0)]
    assert corrupt_on_schedule(points, schedule, 0.99, 9) is points
    assert corrupt_on_schedule(points, schedule, 2.0, 20) is points
    first = corrupt_on_schedule(points, schedule, 1.0, 10)
    later = corrupt_on_schedule(points, schedule, 1.9, 19)
    assert len(first) == 32 * 400
    # A dead beam stays dead.
    np.testing.assert_array_equal(first, later)


def test_fog_differs_from_scan_to_scan() -> None:
    points = make_scan()
    schedule = [CorruptionWindow("fog", 4)]
    first = corrupt_on_schedule(points, schedule, 0.0, 0)
    second = corrupt_on_schedule(points, schedule, 0.1, 1)
    assert first.shape != second.shape or not np.array_equal(first, second)
