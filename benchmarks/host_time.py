# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Host time around the network on one core: ours and the same steps written plainly, in one run.

The network runs once a scan, untimed; every other step of the node's path is timed on its real
outputs, from the serialised scan to all messages serialised. The *answer* is what every frame
costs; the *pictures* are made only while someone subscribes to them. What is compared with is
`plain_host.py` and `plain_messages.py`; both must find the same. The health score is one class in
both, so its time counts on both sides.

    ./run python benchmarks/host_time.py --json host_time.json

How it grows with the points: `eloss benchmark --only host_growth`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import tracemalloc
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plain_host
import plain_messages
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from benchmarks.speed.scans import scan_of
from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.decode import decode
from eloss_perception.detection.pillars import Pillarizer
from eloss_perception.detection.points import Sampler
from eloss_perception.detection.sensors import SENSORS, sensor_boxes
from eloss_perception.health.fingerprints import sector_fingerprints
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.readings import make_readings
from eloss_perception.health.scan_statistics import SCAN_READINGS
from eloss_perception.interrupts import check_interrupt, run_script
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
PICTURES = ("markers", "gauge")

Timed = Callable[[str, Callable[[], Any]], Any]


def cloud_message(points: np.ndarray) -> PointCloud2:
    """A scan as a driver sends it: x, y, z, intensity as float32."""
    msg = PointCloud2(height=1, width=len(points), point_step=16, row_step=16 * len(points))
    msg.header.frame_id = "velodyne"
    msg.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate(("x", "y", "z", "intensity"))
    ]
    msg.data = array("B", points.tobytes())
    return msg


@dataclass(frozen=True, slots=True)
class Found:
    """What a frame came to, for both ways to be compared."""

    boxes: Boxes3D
    readings: np.ndarray
    counts: Any


class HostPath:
    """The host's steps with one bundle, both ways."""

    def __init__(self, bundle: Path) -> None:
        self.detector = Detector(Bundle.load(bundle), settings=BackendSettings(num_threads=1))
        self.reference = self.detector.bundle.require_health()
        self.pillarizer = Pillarizer(self.detector.grid)
        self.sample = Sampler()
        self.monitor = HealthMonitor(self.reference)
        self.plain_monitor = HealthMonitor(self.reference)
        self.sensor = SENSORS["kitti_hdl64"]
        self.names = self.detector.class_names
        self.head = self.detector.bundle.facts.head
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
        self, wire: bytes, outputs: NetworkOutputs, noise: np.ndarray, turn: int, timed: Timed
    ) -> Found:
        """One frame, step by step, as the node takes it.

        Args:
            wire: The serialised scan.
            outputs: The network's outputs of it.
            noise: Added to the readings: a repeated scan would be judged in no time.
            turn: Number of the frame, which alters the fingerprints for the same reason.
            timed: Calls a step by its name.
        """
        names, sensor = self.names, self.sensor
        msg = timed("receive (deserialise)", lambda: deserialize_message(wire, PointCloud2))
        points = timed("cloud to points", lambda: points_from_msg(msg, sensor))
        pillars = timed("points to pillars", lambda: self.pillarizer(points))
        boxes = timed(
            "decode and NMS",
            lambda: decode(
                outputs.class_logits,
                outputs.box_regression,
                self.head,
                self.detector.grid,
                self.thresholds,
                NMS_IOU,
                MAX_BOXES,
            ),
        )
        counts = pillars.counts

        def read() -> tuple[np.ndarray, np.ndarray]:
            sample = self.sample(points)
            entropy, log_rms = outputs.layer_entropy, outputs.layer_log_rms
            return make_readings(entropy, log_rms, sample, counts), sector_fingerprints(sample)

        readings, prints = timed("readings", read)
        prints = prints + np.uint64(turn)
        report = timed("health score", lambda: self.monitor.update(readings + noise, prints))
        boxes, header = sensor_boxes(boxes, sensor), msg.header
        timed("detections", lambda: detections_to_cdr(boxes, names, header))
        health = health_to_msg(report, counts, header)
        timed("health", lambda: serialize_message(health_to_msg(report, counts, header)))
        timed("markers", lambda: box_markers_to_cdr(boxes, names, header))
        timed("gauge", lambda: gauge_to_cdr(health, GAUGE_OFFSET))
        return Found(boxes, readings, counts)

    def plain_frame(
        self, wire: bytes, outputs: NetworkOutputs, noise: np.ndarray, turn: int, timed: Timed
    ) -> Found:
        """The same, written plainly; arguments as for `frame`."""
        names, grid = self.names, self.detector.grid
        msg = timed("receive (deserialise)", lambda: deserialize_message(wire, PointCloud2))
        points = timed("cloud to points", lambda: plain_host.read_points(msg))
        *_, counts = timed("points to pillars", lambda: plain_host.make_pillars(points, grid))
        boxes = timed(
            "decode and NMS",
            lambda: plain_host.decode(
                outputs.class_logits,
                outputs.box_regression,
                self.head,
                grid,
                self.least_score,
                NMS_IOU,
                MAX_BOXES,
            ),
        )

        def read() -> tuple[np.ndarray, np.ndarray]:
            sample = plain_host.quarter(points)
            scan = plain_host.scan_readings(sample)
            ground = plain_host.ground_readings(sample)
            return np.concatenate([scan, ground]), plain_host.fingerprints(sample)

        readings, prints = timed("readings", read)
        prints = prints + np.uint64(turn)
        judged = self.reference.mean + noise
        report = timed("health score", lambda: self.plain_monitor.update(judged, prints))
        header = msg.header
        timed(
            "detections",
            lambda: serialize_message(plain_messages.detections_message(boxes, names, header)),
        )
        health = health_to_msg(report, counts, header)
        timed("health", lambda: serialize_message(health_to_msg(report, counts, header)))
        timed(
            "markers",
            lambda: serialize_message(plain_messages.markers_message(boxes, names, header)),
        )
        timed(
            "gauge", lambda: serialize_message(plain_messages.gauge_message(health, GAUGE_OFFSET))
        )
        return Found(boxes, readings, counts)


