# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans of a drive that cost nothing to make, and a bundle and bags to calibrate with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from health_reference_factory import make_reference
from tiny_bundle import write_tiny_bundle

from eloss_perception.datasets.bags import messages
from eloss_perception.datasets.bags.writer import BagWriter
from eloss_perception.runtime.bundle import Bundle, write_reference

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
START_NS = 1_700_000_000 * 10**9


def drive_scan(index: int) -> npt.NDArray[np.float32]:
    """A road between walls whose distance, height and brightness change from place to place."""
    rng = np.random.default_rng(index)
    near, far, tall, bright = rng.uniform([4, 20, 0.5, 0.2], [8, 40, 3.0, 0.5])
    road = rng.uniform((-10, -near, -1.75, 0.0), (20, near, -1.71, bright), (12_000, 4))
    wall = rng.uniform((-far, near, -1.7, 0.3), (far, near + 0.3, tall, 0.6), (2000, 4))
    wall[::2, 1] *= -1.0
    return np.concatenate([road, wall]).astype(np.float32)


def standing_scan(index: int) -> npt.NDArray[np.float32]:
    """The same place in every frame, with the noise of a sensor."""
    points = drive_scan(0)
    points[:, 2] += np.random.default_rng(index).normal(0.0, 0.01, len(points))
    return points


def write_bundle(folder: Path) -> Path:
    """The tiny bundle with a reference in which streets like those above differ."""
    write_tiny_bundle(folder)
    facts = Bundle.load_uncalibrated(folder).facts
    reference = make_reference(facts.layer_names, facts.layer_stages)
    reference = make_reference(
        facts.layer_names, facts.layer_stages, std=np.full(len(reference.mean), 0.12)
    )
    write_reference(folder, reference, 2.0, 20.0)
    return folder


def write_bag(
    path: Path,
    scans: list[npt.NDArray[np.float32]],
    topics: tuple[str, ...] = ("/points",),
    period_s: float = 0.5,
    **changes: Any,
) -> Path:
    """A bag with these clouds on every topic; `changes` replace fields of the messages."""
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, CLOUD_TYPE)
        bag.add_topic("/clock", "rosgraph_msgs/msg/Clock")
        for index, points in enumerate(scans):
            stamp_ns = START_NS + round(index * period_s * 1e9)
            message = messages.point_cloud(points, stamp_ns, "lidar")
            for name, value in changes.items():
                setattr(message, name, value)
            for topic in topics:
                bag.write(topic, stamp_ns, message)
            bag.write(
                "/clock",
                stamp_ns,
                messages.make("rosgraph_msgs/msg/Clock", clock=messages.time_message(stamp_ns)),
            )
    return path
