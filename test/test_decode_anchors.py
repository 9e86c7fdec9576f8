# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The anchor head's maps to boxes: round trips, a plain decoder, outputs that are no numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eloss_perception.detection.boxes import nms_bev
from eloss_perception.detection.decode import decode
from eloss_perception.detection.decode_anchors import (
    anchor_boxes,
    anchor_candidates,
    encode_residuals,
)
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import KITTI_ANCHORS, AnchorHead

GRID = PillarGrid((0.0, -8.0, -3.0, 16.0, 8.0, 1.0), (0.5, 0.5), 100, 8)
HEAD = AnchorHead(anchors=KITTI_ANCHORS)
NUM_ANCHORS, SIDE = len(KITTI_ANCHORS), 16  # head cells of 1 m


def maps(fill: float = -10.0) -> tuple[np.ndarray, np.ndarray]:
    logits = np.full((NUM_ANCHORS, SIDE, SIDE), fill, np.float32)
    return logits, np.zeros((NUM_ANCHORS * 8, SIDE, SIDE), np.float32)


def thresholds(value: float = 0.5) -> np.ndarray:
    return np.full(3, value, np.float32)


@given(
    st.integers(0, NUM_ANCHORS - 1),
    st.integers(0, SIDE * SIDE - 1),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 1)),
    st.tuples(st.floats(0.3, 12), st.floats(0.3, 3), st.floats(0.5, 4)),
    st.floats(-math.pi, 3.14159),
)
@settings(max_examples=150, deadline=None)
def test_encode_and_decode_are_inverse(
    anchor: int,
    cell: int,
    offset: tuple[float, float, float],
    size: tuple[float, float, float],
    yaw: float,
) -> None:
    stands = anchor_boxes(HEAD, GRID, anchor, np.array([cell]))
    center = stands[0, :2] + offset[:2]
    box = np.array([[*center, offset[2], *size, yaw]])
    logits, residuals = maps()
    logits[anchor, cell // SIDE, cell % SIDE] = 4.0
    values = encode_residuals(box, stands)[0]
    values[7] = values[7] * 10 - 5  # target probability to logit
    residuals[anchor * 8 : anchor * 8 + 8, cell // SIDE, cell % SIDE] = values
    found = decode(logits, residuals, HEAD, GRID, thresholds(), 0.1, 10)
    assert found.labels.tolist() == [KITTI_ANCHORS[anchor].label]
    assert found.scores[0] == pytest.approx(1 / (1 + math.exp(-4.0)), rel=1e-5)
    np.testing.assert_allclose(found.boxes[0, :6], box[0, :6], rtol=1e-4, atol=1e-4)
    turn = (found.boxes[0, 6] - yaw + math.pi) % (2 * math.pi) - math.pi
    border = (yaw - math.pi / 4) % math.pi  # where the two headings of an axis meet
    if min(border, math.pi - border) > 1e-3:
        assert turn == pytest.approx(0.0, abs=1e-4)
    else:
        assert math.sin(turn) == pytest.approx(0.0, abs=1e-4)


def test_a_yaw_learned_through_its_sine_may_be_a_half_turn_off() -> None:
    """The sine is content with any half turn; the heading's logit alone decides."""
    stands = anchor_boxes(HEAD, GRID, 1, np.array([37]))
    box = np.array([[5.0, -5.0, -1.0, 4.0, 1.7, 1.5, 0.3]])
    for turns in range(-3, 4):
        logits, residuals = maps()
        logits[1, 2, 5] = 4.0
        values = encode_residuals(box, stands)[0]
        values[6] += turns * math.pi
        values[7] = values[7] * 10 - 5
        residuals[8:16, 2, 5] = values
        found = decode(logits, residuals, HEAD, GRID, thresholds(), 0.1, 10)
        np.testing.assert_allclose(found.boxes, box, atol=1e-4)


def plain_decode(logits: np.ndarray, residuals: np.ndarray, least: float) -> list[tuple]:
    """Anchor by anchor and cell by cell, straight from the definition of the channels."""
    result: list[tuple] = []
    for label in range(3):
        candidates: list[Any] = []
        for a, anchor in enumerate(HEAD.anchors):
            for row in range(SIDE):
                for column in range(SIDE):
                    score = 1 / (1 + math.exp(-float(logits[a, row, column])))
                    r = residuals[a * 8 : a * 8 + 8, row, column].astype(float)
                    if anchor.label != label or score < least or not np.isfinite(r).all():
                        continue
                    length, width, height = anchor.size
                    diagonal = math.hypot(length, width)
                    yaw = anchor.yaw + r[6]
                    in_half = (yaw - math.pi / 4) % (2 * math.pi) < math.pi
                    if in_half != (r[7] >= 0):
                        yaw += math.pi
                    yaw = (yaw + math.pi) % (2 * math.pi) - math.pi
                    box = (
                        column + 0.5 + r[0] * diagonal,
                        row + 0.5 - 8 + r[1] * diagonal,
                        anchor.z + r[2] * height,
                        *(min(max(s * math.exp(d), 0.1), 25.0) for s, d in zip(
                            anchor.size, r[3:6], strict=True)),
                        yaw,
                    )  # fmt: skip
                    candidates.append((score, box))
        candidates.sort(key=lambda c: -c[0])
        boxes = np.array([c[1] for c in candidates]).reshape(-1, 7)
        scores = np.array([c[0] for c in candidates])
        result += [(scores[i], label, *boxes[i]) for i in nms_bev(boxes, scores, 0.1, 500)]
    return sorted(result, reverse=True)


def test_decoding_agrees_with_a_plain_decoder() -> None:
    rng = np.random.default_rng(4)
    logits, residuals = maps()
    logits[:] = rng.normal(-2, 2, logits.shape)
    residuals[:] = rng.normal(0, 0.4, residuals.shape)
    residuals[3 * 8 + 2, 4] = np.nan
    expected = np.array(plain_decode(logits, residuals, 0.4))
    found = decode(logits, residuals, HEAD, GRID, thresholds(0.4), 0.1, 500)
    assert len(found) == len(expected) > 50
    assert found.labels.tolist() == expected[:, 1].astype(int).tolist()
    np.testing.assert_allclose(found.scores, expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, expected[:, 2:], atol=1e-4)


@pytest.mark.parametrize("least", [0.0, 1e-4, 0.3, 0.5, 0.99, 1.0])
def test_the_threshold_is_exact_at_any_height(least: float) -> None:
    rng = np.random.default_rng(6)
    logits, residuals = maps()
    logits[:] = rng.normal(0, 8, logits.shape)
    logits[2, 3] = (np.nan, np.inf, -np.inf, *range(13))
    logits[3, 0, 0] = np.float32(math.log(0.3 / 0.7))
    for label in range(3):
        _, scores, labels = anchor_candidates(logits, residuals, HEAD, GRID, thresholds(least))
        scores = scores[labels == label]
        with np.errstate(over="ignore", invalid="ignore"):
            every = (1 / (1 + np.exp(-logits[2 * label : 2 * label + 2]))).ravel()
        expected = np.sort(every[every >= np.float32(least)])[::-1]
        np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_equal_scores_keep_the_order_of_anchors_and_cells() -> None:
    logits, residuals = maps()
    logits[0, 9, 9] = logits[1, 2, 2] = logits[0, 2, 7] = 1.0
    boxes, _, _ = anchor_candidates(logits, residuals, HEAD, GRID, thresholds(0.5))
    assert boxes[:, :2].tolist() == [[7.5, -5.5], [9.5, 1.5], [2.5, -5.5]]


def test_wild_outputs_give_finite_boxes_or_none() -> None:
    rng = np.random.default_rng(1)
    logits, residuals = maps()
    logits[:] = rng.normal(0, 5, logits.shape)
    residuals[:] = rng.normal(0, 50, residuals.shape)
    logits[:, 3:5] = np.nan
    residuals[:, 8:10] = np.inf
    residuals[3::8, 12] = 1e30
    residuals[0::8, 13] = 3e38
    residuals[6::8, 14] = 1e20
    found = decode(logits, residuals, HEAD, GRID, thresholds(0.2), 0.1, 100)
    assert len(found) > 0 and np.isfinite(found.boxes).all()
    assert (found.boxes[:, 6] >= -np.pi).all() and (found.boxes[:, 6] < np.pi).all()
    nothing = decode(np.full_like(logits, np.nan), residuals, HEAD, GRID, thresholds(0.0), 0.1, 100)
    assert len(nothing) == 0
