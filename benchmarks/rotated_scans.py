# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well a bundle that sees all around finds objects in every direction.

KITTI labels only what its forward camera sees. Here each scan is turned about the vertical axis
before detection and the boxes are rotated back, so that the labelled part lies ahead, to the
left, behind and to the right in turn; everything else is as in `eloss evaluate`.

    ./run python benchmarks/rotated_scans.py --bundle models/pillars_light_360 --data KITTI_ROOT
    ./run python benchmarks/rotated_scans.py ... --picture sweep.webp --frame 000114
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from eloss_perception.cli.terminal import progress_bar
from eloss_perception.datasets.kitti.dataset import KittiDataset
from eloss_perception.detection.boxes import Boxes3D, wrap_angle
from eloss_perception.evaluation import EvaluationSettings, evaluate_splits
from eloss_perception.evaluation.detectors import load_bundle
from eloss_perception.interrupts import run_script
from eloss_perception.plots.bev import render_bev
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.detector import Detections, Detector

_DIRECTIONS = {"ahead": 0, "left": 90, "behind": 180, "right": 270}


class RotatedDetector:
    """Sees what is ahead in another direction."""

    def __init__(self, detector: Detector, angle_deg: float) -> None:
        self.class_names = detector.class_names
        self._detector = detector
        self._angle = np.deg2rad(angle_deg)

    def detect(self, points: np.ndarray) -> Detections:
        """Rotates the points, detects, rotates the boxes back."""
        found = self._detector.detect(_rotated(points, self._angle))
        boxes = _rotated(found.boxes.boxes, -self._angle)
        boxes[:, 6] = wrap_angle(boxes[:, 6] - np.float32(self._angle))
        turned_back = Boxes3D(boxes, found.boxes.scores, found.boxes.labels)
        return dataclasses.replace(found, boxes=turned_back)


def _rotated(rows: np.ndarray, angle: float) -> np.ndarray:
    """Rows whose first two columns are x and y, rotated counter-clockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned = rows.copy()
    turned[:, :2] = rows[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
    return turned


def draw(path: Path, bundle: Path, dataset: KittiDataset, frame: str) -> None:
    """Draws what is found in a whole scan, at the score of the node's default."""
    detector = Detector(Bundle.load(bundle))
    points = dataset.points(frame)
    picture = render_bev(
        points,
        detector.detect(points).boxes,
        detector.class_names,
        extent=(-62.0, -40.0, 62.0, 40.0),
        size=(800, 1240),
        title=f"KITTI {frame}, the whole sweep",
        with_scores=False,
    )
    Image.fromarray(picture).save(path, quality=82)


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="one that sees all around")
    parser.add_argument("--data", type=Path, required=True, metavar="KITTI_ROOT")
    parser.add_argument("--split", nargs="+", default=["train", "val"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--picture", type=Path, help="draw one whole scan here instead")
    parser.add_argument("--frame", help="which (default: the first of the first split)")
    arguments = parser.parse_args()
    if arguments.picture:
        dataset = KittiDataset(arguments.data, arguments.split[0])
        draw(arguments.picture, arguments.bundle, dataset, arguments.frame or dataset.ids[0])
        return
    detector, _ = load_bundle(arguments.bundle, num_threads=arguments.threads)
    settings = EvaluationSettings(num_resamples=0)
    num_frames = sum(len(KittiDataset(arguments.data, split)) for split in arguments.split)
    figures: dict[str, dict[str, float]] = {}
    for name, angle in _DIRECTIONS.items():
        with progress_bar(num_frames, f"frames, {name}") as advance:
            report, _ = evaluate_splits(
                RotatedDetector(detector, angle),
                arguments.data,
                arguments.split,
                settings=settings,
                progress=lambda done, _: advance(done),
            )
        scores = (report.joint or next(iter(report.splits.values()))).ap["Car"]
        figures[name] = {
            f"{metric} {kind}": scores[metric][kind]["moderate"].ap_r40
            for metric in ("bev", "3d")
            for kind in ("loose", "strict")
        }
    print(f"{'Car, moderate, R40':20}{'BEV 0.5':>9}{'BEV 0.7':>9}{'3D 0.5':>9}{'3D 0.7':>9}")
    for name, row in figures.items():
        print(f"{name:20}" + "".join(f"{value:9.1f}" for value in row.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
