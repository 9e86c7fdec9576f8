# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much detections overlap labels: in the image, seen from above, and in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eloss_perception.datasets.kitti.convert import camera_boxes
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.detection.boxes import bev_iou, iou_3d

METRICS = ("image", "bev", "3d")


@dataclass(frozen=True, slots=True)
class EvaluationFrame:
    """What a frame holds and what was found in it.

    Attributes:
        labels: The annotated objects, `DontCare` regions included.
        detections: The results, each with a score.
        has_image: Whether 2D boxes mean something; without a camera 3D boxes alone are judged.
    """

    labels: Sequence[KittiObject]
    detections: Sequence[KittiObject]
    has_image: bool = True


def frame_overlaps(frame: EvaluationFrame, metric: str) -> NDArray[np.float64]:
    """Return the (detections, labels) IoU matrix of a frame by one of `METRICS`."""
    if metric == "image":
        intersection, area, label_area = _image_intersections(frame.detections, frame.labels)
        union = area[:, None] + label_area[None] - intersection
        return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0.0)
    measure = bev_iou if metric == "bev" else iou_3d
    return measure(camera_boxes(frame.detections), camera_boxes(frame.labels))


def dont_care_shares(frame: EvaluationFrame, metric: str) -> NDArray[np.float64]:
    """Return for each detection the largest share of its area in one `DontCare` region.

    Zero but in the image: the regions have no 3D box, so that in the official program too they
    overlap nothing in bird's-eye view or in space.
    """
    shares = np.zeros(len(frame.detections))
    regions = [item for item in frame.labels if item.is_dont_care]
    if metric != "image" or not regions:
        return shares
    intersection, area, _ = _image_intersections(frame.detections, regions)
    largest = intersection.max(axis=1)
    np.divide(largest, area, out=shares, where=area > 0.0)
    return shares


def _image_intersections(
    a: Sequence[KittiObject], b: Sequence[KittiObject]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the (A, B) intersection areas of 2D boxes [px^2], and the areas (A,) and (B,)."""
    first = np.array([item.bbox2d for item in a]).reshape(-1, 4)
    second = np.array([item.bbox2d for item in b]).reshape(-1, 4)
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.prod(np.clip(end - start, 0.0, None), axis=2)
    first_area: NDArray[np.float64] = np.prod(first[:, 2:] - first[:, :2], axis=1)
    second_area: NDArray[np.float64] = np.prod(second[:, 2:] - second[:, :2], axis=1)
    return intersection, first_area, second_area
