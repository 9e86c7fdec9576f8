# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's path around the network, step by step: ours and the same steps in naive NumPy.

The network runs once a scan, untimed; every other step is timed on its real outputs, from the
serialised scan to all messages serialised. The *answer* is what every frame costs; markers and
gauge are made only while someone subscribes to them. Both implementations must give the same
results. The health score is one class in both, so its time counts on both sides.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from benchmarks.speed import naive_host
from benchmarks.speed.naive_messages import detections_message, gauge_message, markers_message
from benchmarks.speed.scans import cloud_of, scan_of
from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.decode import decode
from eloss_perception.detection.heads import CenterHead
from eloss_perception.detection.pillars import Pillarizer
from eloss_perception.detection.points import Sampler
from eloss_perception.detection.sensors import SENSORS, sensor_boxes
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.readings import make_readings
from eloss_perception.health.recent_frames import sector_fingerprints
from eloss_perception.health.scan_statistics import SCAN_READINGS
from eloss_perception.interrupts import check_interrupt
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.gauge import gauge_to_cdr
from eloss_perception.ros.markers import box_markers_to_cdr
from eloss_perception.ros.messages import detections_to_cdr, health_to_msg
from eloss_perception.runtime.backends.base import BackendSettings, NetworkOutputs
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector

NUM_POINTS = 120_000
NMS_IOU, MAX_BOXES = 0.1, 200
GAUGE_OFFSET = (0.0, 0.0, 0.0)
MARKERS = ("markers", "gauge")

Timed = Callable[[str, Callable[[], Any]], Any]
Times = dict[str, list[float]]


def cloud_message(points: np.ndarray) -> PointCloud2:
    """A scan as a driver sends it: x, y, z, intensity as float32."""
    cloud = cloud_of(points)
    msg = PointCloud2(height=1, width=cloud.width, point_step=16, row_step=cloud.row_step)
    msg.header.frame_id = "velodyne"
    msg.fields = [PointField(**asdict(entry)) for entry in cloud.fields]
    msg.data = cloud.data
    return msg


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a frame, for the implementations to be compared."""

    boxes: Boxes3D
    readings: np.ndarray
    counts: Any


class HostPath:
    """The node's steps with one bundle, in both implementations."""

    def __init__(self, bundle: Path) -> None:
        self.detector = Detector(Bundle.load(bundle), settings=BackendSettings(num_threads=1))
        self.reference = self.detector.bundle.require_health()
        self.pillarizer = Pillarizer(self.detector.grid)
        self.sample = Sampler()
        self.monitor = HealthMonitor(self.reference)
        self.naive_monitor = HealthMonitor(self.reference)
        self.sensor = SENSORS["kitti_hdl64"]
        self.names = self.detector.class_names
        head = self.detector.bundle.facts.head
        assert isinstance(head, CenterHead)  # noqa: S101 - the shipped light bundle
        self.head = head
        self.least_score = self.detector.thresholds.score
        self.thresholds = np.full(len(self.names), self.least_score, np.float32)

    def learn(self, wire: bytes) -> NetworkOutputs:
        """The network's outputs of a scan."""
        points = points_from_msg(deserialize_message(wire, PointCloud2), self.sensor)
        backend = self.detector.backend
        found = backend.run(backend.pillarize(points))
        return NetworkOutputs(
            found.class_logits.copy(),
            found.box_regression.copy(),
            found.layer_entropy.copy(),
            found.layer_log_rms.copy(),
        )

    def frame(
        self, wire: bytes, outputs: NetworkOutputs, noise: np.ndarray, number: int, timed: Timed
    ) -> Found:
        """One frame, step by step, as the node takes it.

        `noise` is added to the readings and `number` alters the fingerprints: a repeated scan would
        be judged in no time. `timed` calls a step by its name.
        """
        names, sensor = self.names, self.sensor
        msg = timed("receive (deserialise)", lambda: deserialize_message(wire, PointCloud2))
        points = timed("cloud to points", lambda: points_from_msg(msg, sensor))
        pillars = timed("points to pillars", lambda: self.pillarizer(points))
        logits, regression = outputs.class_logits, outputs.box_regression
        limits = (self.thresholds, NMS_IOU, MAX_BOXES)
        boxes = timed(
            "decode and NMS",
            lambda: decode(logits, regression, self.head, self.detector.grid, *limits),
        )
        counts = pillars.counts

        def read() -> tuple[np.ndarray, np.ndarray]:
            sample = self.sample(points)
            entropy, log_rms = outputs.layer_entropy, outputs.layer_log_rms
            return make_readings(entropy, log_rms, sample, counts), sector_fingerprints(sample)

        readings, prints = timed("readings", read)
        prints = prints + np.uint64(number)
        report = timed("health score", lambda: self.monitor.update(readings + noise, prints))
        boxes, header = sensor_boxes(boxes, sensor), msg.header
        timed("detections", lambda: detections_to_cdr(boxes, names, header))
        health = health_to_msg(report, counts, header)
        timed("health", lambda: serialize_message(health_to_msg(report, counts, header)))
        timed("markers", lambda: box_markers_to_cdr(boxes, names, header))
        timed("gauge", lambda: gauge_to_cdr(health, GAUGE_OFFSET))
        return Found(boxes, readings, counts)

    def naive_frame(
        self, wire: bytes, outputs: NetworkOutputs, noise: np.ndarray, number: int, timed: Timed
    ) -> Found:
        """The same in naive NumPy; arguments as for `frame`."""
        names, grid = self.names, self.detector.grid
        msg = timed("receive (deserialise)", lambda: deserialize_message(wire, PointCloud2))
        points = timed("cloud to points", lambda: naive_host.read_points(msg))
        *_, counts = timed("points to pillars", lambda: naive_host.make_pillars(points, grid))
        logits, regression = outputs.class_logits, outputs.box_regression
        limits = (self.least_score, NMS_IOU, MAX_BOXES)
        boxes = timed(
            "decode and NMS",
            lambda: naive_host.decode(logits, regression, self.head, grid, *limits),
        )

        def read() -> tuple[np.ndarray, np.ndarray]:
            sample = naive_host.quarter(points)
            scan = naive_host.scan_readings(sample)
            ground = naive_host.ground_readings(sample)
            return np.concatenate([scan, ground]), naive_host.fingerprints(sample)

        readings, prints = timed("readings", read)
        prints = prints + np.uint64(number)
        judged = self.reference.mean + noise
        report = timed("health score", lambda: self.naive_monitor.update(judged, prints))
        header = msg.header
        timed(
            "detections",
            lambda: serialize_message(detections_message(boxes, names, header)),
        )
        health = health_to_msg(report, counts, header)
        timed("health", lambda: serialize_message(health_to_msg(report, counts, header)))
        timed(
            "markers",
            lambda: serialize_message(markers_message(boxes, names, header)),
        )
        timed("gauge", lambda: serialize_message(gauge_message(health, GAUGE_OFFSET)))
        return Found(boxes, readings, counts)


