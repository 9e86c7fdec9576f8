# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Host time of a frame around the network: its steps at 120,000 points, and its growth with them.

`host_time` times every step from the message to the messages on one core, in turns with the same
steps in naive NumPy (`host_path.py`, needs ROS 2). `host_growth` times the path from the message to
the boxes and the health score from 10,000 to 1,000,000 points, sizes in turns, with the network's
outputs of a scan of that size already known, and looks at what a frame leaves in memory.
"""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.machine import rss_mb
from benchmarks.speed.rows import (
    Benchmark,
    BenchmarkSettings,
    Progress,
    Row,
    Value,
    light_bundle,
    milliseconds,
    ratio,
)
from benchmarks.speed.scans import PointCloud, cloud_of, scan_of
from eloss_perception.detection.sensors import SENSORS
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.runtime.backends.base import Backend, BackendSettings, NetworkOutputs
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detector

_P50_MS, _P99_MS, _TIMES_FASTER = 5.0, 8.0, 8.0
_CPU_BACKEND = "onnxruntime_cpu"
_SEED = 5000
# Caches end somewhere between the smallest and the largest scan: a straight line bends there.
_OFF_THE_LINE = 0.35
# What may stay behind after a second turn through all sizes: pages of the allocator, never arrays.
_LEFT_MB = 2.0
_LEFT_TRACED_KB = 64.0


def measure_host_time(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Times both implementations of every step."""
    from benchmarks.speed.host_path import measure_host

    progress("simulating scans, then timing every step")
    return host_time_row(measure_host(settings.num_scans, settings.repeats))


def host_time_row(figures: dict[str, Any]) -> Row:
    """The row of `host_path.measure_host`'s figures, of both implementations."""
    ours, naive = figures["ours"], figures["naive"]
    p50, p99 = ours["total"]["p50_ms"], ours["total"]["p99_ms"]
    faster = naive["total"]["p50_ms"] / p50
    values: list[Value] = []
    for name, steps in (("", ours), ("naive, ", naive)):
        for step, times in steps.items():
            values.append(milliseconds(f"{name}{step} p50", times["p50_ms"]))
            if step == "total":
                values.append(milliseconds(f"{name}{step} p95", times["p95_ms"]))
                values.append(milliseconds(f"{name}{step} p99", times["p99_ms"]))
    return Row(
        measured=f"p50 {p50:.2f} ms, p99 {p99:.2f} ms; {faster:.1f} x faster than naive NumPy",
        values=(*values, ratio("times faster than naive NumPy", faster)),
        met=p50 <= _P50_MS and p99 <= _P99_MS and faster >= _TIMES_FASTER,
    )


class KnownNetwork:
    """A backend that has run its network already: given outputs, at no time."""

    def __init__(self, backend: Backend, outputs: NetworkOutputs) -> None:
        self._backend = backend
        self._outputs = outputs
        self.description = "known outputs"
        self.pillarize = backend.pillarize

    def run(self, pillars: object) -> NetworkOutputs:
        """The outputs."""
        return self._outputs

    def close(self) -> None:
        """Leaves the backend to its owner."""


class GrowthPath:
    """The node's path around the network.

    Args:
        bundle: Folder of the bundle whose grid, heads and health reference are used.
    """

    def __init__(self, bundle: Path) -> None:
        settings = BackendSettings(num_threads=1)
        self._detector = Detector(Bundle.load(bundle), _CPU_BACKEND, settings)
        self._network = self._detector.backend
        self._monitor = HealthMonitor(self._detector.bundle.require_health())
        self._sensor = SENSORS["kitti_hdl64"]
        self._outputs: dict[int, NetworkOutputs] = {}

    def learn(self, cloud: PointCloud) -> None:
        """Runs the network on a scan once, for its outputs to be known from now on."""
        points = points_from_msg(cloud, self._sensor)
        found = self._network.run(self._network.pillarize(points))
        self._outputs[cloud.width] = NetworkOutputs(
            found.class_logits.copy(),
            found.box_regression.copy(),
            found.layer_entropy.copy(),
            found.layer_log_rms.copy(),
        )

    def __call__(self, cloud: PointCloud) -> float:
        """One frame; returns its milliseconds."""
        self._detector.backend = KnownNetwork(self._network, self._outputs[cloud.width])
        start = time.perf_counter()
        points = points_from_msg(cloud, self._sensor)
        detections = self._detector.detect(points)
        self._monitor.update(detections.readings, detections.fingerprints)
        return (time.perf_counter() - start) * 1e3


