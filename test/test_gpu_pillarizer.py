# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU's pillarizer against the CPU's, bit for bit; its kernels are run by the CPU here."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import cuda_on_cpu
import fake_cuda
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_factory import make_scan

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import PointCounts, pillarize
from eloss_perception.errors import BackendError, CloudError
from eloss_perception.runtime.gpu.cuda import CudaContext
from eloss_perception.runtime.gpu.pillarizer import DevicePillarizer, DevicePillars

pytestmark = cuda_on_cpu.needs_compiler

GRID = PillarGrid((0.0, -4.0, -3.0, 8.0, 4.0, 1.0), (0.5, 0.5), 200, 4)
FULL = PillarGrid((0.0, -39.68, -3.0, 69.12, 39.68, 1.0), (0.16, 0.16), 12_000, 32)

Points = npt.NDArray[np.float32]


@dataclass
class Device:
    """The fake GPU with what runs on it."""

    fake: fake_cuda.FakeCuda
    context: CudaContext

    def read(self, pillars: DevicePillars, grid: PillarGrid) -> list[npt.NDArray[np.uint32]]:
        """The bits of the three arrays."""
        rows = pillars.num_rows
        shapes = [
            (pillars.points, (rows, grid.max_points_per_pillar, 4)),
            (pillars.features, (rows, 6)),
            (pillars.cell_to_pillar, (grid.num_cells,)),
        ]
        return [
            self.fake.memory(buffer.pointer, 4 * int(np.prod(shape)))
            .view(np.uint32)
            .reshape(shape)
            .copy()
            for buffer, shape in shapes
        ]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    fake = fake_cuda.install(monkeypatch)
    return Device(fake, CudaContext(0))


def assert_as_on_the_cpu(
    device: Device, pillarizer: DevicePillarizer, points: Points
) -> PointCounts:
    on_device = pillarizer(points)
    on_cpu = pillarize(points, pillarizer.grid)
    assert on_device.counts == on_cpu.counts
    assert on_device.num_pillars == on_device.num_rows == on_cpu.counts.num_pillars
    expected = (on_cpu.points, on_cpu.features, on_cpu.cell_to_pillar)
    for got, wanted in zip(device.read(on_device, pillarizer.grid), expected, strict=True):
        np.testing.assert_array_equal(got, wanted.view(np.uint32))
    return on_cpu.counts


def scan(seed: int, num_points: int = 800) -> Points:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-2, -6, -4, 0), (10, 6, 2, 1), (num_points, 4))
    return points.astype(np.float32)


def hostile_scans() -> dict[str, Points]:
    upper = np.nextafter(np.array([8.0, 4.0, 1.0, 1.0], np.float32), np.float32(-np.inf))
    lower = np.array([0.0, -4.0, -3.0, 0.0], np.float32)
    one_cell = scan(1, 5000)
    one_cell[:, :2] = np.random.default_rng(2).uniform(1.0, 1.49, (5000, 2))
    one_cell[:, 2] = 0.0
    broken = scan(3)
    broken[::3, 0], broken[1::7, 3], broken[2::11, 2] = np.nan, np.inf, -np.inf
    huge = scan(4)
    huge[::2] = np.float32(3e38)
    columns, rows = np.meshgrid(np.arange(16), np.arange(16))
    every_cell = np.column_stack(
        [columns.ravel() * 0.5 + 0.25, rows.ravel() * 0.5 - 3.75, np.zeros(256), np.ones(256)]
    ).astype(np.float32)
    without_return = scan(8)
    without_return[::2, :3] = np.nan  # the intensity stays
    without_return[1::4, :3] = 0.0
    borders = np.arange(-6, 10, 0.5, dtype=np.float32)
    borders = np.concatenate([np.nextafter(borders, np.float32(e)) for e in (-9, 0, 9)])
    corners = np.stack(np.meshgrid(borders, borders, [-3.0, 0.0], [0.5]), axis=-1)
    corners = corners.reshape(-1, 4).astype(np.float32)
    zeros = np.zeros((9, 4), np.float32)
    zeros[::2] *= np.float32(-1.0)  # the bits differ, the places do not
    return {
        "empty": np.zeros((0, 4), np.float32),
        "one point": np.array([[1.1, 0.2, -1.0, 0.25]], np.float32),
        "nothing finite": np.full((300, 4), np.nan, np.float32),
        "nothing in range": np.full((300, 4), 100.0, np.float32),
        "some not finite": broken,
        "no returns": without_return,
        "huge": huge,
        "one cell": one_cell,
        "one point, many times": np.repeat(one_cell[:1], 700, axis=0),
        "every point twice": np.repeat(scan(5), 2, axis=0),
        "few points, many times": np.tile(one_cell[:3], (50, 1)),
        "on the bounds": np.array([upper, lower, [*upper[:2], *lower[2:]], [8, 4, 1, 0]], "f4"),
        "at every border": corners,
        "more pillars than may be": every_cell,
        "signed zeros": zeros,
        "denormal": np.full((20, 4), 1e-42, np.float32) * np.arange(20, dtype="f4")[:, None],
        "many": scan(6, 20_000),
    }