def disagreement(ours: Found, naive: Found) -> str | None:
    """What the two implementations do not agree on, or None."""
    if ours.counts != naive.counts:
        return f"counts: {ours.counts} and {naive.counts}"
    if len(ours.boxes) != len(naive.boxes):
        return f"{len(ours.boxes)} and {len(naive.boxes)} boxes"
    if not np.allclose(ours.boxes.boxes, naive.boxes.boxes, atol=1e-3):
        return "boxes"
    of_scan = ours.readings[-len(SCAN_READINGS) :][: len(naive.readings)]
    difference = np.abs(of_scan - naive.readings)
    # A point on the border of a bin is rounded here or there.
    return None if difference.max() < 0.02 else f"readings by {difference.max():.3f}"


class Stopwatch:
    """Milliseconds of every step, one value a frame."""

    def __init__(self) -> None:
        self.times: Times = {}

    def __call__(self, step: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        self.times.setdefault(step, []).append((time.perf_counter() - start) * 1e3)
        return result


class Scales:
    """Most bytes of Python, numpy and rosidl objects that each step needs beyond its beginning."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}

    def __call__(self, step: str, call: Callable[[], Any]) -> Any:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = call()
        peak = tracemalloc.get_traced_memory()[1] - before
        self.peaks[step] = max(peak, self.peaks.get(step, 0))
        return result


def measure(
    num_scans: int, repeats: int, num_points: int = NUM_POINTS, naive_repeats: int = 3
) -> tuple[Times, Times]:
    """Milliseconds of every step, ours and naive, by turns on the same scans.

    Raises:
        RuntimeError: If both do not find the same.
    """
    path = HostPath(default_bundle_path())
    ours, naive = Stopwatch(), Stopwatch()
    rng = np.random.default_rng(0)
    for seed in range(num_scans):
        wire = serialize_message(cloud_message(scan_of(num_points, 5000 + seed, in_order=True)))
        outputs = path.learn(wire)
        for repeat in range(-2, repeats):  # two untimed rounds compile and warm the caches
            check_interrupt()
            noise = rng.normal(0.0, 0.05, len(path.reference.mean)) * path.reference.std
            untimed = Stopwatch() if repeat < 0 else None
            found = path.frame(wire, outputs, noise, repeat + 2, untimed or ours)
            if repeat < 0 or repeat % max(repeats // max(naive_repeats, 1), 1) == 0:
                expected = path.naive_frame(wire, outputs, noise, repeat + 2, untimed or naive)
                if fault := disagreement(found, expected):
                    raise RuntimeError(f"seed {5000 + seed}: ours and naive differ in {fault}")
                path.frame(wire, outputs, noise, repeat + 3, Stopwatch())  # caches are ours again
    return ours.times, naive.times


def bytes_of_a_frame(num_points: int = NUM_POINTS, num_frames: int = 3) -> dict[str, int]:
    """Most bytes that tracemalloc sees each step of a frame take, when all is warm."""
    path = HostPath(default_bundle_path())
    wire = serialize_message(cloud_message(scan_of(num_points, 5000, in_order=True)))
    outputs = path.learn(wire)
    noise = np.zeros(len(path.reference.mean))
    for number in range(3):
        path.frame(wire, outputs, noise, number, Stopwatch())
    scales = Scales()
    tracemalloc.start()
    try:
        path.frame(wire, outputs, noise, 3, Scales())
        for number in range(num_frames):
            check_interrupt()
            path.frame(wire, outputs, noise, 4 + number, scales)
    finally:
        tracemalloc.stop()
    return scales.peaks


def summarise(times: Times) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of every step, of the answer, of markers and gauge, and of both together."""
    table = {step: np.array(values) for step, values in times.items()}
    sums = {
        "answer": sum(values for step, values in table.items() if step not in MARKERS),
        "markers and gauge": sum(values for step, values in table.items() if step in MARKERS),
        "total": sum(table.values()),
    }
    return {
        step: {f"p{q}_ms": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)}
        for step, values in (table | sums).items()
    }


def measure_host(num_scans: int, repeats: int) -> dict[str, Any]:
    """Returns `summarise` of `ours` and `naive` on one core, and the `bytes` of each step."""
    # Of this thread and those it starts; the process keeps its cores.
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        ours, naive = measure(num_scans, repeats)
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
    return {
        "ours": summarise(ours),
        "naive": summarise(naive),
        "bytes": bytes_of_a_frame(),
    }
