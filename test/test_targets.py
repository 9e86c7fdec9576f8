# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Centre targets and decoding are inverse: who hits the targets finds the labelled boxes."""

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.detection.decode import decode
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import CenterHead

pytest.importorskip("torch", reason="training needs torch")

from eloss_perception.training.data.frames import Frame
from eloss_perception.training.targets import MIN_POINTS, Targets, make_targets

GRID = PillarGrid((0.0, -20.48, -3.0, 40.96, 20.48, 1.0), (0.32, 0.32), 4000, 16)
CAR = (20.3, 1.2, -0.9, 4.1, 1.7, 1.5, 0.6)
CAR_BACKWARDS = (9.0, -7.0, -0.8, 3.6, 1.6, 1.4, -2.4)
PEDESTRIAN = (12.1, 3.4, -0.7, 0.7, 0.6, 1.8, 2.9)
CYCLIST = (30.0, -12.0, -0.8, 1.8, 0.6, 1.7, -1.5707964)


def frame_with(boxes: list[tuple[float, ...]], labels: list[int], num_points: int = 40) -> Frame:
    rng = np.random.default_rng(3)
    array = np.array(boxes, np.float32).reshape(-1, 7)
    points = [
        np.column_stack(
            [box[:3] + rng.uniform(-0.1, 0.1, (num_points, 3)), np.full(num_points, 0.5)]
        )
        for box in array
    ]
    return Frame(
        np.concatenate([*points, np.zeros((0, 4))]).astype(np.float32),
        array,
        np.array(labels, np.int64),
    )


def decode_targets(targets: Targets) -> np.ndarray:
    logits = np.where(targets["heatmap"] == 1.0, 5.0, -5.0).astype(np.float32)
    regression = targets["boxes"].copy()
    regression[8] = regression[8] * 10.0 - 5.0  # target probability to logit
    found = decode(logits, regression, CenterHead(), GRID, np.full(3, 0.5, np.float32), 0.1, 50)
    return np.column_stack([found.labels, found.boxes])


def test_decoding_the_targets_gives_the_labels_back() -> None:
    boxes, labels = [CAR, CAR_BACKWARDS, PEDESTRIAN, CYCLIST], [0, 0, 1, 2]
    found = decode_targets(make_targets(frame_with(boxes, labels), GRID, CenterHead(), 3))
    expected = np.column_stack([labels, np.array(boxes, np.float32)])
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    expected = expected[np.lexsort((expected[:, 1], expected[:, 0]))]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("cell", [(0, 0), (-1, 0), (1, 0)])
def test_cells_around_the_centre_describe_the_same_box(cell: tuple[int, int]) -> None:
    """A peak one cell off still decodes to the right box."""
    box = (20.8, 0.32, -0.9, 4.1, 1.7, 1.5, 0.0)
    targets = make_targets(frame_with([box], [0]), GRID, CenterHead(), 3)
    row, column = np.argwhere(targets["heatmap"][0] == 1.0)[0] + (cell[1], cell[0])
    logits = np.full((3, 64, 64), -9.0, np.float32)
    logits[0, row, column] = 9.0
    found = decode(
        logits, targets["boxes"], CenterHead(), GRID, np.full(3, 0.5, np.float32), 0.1, 50
    )
    np.testing.assert_allclose(found.boxes[0, :6], box[:6], atol=1e-4)


def test_weak_and_ignored_objects_are_not_judged() -> None:
    weak = make_targets(frame_with([CAR], [0], num_points=MIN_POINTS - 1), GRID, CenterHead(), 3)
    assert weak["heatmap"].max() == 0.0 and weak["box_weight"].max() == 0.0
    assert weak["heatmap_weight"][0].min() == 0.0 and weak["heatmap_weight"][1:].min() == 1.0
    van = make_targets(frame_with([CAR], [-1]), GRID, CenterHead(), 3)
    assert van["heatmap"].max() == 0.0 and (van["heatmap_weight"].min(axis=(1, 2)) == 0.0).all()


def test_objects_outside_the_grid_leave_no_trace() -> None:
    outside = (80.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0)
    targets = make_targets(frame_with([outside], [0]), GRID, CenterHead(), 3)
    assert targets["heatmap"].max() == 0.0 and targets["heatmap_weight"].min() == 1.0


def test_a_frame_without_objects_has_empty_targets() -> None:
    targets = make_targets(frame_with([], []), GRID, CenterHead(), 3)
    assert targets["heatmap"].max() == 0.0 and targets["heatmap_weight"].min() == 1.0
