# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Host time around the network: where each millisecond of a frame goes, on one core.

The network runs once a scan, untimed; every other step of the node's path is timed on the real
outputs of a full-turn scan, through ROS 2's own serialisation.

    ./run python benchmarks/host_time.py --json host_time.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from eloss_perception.core.decode import decode
from eloss_perception.core.fingerprints import sector_fingerprints
from eloss_perception.core.health import HealthMonitor
from eloss_perception.core.pillars import Pillars, pillarize
from eloss_perception.core.readings import make_readings
from eloss_perception.core.sampling import sample_points
from eloss_perception.core.sensors import SENSORS, sensor_boxes
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.ros.gauge import gauge_to_cdr
from eloss_perception.ros.markers import box_markers_to_cdr
from eloss_perception.ros.messages import detections_to_cdr, health_to_msg
from eloss_perception.runtime.backends.base import BackendSettings, NetworkOutputs
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.scene import simulate_scan

NUM_POINTS = 120_000


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


def full_scan(seed: int) -> np.ndarray:
    """A simulated full turn, topped up by repeating points so that it has exactly 120,000."""
    points = simulate_scan(seed).points
    extra = np.random.default_rng(seed).integers(0, len(points), max(0, NUM_POINTS - len(points)))
    return np.concatenate([points, points[extra]])[:NUM_POINTS]


def read(
    outputs: NetworkOutputs, points: np.ndarray, pillars: Pillars
) -> tuple[np.ndarray, np.ndarray]:
    """What the frame's health is judged by, as the detector reads it."""
    sample = sample_points(points)
    entropy, log_rms = outputs.layer_entropy, outputs.layer_log_rms
    readings = make_readings(entropy, log_rms, sample, pillars.counts)
    return readings, sector_fingerprints(sample)


def measure(num_scans: int, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every step, one value a frame."""
    detector = Detector(Bundle.load(default_bundle_path()), settings=BackendSettings(num_threads=1))
    monitor = HealthMonitor(detector.bundle.require_health())
    sensor, names = SENSORS["kitti_hdl64"], detector.class_names
    thresholds = np.full(len(names), detector.thresholds.score, np.float32)
    times: dict[str, list[float]] = {}
    rng = np.random.default_rng(0)

    def timed(step: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        times.setdefault(step, []).append((time.perf_counter() - start) * 1e3)
        return result

    for seed in range(num_scans):
        wire = serialize_message(cloud_message(full_scan(5000 + seed)))
        warm = detector.detect(points_from_msg(deserialize_message(wire, PointCloud2), sensor))
        outputs = detector.backend.run(
            pillarize(
                points_from_msg(deserialize_message(wire, PointCloud2), sensor), detector.grid
            )
        )
        del warm
        for repeat in range(-2, repeats):  # two untimed rounds compile and warm the caches
            msg = timed("receive (deserialise)", lambda: deserialize_message(wire, PointCloud2))
            points = timed("cloud to points", lambda: points_from_msg(msg, sensor))
            pillars = timed("points to pillars", lambda: pillarize(points, detector.grid))
            boxes = timed(
                "decode and NMS",
                lambda: decode(
                    outputs.class_logits,
                    outputs.box_regression,
                    detector.bundle.facts.head,
                    detector.grid,
                    thresholds,
                    0.1,
                    200,
                ),
            )
            counts = pillars.counts
            readings, fingerprints = timed("readings", lambda: read(outputs, points, pillars))
            # Other noise in every round: a repeated scan would be judged in no time.
            noise = rng.normal(0.0, 0.05, len(readings)) * monitor.reference.std
            prints = fingerprints + np.uint64(repeat + 2)
            report = timed("health score", lambda: monitor.update(readings + noise, prints))
            boxes = sensor_boxes(boxes, sensor)
            header = msg.header
            timed("detections to bytes", lambda: detections_to_cdr(boxes, names, header))
            health = timed("health message", lambda: health_to_msg(report, counts, header))
            timed("health to bytes", lambda: serialize_message(health))
            timed("markers to bytes", lambda: box_markers_to_cdr(boxes, names, header))
            timed("gauge to bytes", lambda: gauge_to_cdr(health, (0.0, 0.0, 0.0)))
            if repeat < 0:
                times = {step: values[:-1] for step, values in times.items()}
    return times


def summarise(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of every step and of their sum frame by frame."""
    table = dict(times)
    table["total"] = np.sum(list(times.values()), axis=0).tolist()
    return {
        step: {f"p{q}_ms": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)}
        for step, values in table.items()
    }


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=10, help="different scans (default 10)")
    parser.add_argument("--repeats", type=int, default=30, help="timed rounds a scan (default 30)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    summary = summarise(measure(arguments.scans, arguments.repeats))
    print(
        f"{NUM_POINTS} points, one core of {platform.processor() or platform.machine()}, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f}"
    )
    print(f"{'step':24}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    for step, row in summary.items():
        print(f"{step:24}" + "".join(f"{row[f'p{q}_ms']:9.3f}" for q in (50, 95, 99)))
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