@pytest.mark.parametrize("name", hostile_scans())
def test_hostile_scans(device: Device, name: str) -> None:
    pillarizer = DevicePillarizer(device.context, GRID)
    # The second scan finds what the first has left.
    for points in (scan(7, 3000), hostile_scans()[name]):
        assert_as_on_the_cpu(device, pillarizer, points)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_points_without_a_return_change_no_pillar(device: Device, value: float) -> None:
    pillarizer = DevicePillarizer(device.context, GRID)
    dense = scan(9, 3000)
    expected = device.read(pillarizer(dense), GRID)
    organised = np.full((9000, 4), value, np.float32)
    organised[1::3] = dense
    organised[::3, 3] = 0.5
    counts = assert_as_on_the_cpu(device, pillarizer, organised)
    assert counts.num_non_finite == 6000
    for got, wanted in zip(device.read(pillarizer(organised), GRID), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_scans_are_hostile_in_the_ways_meant() -> None:
    counts = {name: pillarize(points, GRID).counts for name, points in hostile_scans().items()}
    assert counts["more pillars than may be"].num_dropped_pillars == 56
    assert counts["nothing finite"].num_non_finite == 300
    assert counts["no returns"].num_non_finite == 400
    assert counts["one cell"].num_pillars == 1 and counts["one cell"].num_points == 4
    assert counts["on the bounds"].num_out_of_range == 1
    assert counts["one point"].num_single_pillars == counts["one point"].num_lone_pillars == 1


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10_000), st.integers(0, 3000), st.integers(0, 1000))
def test_any_scan_in_any_order_of_the_threads(
    device: Device, seed: int, num_points: int, order_seed: int
) -> None:
    device.fake.order_seed = order_seed
    grid = replace(GRID, max_pillars=1 + seed % 250, max_points_per_pillar=1 + seed % 7)
    pillarizer = DevicePillarizer(device.context, grid, max_points=1)
    assert_as_on_the_cpu(device, pillarizer, scan(seed, num_points))


@pytest.mark.parametrize(
    "grid",
    [
        PillarGrid((-1.0, -1.0, -3.0, 1.0, 1.0, 1.0), (2.0, 2.0), 1, 1),
        PillarGrid((-4.0, -4.0, -3.0, 4.0, 4.0, 1.0), (0.125, 8.0), 40, 3),
        PillarGrid((-4.0, -4.0, -3.0, 4.0, 4.0, 1.0), (8.0, 0.125), 5, 100),
        # The sensor in the middle: four cells each are equally far away.
        PillarGrid((-4.0, -4.0, -3.0, 4.0, 4.0, 1.0), (0.1, 0.1), 333, 5),
        PillarGrid((0.0, -4.0, -3.0, 8.0, 4.0, 1.0), (0.02, 0.02), 700, 8),
    ],
)
def test_grids_of_other_shapes(device: Device, grid: PillarGrid) -> None:
    assert_as_on_the_cpu(device, DevicePillarizer(device.context, grid), scan(8, 4000))


