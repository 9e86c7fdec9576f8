# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Anchor targets against a plain assignment, back through decoding, and in the loss."""

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.detection.boxes import points_in_boxes
from eloss_perception.detection.decode import decode
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import KITTI_ANCHORS, AnchorHead

pytest.importorskip("torch", reason="training needs torch")

import torch

from eloss_perception.training import anchor_targets
from eloss_perception.training.anchor_targets import MAX_POSITIVES
from eloss_perception.training.data.frames import Frame
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.targets import MIN_POINTS, Targets, make_targets

GRID = PillarGrid((0.0, -20.48, -3.0, 40.96, 20.48, 1.0), (0.32, 0.32), 4000, 16)
HEAD = AnchorHead(anchors=KITTI_ANCHORS)
SIDE = 64  # head cells of 0.64 m
CAR = (20.3, 1.2, -0.9, 4.1, 1.7, 1.5, 0.6)
CAR_BACKWARDS = (9.0, -7.0, -0.8, 3.6, 1.6, 1.4, -2.4)
PEDESTRIAN = (12.1, 3.4, -0.7, 0.7, 0.6, 1.8, 2.9)
CYCLIST = (30.0, -12.0, -0.8, 1.8, 0.6, 1.7, -1.5707964)
BEHIND_THE_CAR = (24.4, 2.0, -0.9, 4.0, 1.7, 1.5, 0.2)  # its anchors overlap CAR's


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


