# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Faults behind the input: a network that no longer computes what it was trained to.

Weights are damaged as a broken memory, a bad engine or a careless quantisation would damage them;
the scans stay clean. Nothing that looks at scans alone can see that. Told are the loss of AP (3D
0.5) and how well the health score, the network's readings alone, the scan's readings alone and the
mean confidence tell the damaged network's frames from the sound one's.

    ./run python benchmarks/health_network_faults.py --json faults.json
    ./run python benchmarks/health_network_faults.py --data KITTI_ROOT --split train
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from eloss_perception.calibration.profiles import (
    Fault,
    dead_channels,
    few_bits,
    flipped_bit,
    noisy_weights,
    write_damaged,
    wrong_gain,
)
from eloss_perception.datasets.kitti.calibration import camera_view_mask
from eloss_perception.datasets.kitti.convert import boxes_to_kitti
from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiFrames
from eloss_perception.evaluation import EvaluationFrame, match_cars
from eloss_perception.evaluation.criteria import EVALUATION_SCORE
from eloss_perception.evaluation.health.frames import simulated_frames
from eloss_perception.evaluation.health.statistics import auroc
from eloss_perception.health.fit import move_reference
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.readings import NETWORK_CHECKS, check_of
from eloss_perception.health.reference import HealthReference
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import DetectionThresholds, Detector

# Other draws and other layers than those that a health reference has profiles of.
FAULTS: dict[str, Fault] = {
    "a quarter of an early layer dead": dead_channels(2, 0.25, seed=1),
    "half of an early layer dead": dead_channels(2, 0.5, seed=1),
    "a quarter of a middle layer dead": dead_channels(5, 0.25, seed=1),
    "a quarter of a late layer dead": dead_channels(9, 0.25, seed=1),
    "half of a late layer dead": dead_channels(9, 0.5, seed=1),
    "one bit flipped, early": flipped_bit(1),
    "one bit flipped, late": flipped_bit(9),
    "weights of 5 bits": few_bits(5),
    "weights of 4 bits": few_bits(4),
    "weights off by 10 %": noisy_weights(0.1, seed=1),
    "weights off by 30 %": noisy_weights(0.3, seed=1),
    "a layer's gain 1.5": wrong_gain(4, 1.5),
}


def run(detector: Detector, frames: KittiFrames) -> tuple[np.ndarray, np.ndarray, float]:
    """Readings (N, R), mean confidence (N,) and AP of the worse metric of all frames."""
    readings, confidence, judged = [], [], []
    for frame_id in frames.ids:
        check_interrupt()
        detections = detector.detect(frames.points(frame_id))
        boxes, calibration = detections.boxes, frames.calibration(frame_id)
        readings.append(detections.readings)
        confidence.append(float(boxes.scores.mean()) if len(boxes) else 0.0)
        seen = camera_view_mask(boxes.boxes, calibration)
        names = [detector.class_names[label] for label in boxes.labels[seen]]
        found = boxes_to_kitti(boxes.boxes[seen], names, calibration, scores=boxes.scores[seen])
        judged.append(EvaluationFrame(frames.objects(frame_id), found))
    precision = match_cars(judged)["3d"].average_precision().ap_r40
    return np.array(readings), np.array(confidence), precision


def part_distance(reference: HealthReference, readings: np.ndarray, network: bool) -> np.ndarray:
    """Distance from clean of the network's or of the scan's readings alone."""
    names = reference.reading_names
    columns = np.array([(check_of(n) in NETWORK_CHECKS) == network for n in names])
    whitening = np.linalg.inv(np.linalg.cholesky(reference.covariance[np.ix_(columns, columns)]))
    return np.linalg.norm(reference.deviations(readings)[:, columns] @ whitening.T, axis=1)


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    parser.add_argument("--data", type=Path, metavar="KITTI_ROOT", help="default: simulated scans")
    parser.add_argument("--split", default="train")
    parser.add_argument("--frames", type=int, default=60, help="simulated scans")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle or default_bundle_path())
    frames: KittiFrames = simulated_frames(arguments.frames, seed=0).frames
    if arguments.data is not None:
        frames = KittiDataset(arguments.data, arguments.split)
    detector = Detector(
        bundle,
        settings=BackendSettings(num_threads=1),
        thresholds=DetectionThresholds(score=EVALUATION_SCORE),
    )
    sound, sound_confidence, precision = run(detector, frames)
    # Normal is what the sound network says of these very scans: what is asked is what a fault does.
    reference = move_reference(bundle.require_health(), sound, "these scans", 1.0, 60.0)
    judge = HealthJudge(reference)
    scores = judge.score(sound)
    result = {}
    print(f"{'':34}{'AP lost':>8}{'score':>8}{'network':>9}{'scan':>7}{'confid.':>9}{'alarmed':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, fault in FAULTS.items():
            path = Path(folder) / "model.onnx"
            write_damaged(bundle.onnx_path, fault, path)
            detector.backend = load_backend(
                "onnxruntime_cpu", path, bundle.grid, BackendSettings(num_threads=1)
            )
            readings, confidence, ap = run(detector, frames)
            row = {
                "ap_lost": precision - ap,
                "score": auroc(scores, judge.score(readings)),
                "network": auroc(
                    part_distance(reference, sound, True), part_distance(reference, readings, True)
                ),
                "scan": auroc(
                    part_distance(reference, sound, False),
                    part_distance(reference, readings, False),
                ),
                "confidence": auroc(
                    np.abs(sound_confidence - sound_confidence.mean()),
                    np.abs(confidence - sound_confidence.mean()),
                ),
                "alarmed": float((judge.score(readings) >= reference.threshold).mean()),
            }
            result[name] = row
            print(
                f"{name:34}{row['ap_lost']:8.1f}{row['score']:8.2f}{row['network']:9.2f}"
                f"{row['scan']:7.2f}{row['confidence']:9.2f}{row['alarmed']:9.0%}"
            )
            sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