def measure_host_growth(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Times all sizes in turns, then looks at memory."""
    progress("simulating scans")
    path = GrowthPath(light_bundle(settings))
    clouds = [cloud_of(scan_of(count, _SEED)) for count in sorted(settings.point_counts)]
    for cloud in clouds:
        path.learn(cloud)
        path(cloud)
    times = np.empty((settings.repeats, len(clouds)))
    for i in range(settings.repeats):
        progress(f"round {i + 1} of {settings.repeats}")
        times[i] = [path(cloud) for cloud in clouds]
    counts = np.array([cloud.width for cloud in clouds], float)
    median = np.median(times, axis=0)
    fixed_ms, slope = fit_line(counts, median)
    off = float(np.abs(median / (fixed_ms + slope * counts) - 1.0).max())
    left_mb, left_kb, peaks = memory_left(path, clouds)
    peak_slope = float(np.polyfit(counts, peaks, 1)[0])
    return Row(
        measured=(
            f"{1e6 * slope:.0f} ns a point + {fixed_ms:.1f} ms, within {off:.0%};"
            f" {left_mb:+.1f} MB left"
        ),
        values=(
            *(
                milliseconds(f"{cloud.width} points", ms)
                for cloud, ms in zip(clouds, median, strict=True)
            ),
            Value("a point", round(1e6 * slope, 2), "ns"),
            milliseconds("a frame without points, by the line", fixed_ms),
            Value("furthest from the line", round(100 * off, 1), "%"),
            Value("working memory at the most points", round(peaks[-1] / 1e6, 2), "MB"),
            Value("working memory a point", round(peak_slope, 1), "bytes"),
            Value("process grew in a second turn", round(left_mb, 2), "MB"),
            Value("arrays and objects left by it", round(left_kb, 1), "kB"),
        ),
        met=off <= _OFF_THE_LINE and left_mb <= _LEFT_MB and left_kb <= _LEFT_TRACED_KB,
    )


def fit_line(
    counts: np.ndarray[tuple[int], np.dtype[np.float64]],
    times: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[float, float]:
    """Returns intercept and slope of the line with the least squares of relative deviations."""
    system = np.column_stack([1.0 / times, counts / times])
    solution = np.linalg.lstsq(system, np.ones(len(times)), rcond=None)[0]
    return float(solution[0]), float(solution[1])


def memory_left(path: GrowthPath, clouds: list[PointCloud]) -> tuple[float, float, list[float]]:
    """What a further turn through all sizes leaves, and what each size needs while it runs.

    Returns:
        Growth of the process [MB], of what tracemalloc follows [kB], and the peak above the
        beginning of a frame for every cloud [bytes].
    """
    for cloud in clouds:
        path(cloud)
    gc.collect()
    before_mb = rss_mb(os.getpid())
    for _ in range(3):
        for cloud in clouds:
            path(cloud)
    gc.collect()
    left_mb = rss_mb(os.getpid()) - before_mb
    peaks = []
    tracemalloc.start()
    try:
        for cloud in clouds:
            path(cloud)
        before = tracemalloc.get_traced_memory()[0]
        for cloud in clouds:
            start = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            path(cloud)
            peaks.append(float(tracemalloc.get_traced_memory()[1] - start))
        gc.collect()
        left_kb = (tracemalloc.get_traced_memory()[0] - before) / 1e3
    finally:
        tracemalloc.stop()
    return left_mb, left_kb, peaks


BENCHMARKS = {
    "host_time": Benchmark(
        what="host time around the network, 120,000 points, one core",
        against="the same steps in naive NumPy",
        bar=f"p50 <= {_P50_MS:g}, p99 <= {_P99_MS:g} ms, {_TIMES_FASTER:g} x faster",
        measure=measure_host_time,
    ),
    "host_growth": Benchmark(
        what="host time as points grow from 10,000 to 1,000,000",
        against="a straight line through itself",
        bar=f"within {_OFF_THE_LINE:.0%} of a line; memory flat",
        measure=measure_host_growth,
    ),
}
