# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated scan beside a real one: from above by height, and as the sensor's own image.

./run python benchmarks/simulated_and_real.py --data KITTI_ROOT --split train --out both.webp
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from eloss_perception.datasets.kitti.convert import labelled_boxes
from eloss_perception.datasets.kitti.dataset import KittiDataset
from eloss_perception.detection.boxes import CLASS_NAMES, Boxes3D
from eloss_perception.interrupts import run_script
from eloss_perception.plots.bev import render_bev
from eloss_perception.plots.style import point_ramp, save_png
from eloss_perception.simulation.drive import simulate_scan

_EXTENT = (-2.0, -28.0, 52.0, 28.0)
_WIDTH, _HEIGHT = 620, 600
# The sensor's image: elevations of an HDL-64E, azimuths ahead [deg].
_ELEVATION_DEG, _AZIMUTH_DEG = (-24.9, 2.0), 45.0
# Coarse enough that neighbouring beams leave no gaps.
_ROWS, _COLUMNS = 50, 310


def sensor_image(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Range over azimuth (left is left) and elevation, (height, width, 3) uint8; near is bright."""
    distance = np.linalg.norm(points[:, :3], axis=1)
    order = np.argsort(-distance)  # the nearest of a pixel is drawn last
    points, distance = points[order], distance[order]
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    low, high = _ELEVATION_DEG
    columns = ((_AZIMUTH_DEG - azimuth) / (2 * _AZIMUTH_DEG) * _COLUMNS).astype(int)
    rows = ((high - elevation) / (high - low) * _ROWS).astype(int)
    inside = (columns >= 0) & (columns < _COLUMNS) & (rows >= 0) & (rows < _ROWS)
    ramp = point_ramp()
    nearness = 1.0 - np.log(np.clip(distance, 4.0, 70.0) / 4.0) / np.log(70.0 / 4.0)
    shade = (nearness * (len(ramp) - 1)).astype(int)
    image = np.zeros((_ROWS, _COLUMNS, 3), np.uint8)
    image[rows[inside], columns[inside]] = ramp[shade[inside]]
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST))


def column(points: np.ndarray, boxes: np.ndarray, labels: np.ndarray, title: str) -> np.ndarray:
    """One scan's two pictures, one above the other."""
    known = labels >= 0
    labelled = Boxes3D(
        boxes[known].astype(np.float32), np.ones(int(known.sum()), np.float32), labels[known]
    )
    above = render_bev(
        points,
        labelled,
        CLASS_NAMES,
        extent=_EXTENT,
        size=(_WIDTH, _HEIGHT),
        title=title,
        with_scores=False,
    )
    return np.concatenate([above, sensor_image(points, above.shape[1], 160)])


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="KITTI_ROOT")
    parser.add_argument("--split", default="train")
    parser.add_argument("--frame", help="frame of the split (default: its first)")
    parser.add_argument("--seed", type=int, default=5, help="of the simulated scan")
    parser.add_argument("--out", type=Path, required=True, help="PNG, WebP or JPEG to write")
    arguments = parser.parse_args()
    dataset = KittiDataset(arguments.data, arguments.split)
    frame = arguments.frame or dataset.ids[0]
    labelled = labelled_boxes(dataset.objects(frame), dataset.calibration(frame))
    real = column(dataset.points(frame), labelled.boxes, labelled.labels, f"KITTI {frame}")
    scan = simulate_scan(arguments.seed)
    simulated = column(scan.points, scan.boxes, scan.labels, f"simulated, seed {arguments.seed}")
    gap = np.full((real.shape[0], 8, 3), 255, np.uint8)
    picture = np.concatenate([simulated, gap, real], axis=1)
    if arguments.out.suffix == ".png":
        save_png(arguments.out, picture)
    else:
        Image.fromarray(picture).save(arguments.out, quality=82)


if __name__ == "__main__":
    sys.exit(run_script(main))
