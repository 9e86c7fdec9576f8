# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Network outputs to boxes: the head's candidates of each class, then rotated NMS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eloss_perception.detection.boxes import Boxes3D, nms_bev
from eloss_perception.detection.decode_anchors import NUM_ANCHOR_CHANNELS, anchor_candidates
from eloss_perception.detection.decode_center import NUM_BOX_CHANNELS, center_candidates
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import AnchorHead, CenterHead


def num_channels(head: CenterHead | AnchorHead, num_classes: int) -> tuple[int, int]:
    """Channels of a head's logits and of its box parameters."""
    if isinstance(head, CenterHead):
        return num_classes, NUM_BOX_CHANNELS
    return len(head.anchors), len(head.anchors) * NUM_ANCHOR_CHANNELS


def decode(
    class_logits: npt.NDArray[np.float32],
    box_regression: npt.NDArray[np.float32],
    head: CenterHead | AnchorHead,
    grid: PillarGrid,
    score_thresholds: npt.NDArray[np.float32],
    nms_iou: float,
    max_boxes: int,
) -> Boxes3D:
    """Turns the head's maps of one frame into boxes; equal maps give equal boxes, bit for bit.

    Args:
        class_logits: Centre head: (num_classes, H, W) logits of a box centre in each cell; anchor
            head: (A, H, W) logits of each anchor's own class.
        box_regression: Centre head: (9, H, W), see ``detection/decode_center.py``; anchor head:
            (A * 8, H, W), see ``detection/decode_anchors.py``.
        head: The network's head.
        grid: The pillar grid; a head cell is ``head.stride`` of its cells wide.
        score_thresholds: (num_classes,) least probability per class.
        nms_iou: BEV IoU above which the weaker box of a class is removed.
        max_boxes: Most boxes returned.

    Returns:
        Boxes in the network frame, by descending score; labels index the classes. Places with a
        non-finite parameter propose nothing.
    """
    if isinstance(head, CenterHead):
        candidates = center_candidates(class_logits, box_regression, head, grid, score_thresholds)
    else:
        candidates = anchor_candidates(class_logits, box_regression, head, grid, score_thresholds)
    boxes, scores, labels = candidates
    kept = nms_bev(boxes, scores, nms_iou, max_boxes, labels)
    return Boxes3D(boxes[kept], scores[kept], labels[kept])