def crowd(seed: int, num_objects: int) -> Frame:
    """Objects of all classes at random, some of them over the border of the grid."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 3, num_objects)
    sizes = np.array([KITTI_ANCHORS[2 * max(label, 0)].size for label in labels])
    sizes = sizes * rng.uniform(0.8, 1.25, sizes.shape)
    centers = rng.uniform((-1, -21.5, -1.2), (42, 21.5, -0.5), (num_objects, 3))
    boxes = np.column_stack([centers, sizes, rng.uniform(-np.pi, 3.14, num_objects)])
    return frame_with([tuple(box) for box in boxes], labels.tolist())


def plain_classes(frame: Frame) -> np.ndarray:
    """The assignment by its definition: every anchor against every object."""
    owners = points_in_boxes(frame.points, frame.boxes)
    weak = np.bincount(owners[owners >= 0], minlength=len(frame.boxes)) < MIN_POINTS
    xs = (np.arange(SIDE) + 0.5) * 0.64
    ys = xs - 20.48
    wanted = [
        i
        for i, box in enumerate(frame.boxes)
        if not weak[i] and frame.labels[i] >= 0
        and 0 <= box[0] < 40.96 and -20.48 <= box[1] < 20.48
    ]  # fmt: skip
    classes = np.zeros((len(HEAD.anchors), SIDE, SIDE), int)
    ious = np.zeros((len(wanted), *classes.shape))
    for k, i in enumerate(wanted):
        x, y, _, length, width, _, yaw = frame.boxes[i].astype(float)
        extent = (length, width) if abs(np.cos(yaw)) >= abs(np.sin(yaw)) else (width, length)
        for a, anchor in enumerate(HEAD.anchors):
            if anchor.label != frame.labels[i]:
                continue
            own = anchor.size[:2] if a % 2 == 0 else anchor.size[1::-1]
            overlaps = []
            for center, place, e, o in ((xs, x, extent[0], own[0]), (ys, y, extent[1], own[1])):
                upper = np.minimum(center + o / 2, place + e / 2)
                lower = np.maximum(center - o / 2, place - e / 2)
                overlaps.append(np.maximum(upper - lower, 0))
            shared = overlaps[1][:, None] * overlaps[0][None, :]
            ious[k, a] = shared / (extent[0] * extent[1] + own[0] * own[1] - shared)
    best = ious.max(axis=0) if len(wanted) else np.zeros(classes.shape)
    for a, anchor in enumerate(HEAD.anchors):
        classes[a][best[a] >= anchor.negative_iou] = -1
        classes[a][best[a] >= anchor.positive_iou] = 1
    for k in range(len(wanted)):
        if ious[k].max() > 0:
            classes[np.abs(ious[k] - ious[k].max()) < 1e-9] = 1
    for i, box in enumerate(frame.boxes.astype(float)):
        if not weak[i] and frame.labels[i] >= 0:
            continue
        dx, dy = xs[None, :] - box[0], ys[:, None] - box[1]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        inside = (np.abs(dx * cos + dy * sin) <= box[3] / 2) & (
            np.abs(dy * cos - dx * sin) <= box[4] / 2
        )
        for a, anchor in enumerate(HEAD.anchors):
            if frame.labels[i] in (-1, anchor.label):
                classes[a][inside & (classes[a] == 0)] = -1
    return classes


@pytest.mark.parametrize("seed", range(4))
def test_the_assignment_agrees_with_a_plain_one(seed: int) -> None:
    frame = crowd(seed, 60)
    classes = make_targets(frame, GRID, HEAD, 3)["anchor_class"]
    expected = plain_classes(frame)
    # In single precision equally good anchors may differ in the last digit: of an object's best,
    # one suffices. Everything else is the same.
    assert (classes != expected).sum() <= 3
    assert (expected == 1).sum() > 50 and (expected == -1).sum() > 200


def as_maps(targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    """What a network that hits its targets puts out."""
    positives = targets["positives"][targets["positives"] >= 0]
    logits = np.full((len(HEAD.anchors), SIDE, SIDE), -6.0, np.float32)
    logits.reshape(-1)[positives] = 5.0
    regression = np.zeros((len(HEAD.anchors), 8, SIDE * SIDE), np.float32)
    residuals = targets["residuals"][: len(positives)].copy()
    residuals[:, 7] = residuals[:, 7] * 40 - 20  # target probability to logit
    regression[positives // SIDE**2, :, positives % SIDE**2] = residuals
    return logits, regression.reshape(-1, SIDE, SIDE)


def test_decoding_the_targets_gives_the_labels_back() -> None:
    boxes, labels = [CAR, CAR_BACKWARDS, PEDESTRIAN, CYCLIST, BEHIND_THE_CAR], [0, 0, 1, 2, 0]
    targets = make_targets(frame_with(boxes, labels), GRID, HEAD, 3)
    found = decode(*as_maps(targets), HEAD, GRID, np.full(3, 0.5, np.float32), 0.1, 50)
    actual = np.column_stack([found.labels, found.boxes])
    expected = np.column_stack([labels, np.array(boxes, np.float32)])
    actual = actual[np.lexsort((actual[:, 1], actual[:, 0]))]
    expected = expected[np.lexsort((expected[:, 1], expected[:, 0]))]
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_weak_and_ignored_objects_are_neither_positive_nor_negative() -> None:
    weak = make_targets(frame_with([CAR], [0], MIN_POINTS - 1), GRID, HEAD, 3)["anchor_class"]
    assert weak.max() == 0 and weak[:2].min() == -1 and weak[2:].min() == 0
    van = make_targets(frame_with([CAR], [-1]), GRID, HEAD, 3)["anchor_class"]
    assert van.max() == 0 and (van.min(axis=(1, 2)) == -1).all()
    beside = (CAR[0] + 0.3, CAR[1] + 0.2, *CAR[2:])
    both = make_targets(frame_with([CAR, beside], [0, -1]), GRID, HEAD, 3)
    alone = make_targets(frame_with([CAR], [0]), GRID, HEAD, 3)
    np.testing.assert_array_equal(both["positives"], alone["positives"])


@pytest.mark.parametrize("size", [1e4, 1e12, 1e30])
def test_an_ignored_object_of_any_size_hides_all_that_it_covers(size: float) -> None:
    hidden = make_targets(frame_with([(5.0, 0.0, -1.0, size, size, 2.0, 0.3)], [-1]), GRID, HEAD, 3)
    assert (hidden["anchor_class"] == -1).all()


def test_an_object_that_no_anchor_fits_has_its_best_ones_all_the_same() -> None:
    bus = (20.0, 0.3, -0.5, 11.0, 2.6, 3.0, 0.0)
    targets = make_targets(frame_with([bus], [0]), GRID, HEAD, 3)
    positives = targets["positives"][targets["positives"] >= 0]
    assert 1 <= len(positives) < 60
    found = decode(*as_maps(targets), HEAD, GRID, np.full(3, 0.5, np.float32), 0.1, 50)
    np.testing.assert_allclose(found.boxes, [bus], atol=1e-4)


def test_frames_without_objects_in_the_grid_are_background() -> None:
    for frame in (frame_with([], []), frame_with([(80.0, 0.0, -1.0, 4.0, 1.6, 1.5, 0.0)], [0])):
        targets = make_targets(frame, GRID, HEAD, 3)
        assert (targets["anchor_class"] == 0).all() and (targets["positives"] == -1).all()


def test_shapes_do_not_depend_on_the_frame_and_surplus_positives_are_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = make_targets(frame_with([CAR], [0]), GRID, HEAD, 3)
    many = make_targets(crowd(0, 60), GRID, HEAD, 3)
    assert all(few[name].shape == many[name].shape for name in few)
    assert len(few["positives"]) == MAX_POSITIVES
    monkeypatch.setattr(anchor_targets, "MAX_POSITIVES", 7)
    limited = make_targets(crowd(0, 60), GRID, HEAD, 3)
    assert limited["positives"].min() >= 0 and (limited["anchor_class"] == 1).sum() == 7
    dropped = (many["anchor_class"] == 1) & (limited["anchor_class"] != 1)
    assert dropped.any() and (limited["anchor_class"][dropped] == -1).all()


def losses(logits: np.ndarray, regression: np.ndarray, targets: Targets) -> dict[str, float]:
    stacked = {name: torch.from_numpy(value)[None] for name, value in targets.items()}
    terms = detection_losses(
        HEAD, torch.from_numpy(logits)[None], torch.from_numpy(regression)[None], stacked
    )
    return {name: float(value) for name, value in terms.items()}


def test_the_loss_is_small_on_target_and_feels_every_kind_of_error() -> None:
    targets = make_targets(frame_with([CAR, PEDESTRIAN], [0, 1]), GRID, HEAD, 3)
    logits, regression = as_maps(targets)
    hit = losses(logits, regression, targets)
    assert hit.keys() == {"class", "box", "heading"}
    assert hit["class"] < 1e-2 and hit["box"] == 0.0 and hit["heading"] < 1e-3
    # Hand-computed: half a diagonal in x at every positive anchor costs 2 (0.5 - 1/18).
    moved = regression.copy()
    moved[0::8] += 0.5
    assert losses(logits, moved, targets)["box"] == pytest.approx(2 * (0.5 - 1 / 18), rel=1e-5)
    # A half turn costs nothing in the box and all in the heading, as a logit of the wrong sign.
    turned = regression.copy()
    turned[6::8] += np.pi
    turned[7::8] *= -1
    assert losses(logits, turned, targets)["box"] == pytest.approx(0.0, abs=1e-5)
    assert losses(logits, turned, targets)["heading"] == pytest.approx(0.2 * 20, rel=1e-5)
    # Silence: α (1 - p)² of -log p at each positive anchor, p = σ(-6).
    silent = np.full_like(logits, -6.0)
    p = 1 / (1 + np.exp(6.0))
    assert losses(silent, regression, targets)["class"] == pytest.approx(
        -0.25 * (1 - p) ** 2 * np.log(p), rel=0.02
    )
    # What is not judged may be anything.
    loud = np.where(targets["anchor_class"] == -1, 9.0, logits).astype(np.float32)
    assert losses(loud, regression, targets)["class"] == pytest.approx(hit["class"], rel=1e-5)


def test_the_loss_of_a_frame_without_objects_is_finite() -> None:
    targets = make_targets(frame_with([], []), GRID, HEAD, 3)
    terms = losses(*as_maps(targets), targets)
    assert terms["box"] == terms["heading"] == 0.0 and 0.0 < terms["class"] < 1.0
