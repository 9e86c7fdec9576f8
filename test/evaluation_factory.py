# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labels and results of frames that never were, for the tests of the evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eloss_perception.datasets.kitti import KittiObject
from eloss_perception.evaluation import EvaluationFrame


def car(place=0, height=50.0, **changes):
    """Return an easy car; each place is 10 m and 60 px away from the next."""
    left = 60.0 * place
    item = KittiObject(
        "Car",
        0.0,
        0,
        0.0,
        (left, 100.0, left + 50.0, 100.0 + height),
        (1.5, 1.6, 4.0),
        (10.0 * place, 1.7, 20.0),
        0.0,
    )
    return replace(item, **changes)


def found(item, score, **changes):
    return replace(item, score=score, occlusion=-1, truncation=-1.0, **changes)


def region(place=0):
    return KittiObject(
        "DontCare", -1, -1, -10, car(place).bbox2d, (-1, -1, -1), (-1000, -1000, -1000), -10
    )


def random_frames(rng, num_frames):
    frames = []
    for _ in range(num_frames):
        labels, detections = [], []
        for place in range(6):
            kind = rng.choice(["Car", "Car", "Car", "Van", "Pedestrian", "DontCare"])
            shape = {
                "height": float(rng.choice([20.0, 25.0, 40.0, 50.0, 50.0])),
                "occlusion": int(rng.choice([0, 0, 0, 1, 2, 3])),
                "truncation": float(rng.choice([0.0, 0.0, 0.0, 0.2, 0.4, 0.6])),
            }
            label = region(place) if kind == "DontCare" else car(place, type=str(kind), **shape)
            labels.append(label)
            for _ in range(rng.integers(0, 3)):
                base = car(place, height=shape["height"])
                x, y, z = base.location
                moved = (x + rng.normal(0, 0.3), y + rng.normal(0, 0.1), z + rng.normal(0, 0.1))
                shift = rng.normal(0, 4, 4)
                detections.append(
                    found(
                        base,
                        float(np.round(rng.random(), 2)),
                        location=tuple(float(value) for value in moved),
                        bbox2d=tuple(float(v) for v in np.array(base.bbox2d) + shift),
                        type=str(rng.choice(["Car", "Car", "Car", "Pedestrian"])),
                    )
                )
        frames.append(EvaluationFrame(labels, detections))
    return frames
