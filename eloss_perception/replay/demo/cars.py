# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How many of the true cars ahead the detector boxed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import bev_iou, points_in_boxes
from eloss_perception.replay.demo.record import Frame

# A true car counts if it stands ahead within this range [m] and shows at least this many points.
CAR_RANGE_M = 40.0
CAR_MIN_POINTS = 10
CAR_MIN_IOU = 0.5


@dataclass(frozen=True, slots=True)
class CarsFound:
    """How many of the true cars ahead were boxed, by the frame's stamp."""

    num_true: dict[int, int]
    num_found: dict[int, int]

    def share(self, frames: Iterable[Frame]) -> float | None:
        """Share found in these frames; None where there was no car."""
        stamps = [frame.stamp_ns for frame in frames]
        total = sum(self.num_true.get(stamp, 0) for stamp in stamps)
        return sum(self.num_found.get(stamp, 0) for stamp in stamps) / total if total else None


def count_cars(frame: Frame, points: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Returns the number of true cars ahead that the scan shows, and how many of them are boxed."""
    x, y = frame.truth_boxes[:, 0], frame.truth_boxes[:, 1]
    is_car = (frame.truth_labels == 0) & (x > 2.0) & (np.hypot(x, y) < CAR_RANGE_M)
    is_car &= np.abs(y) < x  # within 45 degrees of straight ahead
    cars = frame.truth_boxes[is_car]
    inside = points_in_boxes(points, cars)
    cars = cars[np.bincount(inside[inside >= 0], minlength=len(cars)) >= CAR_MIN_POINTS]
    if frame.boxes is None or not len(cars):
        return len(cars), 0
    found = frame.boxes.boxes[frame.boxes.labels == 0]
    overlap = bev_iou(cars, found)
    return len(cars), int((overlap.max(axis=1, initial=0.0) >= CAR_MIN_IOU).sum())
