# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well the health score of single scans tells corrupted input from clean.

Every scan of a split is scored as it is and under every corruption; each scan stands for itself,
without the hysteresis that the node adds.

    ./run python benchmarks/health_scores.py --data KITTI_ROOT --split train --json health.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eloss_perception.core.health import HealthReference, make_readings
from eloss_perception.kitti.dataset import KittiDataset
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.corruptions import CORRUPTIONS, corrupt


def score(detector: Detector, reference: HealthReference, points: np.ndarray) -> float:
    """Health score of one scan."""
    found = detector.detect(points)
    counts = found.counts
    return reference.score(
        make_readings(found.layer_entropy, counts.num_in_range, counts.num_occupied)
    )


def auroc(clean: np.ndarray, corrupted: np.ndarray) -> float:
    """Probability that a corrupted scan scores above a clean one; a tie counts half."""
    above = corrupted[:, None] > clean[None]
    equal = corrupted[:, None] == clean[None]
    return float(np.mean(above + 0.5 * equal))


def measure(bundle: Bundle, scans: Sequence[np.ndarray], severities: Sequence[int]) -> dict:
    """Share of scans over the threshold, and AUROC, per corruption and severity."""
    detector, reference = Detector(bundle), bundle.require_health()
    # A repeated scan cannot be told by itself; a mistake without degree needs one severity only.
    inputs = [
        (name, severity)
        for name, corruption in CORRUPTIONS.items()
        for severity in (severities if corruption.has_degree else severities[-1:])
        if not corruption.needs_previous
    ]

    def scores(label: str, points: Sequence[np.ndarray]) -> np.ndarray:
        values = []
        for number, scan in enumerate(points, 1):
            values.append(score(detector, reference, scan))
            print(f"\r{label}: {number} / {len(points)}    ", end="", file=sys.stderr, flush=True)
        return np.array(values)

    clean = scores("clean", scans)
    result = {"clean": {"over_threshold": float(np.mean(clean > reference.threshold))}}
    for name, severity in inputs:
        label = f"{name}:{severity}"
        values = scores(label, [corrupt(s, name, severity, k) for k, s in enumerate(scans)])
        result[label] = {
            "over_threshold": float(np.mean(values > reference.threshold)),
            "auroc": auroc(clean, values),
        }
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return result


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="KITTI_ROOT")
    parser.add_argument("--split", default="train")
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    parser.add_argument("--severities", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle or default_bundle_path())
    dataset = KittiDataset(arguments.data, arguments.split)
    scans = [dataset.points(frame_id) for frame_id in dataset.ids]
    result = measure(bundle, scans, arguments.severities)
    threshold = bundle.require_health().threshold
    print(f"{len(scans)} scans, threshold {threshold:.2f}, single scans without hysteresis")
    print(f"{'input':20}{'over threshold':>16}{'AUROC':>8}")
    for label, row in result.items():
        area = f"{row['auroc']:8.2f}" if "auroc" in row else ""
        print(f"{label:20}{row['over_threshold']:15.0%} {area}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