@pytest.mark.parametrize("max_pillars", [16_000, 2_000])
def test_a_whole_scan_on_the_full_grid(device: Device, max_pillars: int) -> None:
    grid = replace(FULL, max_pillars=max_pillars)
    pillarizer = DevicePillarizer(device.context, grid)
    points = make_scan(1875)
    assert len(points) == 120_000
    counts = assert_as_on_the_cpu(device, pillarizer, points)
    assert (counts.num_dropped_pillars > 0) == (max_pillars == 2_000)


def test_neither_threads_at_once_nor_their_order_change_a_bit(device: Device) -> None:
    points = np.concatenate([make_scan(150), np.repeat(make_scan(20), 9, axis=0)])
    pillarizer = DevicePillarizer(device.context, FULL)
    results = []
    for device.fake.order_seed, device.fake.num_workers in ((None, 1), (1, 1), (2, 2), (3, 4)):
        results.append(device.read(pillarizer(points), FULL))
    shuffled = np.random.default_rng(0).permutation(points)
    results.append(device.read(pillarizer(shuffled), FULL))
    for result in results[1:]:
        for got, wanted in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, wanted)


def hashes(points: Points) -> npt.NDArray[np.uint64]:
    """What both pillarizers order a pillar's points by."""
    bits = points.view(np.uint32).astype(np.uint64)
    key = mix(bits[:, 0] << np.uint64(32) | bits[:, 1])
    key ^= bits[:, 2] << np.uint64(32) | bits[:, 3]
    key = (key ^ key >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray((key ^ key >> np.uint64(31)) >> np.uint64(1))


def mix(key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.asarray((key ^ key >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9))


def test_threads_that_all_want_the_same_places(device: Device) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform((1.0, 0.0, -1.0, 0.0), (1.49, 0.49, 0.5, 1.0), (40_000, 4)).astype("f4")
    # Each point takes the first place from the one before, which moves all others on.
    points = points[np.argsort(hashes(points))[::-1]]
    pillarizer = DevicePillarizer(device.context, replace(GRID, max_points_per_pillar=32))
    for device.fake.num_workers in (2, 4):
        assert_as_on_the_cpu(device, pillarizer, points)


def test_points_of_equal_hash_are_kept_in_the_order_of_the_scan(device: Device) -> None:
    x, y = np.linspace(1.0, 1.45, 4000, dtype=np.float32), np.full(4000, 0.3, np.float32)
    key = mix(x.view(np.uint32).astype(np.uint64) << np.uint64(32) | y.view(np.uint32))
    # For each x the one z and intensity that give the hash of the first point, where z fits.
    rest = (key ^ key[0] ^ np.uint64(0x3F000000_3F000000)).astype(">u8").view(">f4")
    points = np.column_stack([x, y, rest.reshape(-1, 2)]).astype(np.float32)
    points = points[(points[:, 2] >= -3) & (points[:, 2] < 1) & np.isfinite(points[:, 3])]
    assert len(points) > 500 and len(np.unique(hashes(points))) == 1
    pillarizer = DevicePillarizer(device.context, GRID)
    for device.fake.order_seed, device.fake.num_workers in ((None, 1), (1, 1), (2, 1), (None, 4)):
        for in_cell in (points, points[::-1].copy(), points[:3]):
            assert assert_as_on_the_cpu(device, pillarizer, in_cell).num_pillars == 1


def test_a_quotient_that_rounds_up_to_the_number_of_cells_is_the_last_cell(device: Device) -> None:
    grid = replace(GRID, point_cloud_range=(0.0, -4.0, -3.0, 8.0 + 2e-15, 4.0 + 2e-15, 1.0))
    points = np.array([[8.0, 4.0, 0.0, 0.5]], np.float32)
    assert assert_as_on_the_cpu(device, DevicePillarizer(device.context, grid), points).num_points


def test_memory_is_taken_once_and_only_points_and_counts_cross_the_bus(device: Device) -> None:
    pillarizer = DevicePillarizer(device.context, GRID, max_points=3000)
    fake = device.fake
    taken, before_up, before_down = fake.num_allocations, fake.num_bytes_up, fake.num_bytes_down
    for num_points in (3000, 1, 2500):
        pillarizer(scan(0, num_points))
    assert fake.num_allocations == taken
    assert fake.num_bytes_up - before_up == 16 * 5501
    assert fake.num_bytes_down - before_down == 3 * 32


def test_a_scan_of_more_points_than_expected_makes_the_memory_grow_once(device: Device) -> None:
    pillarizer = DevicePillarizer(device.context, GRID, max_points=100)
    assert_as_on_the_cpu(device, pillarizer, scan(0, 101))
    taken, held = device.fake.num_allocations, device.fake.num_allocated
    for num_points in (150, 200):
        assert_as_on_the_cpu(device, pillarizer, scan(0, num_points))
    assert device.fake.num_allocations == taken
    assert_as_on_the_cpu(device, pillarizer, scan(0, 1000))
    assert device.fake.num_allocated == held, "the smaller buffers were not given back"


def test_a_scan_there_is_no_memory_for_does_not_spoil_the_next(device: Device) -> None:
    pillarizer = DevicePillarizer(device.context, GRID, max_points=100)
    for call in ("cuMemAlloc", "cuMemHostAlloc", "cuLaunchKernel", "cuStreamSynchronize"):
        device.fake.failures[call] = fake_cuda.OUT_OF_MEMORY
        with pytest.raises(BackendError, match=rf"^{call} failed: CUDA_ERROR_OUT_OF_MEMORY \(out"):
            pillarizer(scan(1, 100_000))
        device.fake.failures.clear()
        assert_as_on_the_cpu(device, pillarizer, scan(2, 90))


@pytest.mark.parametrize("num_points", [0, 1, 2, 3])
def test_missing_rows_are_zero_and_no_cell_points_at_them(device: Device, num_points: int) -> None:
    pillarizer = DevicePillarizer(device.context, GRID, min_rows=2)
    cells_apart = np.column_stack([np.arange(num_points), *np.zeros((3, num_points))])
    points = cells_apart.astype(np.float32)
    pillarizer(scan(0))
    pillars = pillarizer(points)
    expected = pillarize(points, GRID)
    assert (pillars.num_pillars, pillars.num_rows) == (num_points, max(num_points, 2))
    assert pillars.counts == expected.counts
    got = device.read(pillars, GRID)
    np.testing.assert_array_equal(got[0][:num_points], expected.points.view(np.uint32))
    np.testing.assert_array_equal(got[1][:num_points], expected.features.view(np.uint32))
    assert not got[0][num_points:].any() and not got[1][num_points:].any()
    empty = expected.cell_to_pillar == num_points
    assert (got[2][empty] == pillars.num_rows).all()
    np.testing.assert_array_equal(got[2][~empty], expected.cell_to_pillar[~empty])


def test_it_runs_on_another_thread_than_it_was_made_on(device: Device) -> None:
    pillarizer = DevicePillarizer(device.context, GRID)
    results: list[PointCounts] = []
    worker = threading.Thread(target=lambda: results.append(pillarizer(scan(0)).counts))
    worker.start()
    worker.join()
    assert results == [pillarize(scan(0), GRID).counts]


def test_points_that_are_not_contiguous_are_copied_rightly(device: Device) -> None:
    wide = np.column_stack([scan(0), scan(1)])
    assert_as_on_the_cpu(device, DevicePillarizer(device.context, GRID), wide[::2, :4])


@pytest.mark.parametrize("points", [np.zeros((3, 3), "f4"), np.zeros((3, 4)), np.zeros(4, "f4")])
def test_other_shapes_and_types_are_refused(device: Device, points: np.ndarray) -> None:
    with pytest.raises(CloudError, match=r"\(N, 4\) float32"):
        DevicePillarizer(device.context, GRID)(points)


def test_a_grid_beyond_32_bits_is_refused(device: Device) -> None:
    with pytest.raises(BackendError, match="too many"):
        DevicePillarizer(device.context, GRID, min_rows=2**31)


def test_the_logarithm_of_a_count_has_one_float_whatever_the_library() -> None:
    # In units of the last place of a double, the middle between two floats is at 2**28. The
    # logarithms of glibc, LLVM and CUDA are each within two units of the exact value.
    logarithms = np.log(1.0 + np.arange(1, 2_000_000, dtype=np.float64))
    below = (logarithms.view(np.uint64) & np.uint64(2**29 - 1)).astype(np.int64)
    assert np.abs(below - 2**28).min() > 50
