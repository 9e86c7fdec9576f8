# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Our average precision against what KITTI's own C++ program gives for the same results.

`devkit_average_precision.json` holds the numbers that program printed (R40, and R11 from the same
precisions) for the results that `imagined_results` makes of the labels of 74 frames. They change
only together with this file's generator.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from eloss_perception.datasets.kitti import KittiDataset, KittiObject
from eloss_perception.evaluation import (
    DIFFICULTIES,
    METRICS,
    MIN_OVERLAPS,
    EvaluationFrame,
    PrecisionEvaluator,
)

EXPECTED = Path(__file__).parent / "devkit_average_precision.json"
CLASSES = ("Car", "Pedestrian", "Cyclist")
SPLITS = ("train", "val")
NUM_FRAMES = {"train": 44, "val": 30}
MISTAKEN_FOR = {
    **{"Van": "Car", "Truck": "Car", "Tram": "Car"},
    **{"Misc": "Cyclist", "Person_sitting": "Pedestrian"},
}


def imagined_results(labels: list[KittiObject], seed: str) -> list[KittiObject]:
    """Return results such as a middling detector might give for a frame.

    Objects are missed, doubled, displaced, of wrong size, heading and class; some 2D boxes are too
    low to count; others fall into `DontCare` regions, on vans and on nothing at all. Scores have
    two decimals, so that many are equal. Python guarantees `random.random` for a seed for ever.
    """
    rng = random.Random(seed)
    results = []
    for label in labels:
        if label.type == "DontCare":
            if rng.random() < 0.6:
                results.append(_background(rng, label.bbox2d))
            continue
        for _ in range(2 if rng.random() < 0.2 else 1):
            if rng.random() > 0.15:
                results.append(_displaced(rng, label))
    for _ in range(int(4 * rng.random())):
        left, top = 1100 * rng.random(), 120 + 100 * rng.random()
        right, bottom = left + 20 + 120 * rng.random(), top + 18 + 90 * rng.random()
        results.append(_background(rng, (left, top, right, bottom)))
    return results


def _displaced(rng: random.Random, label: KittiObject) -> KittiObject:
    """Return a result for an object, more or less right."""
    badness = rng.random() ** 2

    def noise(scale: float) -> float:
        return scale * badness * (2 * rng.random() - 1)

    kind = {"Person_sitting": "Pedestrian"}.get(
        label.type, MISTAKEN_FOR.get(label.type, label.type)
    )
    if rng.random() < 0.06:
        kind = CLASSES[int(3 * rng.random())]
    height, width, length = label.dimensions
    x, y, z = label.location
    turned = 3.141593 if rng.random() < 0.1 else 0.0
    left, top, right, bottom = (edge + noise(12.0) for edge in label.bbox2d)
    if rng.random() < 0.08:
        bottom = top + 15 + 30 * rng.random()
    return _result(
        kind,
        (left, top, max(right, left + 1), max(bottom, top + 1)),
        (height * (1 + noise(0.3)), width * (1 + noise(0.3)), length * (1 + noise(0.3))),
        (x + noise(0.8), y + noise(0.4), z + noise(1.2)),
        label.rotation_y + noise(0.5) + turned,
        0.95 - 0.5 * badness - 0.4 * rng.random(),
    )


def _background(rng: random.Random, bbox2d: tuple[float, float, float, float]) -> KittiObject:
    """Return a result where no labelled object is."""
    return _result(
        CLASSES[int(3 * rng.random())],
        bbox2d,
        (1.4 + 0.4 * rng.random(), 0.6 + rng.random(), 0.8 + 3.4 * rng.random()),
        (-15 + 30 * rng.random(), 1.5 + 0.4 * rng.random(), 8 + 50 * rng.random()),
        -3 + 6 * rng.random(),
        0.02 + 0.7 * rng.random(),
    )


def _result(
    kind: str,
    bbox2d: tuple[float, ...],
    dimensions: tuple[float, ...],
    location: tuple[float, ...],
    rotation_y: float,
    score: float,
) -> KittiObject:
    """Return a result whose numbers a file with six decimals holds exactly."""
    bbox2d, dimensions, location = (
        tuple(round(value, 4) for value in values) for values in (bbox2d, dimensions, location)
    )
    return KittiObject(
        kind, -1.0, -1, 0.0, bbox2d, dimensions, location, round(rotation_y, 4), round(score, 2)
    )


def imagined_frames(root: Path, splits: tuple[str, ...]) -> list[EvaluationFrame]:
    frames = []
    for split in splits:
        dataset = KittiDataset(root, split)
        for frame_id in dataset.ids:
            labels = dataset.objects(frame_id)
            frames.append(EvaluationFrame(labels, imagined_results(labels, f"{split} {frame_id}")))
    return frames


def average_precisions(frames: list[EvaluationFrame]) -> dict[str, list[float]]:
    """Return R11 and R40 by class, metric, overlap and difficulty; 0 where there is no object."""
    evaluator = PrecisionEvaluator(frames)
    found = {}
    for class_name in CLASSES:
        for metric in METRICS:
            for kind, overlap in MIN_OVERLAPS.items():
                for level, difficulty in DIFFICULTIES.items():
                    score = evaluator.average_precision(
                        class_name, metric, difficulty, overlap[class_name]
                    )
                    values = [score.ap_r11, score.ap_r40] if score.num_objects else [0.0, 0.0]
                    found[f"{class_name} {metric} {kind} {level}"] = values
    return found


@pytest.mark.parametrize("splits", [("train",), ("val",), SPLITS], ids=" ".join)
def test_agrees_with_the_official_program(kitti_object_root, splits):
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))[" ".join(splits)]
    for split in splits:
        if len(KittiDataset(kitti_object_root, split).ids) != NUM_FRAMES[split]:
            pytest.skip(f"{kitti_object_root} holds other frames than the numbers were made of")
    found = average_precisions(imagined_frames(kitti_object_root, splits))
    assert len(expected) == len(found) == 54
    differing = {
        name: (found[name], values)
        for name, values in expected.items()
        if found[name] != pytest.approx(values, abs=0.01)
    }
    assert not differing
    # Neither perfect nor hopeless: numbers that many rules contribute to.
    assert sum(5.0 < r40 < 95.0 for _, r40 in expected.values()) > 15
