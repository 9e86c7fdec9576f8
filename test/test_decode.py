# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding: peaks, thresholds, limits and outputs that are not numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eloss_perception.detection.decode import decode
from eloss_perception.detection.decode_center import _find_peaks, encode_box
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import CenterHead

GRID = PillarGrid((0.0, -8.0, -3.0, 16.0, 8.0, 1.0), (0.5, 0.5), 100, 8)
CELL = 1.0  # head cells: 16 x 16 of 1 m
ANY = np.full(2, 0.5, np.float32)


def empty_maps() -> tuple[np.ndarray, np.ndarray]:
    return np.full((2, 16, 16), -10.0, np.float32), np.zeros((9, 16, 16), np.float32)


def place(maps: tuple, label: int, box: tuple, logit: float) -> None:
    column, row = int(box[0] // CELL), int((box[1] + 8) // CELL)
    maps[0][label, row, column] = logit
    parameters = encode_box(np.array(box), np.array([[column + 0.5, row - 7.5]]), (CELL, CELL))[
        :, 0
    ]
    parameters[8] = parameters[8] * 10 - 5
    maps[1][:, row, column] = parameters


@given(
    st.floats(0.1, 15.9),
    st.floats(-7.9, 7.9),
    st.floats(0.3, 12),
    st.floats(0.3, 3),
    st.floats(-3.14, 3.14),
)
@settings(max_examples=100, deadline=None)
def test_encode_and_decode_are_inverse(
    x: float, y: float, length: float, width: float, yaw: float
) -> None:
    maps = empty_maps()
    place(maps, 1, (x, y, -0.8, length, width, 1.6, yaw), 4.0)
    found = decode(*maps, CenterHead(), GRID, ANY, 0.1, 10)
    assert len(found) == 1 and found.labels[0] == 1
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-4.0)), rel=1e-5)
    np.testing.assert_allclose(found.boxes[0, :6], (x, y, -0.8, length, width, 1.6), atol=2e-3)
    turn = (found.boxes[0, 6] - yaw + np.pi) % (2 * np.pi) - np.pi
    if abs(np.cos(yaw)) > 1e-3:  # at ±90° the two headings of an axis meet
        assert turn == pytest.approx(0.0, abs=2e-3)
    else:
        assert np.sin(turn) == pytest.approx(0.0, abs=2e-3)


def test_peaks_agree_with_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 4, (20, 30)).astype(np.float32)  # many ties
    cells, scores = _find_peaks(logits, np.float32(0.4))
    expected = []
    padded = np.pad(logits, 1, constant_values=-np.inf)
    for r in range(20):
        for c in range(30):
            value = logits[r, c]
            window = padded[r : r + 3, c : c + 3].ravel()
            if 1 / (1 + np.exp(-value)) < 0.4 or window.max() > value:
                continue
            if (window[:4] == value).any():  # an earlier neighbour of the same height
                continue
            expected.append(r * 30 + c)
    assert cells.tolist() == expected
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.ravel()[cells])), rtol=1e-6)


def test_scores_descend_and_max_boxes_keeps_the_best() -> None:
    maps = empty_maps()
    for i, logit in enumerate((1.0, 3.0, 2.0)):
        place(maps, i % 2, (2.5 + 5 * i, 0.5, -1, 2, 1, 1, 0.0), logit)
    found = decode(*maps, CenterHead(), GRID, ANY, 0.1, 2)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-np.array([3.0, 2.0]))), rtol=1e-5)


def test_overlap_is_removed_inside_a_class_only() -> None:
    maps = empty_maps()
    place(maps, 0, (5.4, 0.5, -1, 4, 2, 1.5, 0.0), 3.0)
    place(maps, 0, (7.5, 0.5, -1, 6, 2, 1.5, 0.0), 2.0)
    place(maps, 1, (5.5, 1.4, -1, 4, 2, 1.5, 0.0), 1.0)
    found = decode(*maps, CenterHead(), GRID, ANY, 0.1, 10)
    assert found.labels.tolist() == [0, 1]


def test_wild_outputs_give_finite_boxes_or_none() -> None:
    rng = np.random.default_rng(1)
    maps = (
        rng.normal(0, 5, (2, 16, 16)).astype(np.float32),
        rng.normal(0, 50, (9, 16, 16)).astype(np.float32),
    )
    maps[0][:, 3:5] = np.nan
    maps[1][:, 8:10] = np.inf
    maps[1][3, 12] = 1e30
    maps[1][0, 13] = 3e38  # times a cell of 1 m and more, beyond float32
    found = decode(*maps, CenterHead(), GRID, ANY, 0.1, 100)
    assert len(found) > 0 and np.isfinite(found.boxes).all()
    assert (found.boxes[:, 6] >= -np.pi).all() and (found.boxes[:, 6] < np.pi).all()


@pytest.mark.parametrize("sine", [0.0, -0.0, 1e-9, -1e-9, -1e-7])
def test_a_box_that_faces_backwards_keeps_its_yaw_below_pi(sine: float) -> None:
    maps = empty_maps()
    maps[0][0, 5, 5] = 5.0
    maps[1][6, 5, 5], maps[1][7, 5, 5], maps[1][8, 5, 5] = sine, 1.0, -3.0
    yaw = float(decode(*maps, CenterHead(), GRID, ANY, 0.1, 10).boxes[0, 6])
    assert -np.pi <= yaw < np.pi and abs(yaw) > 3.14