def disagreement(ours: Found, plain: Found) -> str | None:
    """What the two ways do not agree on, if anything."""
    if ours.counts != plain.counts:
        return f"counts: {ours.counts} and {plain.counts}"
    if len(ours.boxes) != len(plain.boxes):
        return f"{len(ours.boxes)} and {len(plain.boxes)} boxes"
    if not np.allclose(ours.boxes.boxes, plain.boxes.boxes, atol=1e-3):
        return "boxes"
    of_scan = ours.readings[-len(SCAN_READINGS) :][: len(plain.readings)]
    difference = np.abs(of_scan - plain.readings)
    # A point on the border of a bin is rounded here or there.
    return None if difference.max() < 0.02 else f"readings by {difference.max():.3f}"


Times = dict[str, list[float]]


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
    num_scans: int, repeats: int, num_points: int = NUM_POINTS, plain_repeats: int = 3
) -> tuple[Times, Times]:
    """Milliseconds of every step, ours and plain, by turns on the same scans.

    Raises:
        RuntimeError: If both do not find the same.
    """
    path = HostPath(default_bundle_path())
    ours, plain = Stopwatch(), Stopwatch()
    rng = np.random.default_rng(0)
    for seed in range(num_scans):
        wire = serialize_message(cloud_message(scan_of(num_points, 5000 + seed, in_order=True)))
        outputs = path.learn(wire)
        for repeat in range(-2, repeats):  # two untimed rounds compile and warm the caches
            check_interrupt()
            noise = rng.normal(0.0, 0.05, len(path.reference.mean)) * path.reference.std
            untimed = Stopwatch() if repeat < 0 else None
            found = path.frame(wire, outputs, noise, repeat + 2, untimed or ours)
            if repeat < 0 or repeat % max(repeats // max(plain_repeats, 1), 1) == 0:
                expected = path.plain_frame(wire, outputs, noise, repeat + 2, untimed or plain)
                if fault := disagreement(found, expected):
                    raise RuntimeError(f"seed {5000 + seed}: ours and plain differ in {fault}")
                path.frame(wire, outputs, noise, repeat + 3, Stopwatch())  # caches are ours again
    return ours.times, plain.times


def bytes_of_a_frame(num_points: int = NUM_POINTS, num_frames: int = 3) -> dict[str, int]:
    """Most bytes that tracemalloc sees each step of a frame take, when all is warm."""
    path = HostPath(default_bundle_path())
    wire = serialize_message(cloud_message(scan_of(num_points, 5000, in_order=True)))
    outputs = path.learn(wire)
    noise = np.zeros(len(path.reference.mean))
    for turn in range(3):
        path.frame(wire, outputs, noise, turn, Stopwatch())
    scales = Scales()
    tracemalloc.start()
    try:
        path.frame(wire, outputs, noise, 3, Scales())
        for turn in range(num_frames):
            check_interrupt()
            path.frame(wire, outputs, noise, 4 + turn, scales)
    finally:
        tracemalloc.stop()
    return scales.peaks


def summarise(times: Times) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of every step, of the answer, of the pictures and of both together."""
    table = {step: np.array(values) for step, values in times.items()}
    sums = {
        "answer": sum(values for step, values in table.items() if step not in PICTURES),
        "pictures": sum(values for step, values in table.items() if step in PICTURES),
        "total": sum(table.values()),
    }
    return {
        step: {f"p{q}_ms": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)}
        for step, values in (table | sums).items()
    }


def print_steps(figures: dict[str, Any]) -> None:
    ours, plain, peaks = figures["ours"], figures["plain"], figures["bytes"]
    print(f"{'':24}{'ours':>27}{'plain':>9}{'':>9}{'ours':>11}")
    print(
        f"{'step':24}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'p50 ms':>9}{'ratio':>9}{'bytes':>11}"
    )
    for step, row in ours.items():
        line = f"{step:24}" + "".join(f"{row[f'p{q}_ms']:9.3f}" for q in (50, 95, 99))
        line += f"{plain[step]['p50_ms']:9.2f}{plain[step]['p50_ms'] / row['p50_ms']:9.1f}"
        print(line + (f"{peaks[step]:11}" if step in peaks else ""))


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scans", type=int, default=10, help="different scans (default 10)")
    add("--repeats", type=int, default=30, help="timed rounds a scan (default 30)")
    add("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ours, plain = measure(arguments.scans, arguments.repeats)
    figures = {"ours": summarise(ours), "plain": summarise(plain)}
    figures |= {"points": NUM_POINTS, "bytes": bytes_of_a_frame()}
    print(
        f"{NUM_POINTS} points, one core of {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}"
    )
    print_steps(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
