# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures that `eloss detect` writes; apart, since they alone need Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eloss_perception.cli.scans import ScanFile
from eloss_perception.datasets.kitti import Calibration, labelled_boxes, read_labels
from eloss_perception.errors import DataError
from eloss_perception.health.monitor import HealthReport
from eloss_perception.plots.bev import render_bev
from eloss_perception.plots.boxes import render_camera
from eloss_perception.plots.style import save_png
from eloss_perception.runtime.detector import Detections, Detector

# Metres shown behind and beside what the network sees.
_MARGIN_BEHIND = 8.0
_SIZE = (900, 940)


def write_pictures(
    folder: Path,
    scan: ScanFile,
    points: NDArray[np.float32],
    detections: Detections,
    report: HealthReport | None,
    detector: Detector,
) -> None:
    """Draw a scan from above and, where there is a camera image, from the camera.

    Args:
        folder: Where to write.
        scan: The scan's files.
        points: (N, 4) float32 in the network frame.
        detections: What was found in it.
        report: Its health, or None.
        detector: What found it.

    Raises:
        DataError: If a label, calibration or image file cannot be read or a picture not written.
    """
    x_min, y_min, _, x_max, y_max, _ = detector.grid.point_cloud_range
    timings = detections.timings
    total_ms = timings.preprocess_ms + timings.inference_ms + timings.postprocess_ms
    health = "" if report is None else f"health {report.level.name}, "
    picture = render_bev(
        points,
        detections.boxes,
        detector.class_names,
        _ground_truth(scan),
        extent=(min(x_min, 0.0) - _MARGIN_BEHIND, y_min, x_max, y_max),
        size=_SIZE,
        title=scan.name,
        subtitle=f"{health}{len(points):,} points, {total_ms:.0f} ms",
    )
    save_png(folder / f"{scan.name}.png", picture)
    if scan.image is None or scan.calibration is None:
        return
    calibration = Calibration.from_file(scan.calibration)
    if not calibration.has_camera:
        return
    try:
        with Image.open(scan.image) as file:
            image = np.asarray(file.convert("RGB"), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{scan.image} is no readable image: {error}") from error
    drawn = render_camera(image, detections.boxes, detector.class_names, calibration.lidar_to_image)
    save_png(folder / f"{scan.name}_camera.png", drawn)


def _ground_truth(scan: ScanFile) -> NDArray[np.float32] | None:
    """Return the (M, 7) annotated boxes of the classes that can be found, or None."""
    if scan.labels is None or scan.calibration is None:
        return None
    boxes = labelled_boxes(read_labels(scan.labels), Calibration.from_file(scan.calibration))
    return boxes.boxes[boxes.labels >= 0]
