# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small labelled scans made by hand, and KITTI roots of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eloss_perception.datasets.kitti import (
    Calibration,
    boxes_to_kitti,
    write_image_set,
    write_kitti_frame,
)
from eloss_perception.training.data.frames import Frame

NAMES = ("Car", "Pedestrian", "Cyclist")
SIZES = ((4.0, 1.6, 1.5), (0.8, 0.6, 1.75), (1.8, 0.6, 1.7))
GROUND = -1.73


def make_street(
    seed: int = 0, labels: tuple[int, ...] = (0, 0, 1, 2, -1), ground: float = GROUND
) -> Frame:
    """A flat road with objects that do not overlap, 40 points in each, well inside its faces."""
    rng = np.random.default_rng(seed)
    points = [rng.uniform((4, -15, ground - 0.02, 0), (45, 15, ground + 0.02, 1), (6000, 4))]
    boxes = []
    for place, label in enumerate(labels):
        length, width, height = SIZES[label]
        box = np.array(
            [
                8.0 + 6.0 * place,
                rng.uniform(-3, 3),
                ground + 0.5 * height,
                *(length, width, height),
                rng.uniform(-np.pi, np.pi),
            ]
        )
        inside = rng.uniform(-0.45, 0.45, (40, 3)) * box[3:6]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        inside[:, :2] = inside[:, :2] @ np.array([[cos, sin], [-sin, cos]])
        points.append(np.column_stack([inside + box[:3], rng.random(40)]))
        boxes.append(box)
    return Frame(
        np.concatenate(points).astype(np.float32),
        np.array(boxes, np.float32).reshape(-1, 7),
        np.array(labels, np.int64),
    )


class Streets:
    """A finite source of such scans."""

    def __init__(self, num_frames: int = 4) -> None:
        self.num_frames = num_frames
        self.settings = {"source": "streets"}
        self.num_made = 0

    def frame(self, index: int) -> Frame:
        self.num_made += 1
        return make_street(index % self.num_frames)

    def name(self, index: int) -> str:
        return f"{index % self.num_frames:06d}"

    def stamp(self, index: int) -> bytes:
        return b""


def write_kitti_root(root: Path, num_frames: int = 3, split: str = "train", first: int = 0) -> Path:
    """A KITTI root of such scans; another split can be added to it."""
    calibration = Calibration.synthetic()
    ids = [f"{number:06d}" for number in range(first, first + num_frames)]
    for number, frame_id in enumerate(ids, start=first):
        street = make_street(number)
        names = [NAMES[label] if label >= 0 else "Van" for label in street.labels]
        objects = boxes_to_kitti(street.boxes, names, calibration)
        write_kitti_frame(root, frame_id, street.points, objects, calibration)
    write_image_set(root, split, ids)
    return root
