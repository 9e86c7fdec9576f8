# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss detect`: scans in, result files, pictures and a table out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eloss_perception.cli.parsing import (
    Subparsers,
    add_backend_arguments,
    add_command,
    add_sensor_arguments,
    fraction,
    sensor_from_arguments,
)
from eloss_perception.cli.scans import ScanFile, find_scans, read_scan
from eloss_perception.cli.terminal import say, say_table, track

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eloss_perception.detection.boxes import Boxes3D
    from eloss_perception.detection.sensors import SensorModel
    from eloss_perception.health.monitor import HealthReport
    from eloss_perception.runtime.detector import Detections, Detector

_MAX_ROWS = 20
_SENSOR = "kitti_hdl64"
_SUMMARY_NAME = "summary.csv"
# Metres shown behind what the network sees.
_MARGIN_BEHIND = 8.0
_PICTURE_SIZE = (900, 940)


class _Row(NamedTuple):
    """One line of the table and of the summary file."""

    name: str
    num_points: int
    counts: tuple[int, ...]
    health_ratio: float
    level: str
    total_ms: float

    def cells(self) -> list[str]:
        numbers = [str(count) for count in self.counts]
        ratio = f"{self.health_ratio:.2f}" if self.level else "-"
        level = self.level or "-"
        return [self.name, str(self.num_points), *numbers, ratio, level, f"{self.total_ms:.1f}"]


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "detect",
        run,
        "find objects in scans",
        details=(
            "Scans are .bin (float32: x, y, z, intensity), .pcd, .ply or .npy files.\n"
            "Writes into DIR: results/NAME.txt in KITTI's format where the scan has a calibration\n"
            "(calib/ beside velodyne/; 2D boxes are -1 where the image shows nothing), else\n"
            "results/NAME.csv with boxes in the sensor's frame;\n"
            "pictures/NAME.png from above and, with images, NAME_camera.png; summary.csv.\n"
            "Health is that of each scan by itself: its score as a multiple of the threshold,\n"
            "and the level that the node would settle at on a stream of such scans."
        ),
        example=(
            "eloss detect scan.bin --out found\n"
            "eloss detect kitti --split val --score 0.5 --out found --no-pictures"
        ),
    )
    parser.add_argument(
        "scans", nargs="+", type=Path, metavar="SCAN", help="files, folders or KITTI roots"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for all results")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    parser.add_argument("--split", default="val", help="of KITTI roots (default: val)")
    parser.add_argument("--score", type=fraction, metavar="P", help="least score of a box")
    add_sensor_arguments(parser, _SENSOR)
    add_backend_arguments(parser)
    parser.add_argument("--no-pictures", dest="pictures", action="store_false")


def run(args: argparse.Namespace) -> int:
    """Detects in every scan, then print the table."""
    from eloss_perception.runtime.backends.base import BackendSettings
    from eloss_perception.runtime.bundle import Bundle, default_bundle_path
    from eloss_perception.runtime.detector import DetectionThresholds, Detector

    sensor = sensor_from_arguments(args, _SENSOR)
    scans = find_scans(args.scans, args.split)
    thresholds = (
        DetectionThresholds() if args.score is None else DetectionThresholds(score=args.score)
    )
    bundle = Bundle.load(args.bundle or default_bundle_path())
    detector = Detector(bundle, args.backend, BackendSettings(num_threads=args.threads), thresholds)
    detector.warm_up()
    rows = []
    for scan in track(scans, len(scans), "scans"):
        points = read_scan(scan.path, sensor)
        detections = detector.detect(points)
        report = _health(detector, detections)
        _write_result(args.out / "results", scan, detections.boxes, sensor, detector.class_names)
        if args.pictures:
            _write_pictures(args.out / "pictures", scan, points, detections, report, detector)
        rows.append(_row(scan, len(points), detections, report, len(detector.class_names)))
    header = ["scan", "points", *(n.lower() for n in detector.class_names), "health", "level", "ms"]
    _write_summary(args.out / _SUMMARY_NAME, header, rows)
    say_table(header, [row.cells() for row in rows[:_MAX_ROWS]])
    if len(rows) > _MAX_ROWS:
        say(f"... and {len(rows) - _MAX_ROWS} more in {args.out / _SUMMARY_NAME}")
    say(f"results in {args.out}")
    return 0


def _health(detector: Detector, detections: Detections) -> HealthReport | None:
    """Judges one scan by itself; None where the bundle was never calibrated."""
    from eloss_perception.health.monitor import HealthMonitor

    if detector.bundle.health is None:
        return None
    return HealthMonitor(detector.bundle.health).settle(detections.readings)


def _row(
    scan: ScanFile,
    num_points: int,
    detections: Detections,
    report: HealthReport | None,
    num_classes: int,
) -> _Row:
    labels = detections.boxes.labels.tolist()
    return _Row(
        name=scan.name,
        num_points=num_points,
        counts=tuple(labels.count(label) for label in range(num_classes)),
        health_ratio=float("nan") if report is None else report.score / report.threshold,
        level="" if report is None else report.level.name,
        total_ms=_total_ms(detections),
    )


def _total_ms(detections: Detections) -> float:
    timings = detections.timings
    return timings.preprocess_ms + timings.inference_ms + timings.postprocess_ms


def _write_result(
    folder: Path,
    scan: ScanFile,
    boxes: Boxes3D,
    sensor: SensorModel,
    class_names: tuple[str, ...],
) -> None:
    from eloss_perception.datasets.kitti import boxes_to_kitti, read_calibration, write_labels
    from eloss_perception.detection.sensors import sensor_boxes

    boxes = sensor_boxes(boxes, sensor)
    types = [class_names[label] for label in boxes.labels]
    if scan.calibration is not None:
        calibration = read_calibration(scan.calibration, scan.image)
        objects = boxes_to_kitti(
            boxes.boxes, types, calibration, scores=boxes.scores, keep_unseen=True
        )
        write_labels(folder / f"{scan.name}.txt", objects)
        return
    lines = ["class,score,x,y,z,length,width,height,yaw"]
    for type_name, score, box in zip(types, boxes.scores, boxes.boxes, strict=True):
        lines.append(",".join([type_name, f"{score:.4f}", *(f"{value:.4f}" for value in box)]))
    _write_lines(folder / f"{scan.name}.csv", lines)


def _write_summary(path: Path, header: list[str], rows: list[_Row]) -> None:
    names = ["health_score_over_threshold" if name == "health" else name for name in header]
    _write_lines(path, [",".join(cells) for cells in [names, *(row.cells() for row in rows)]])


def _write_lines(path: Path, lines: list[str]) -> None:
    from eloss_perception.files import write_file

    write_file(path, "\n".join(lines) + "\n")


def _write_pictures(
    folder: Path,
    scan: ScanFile,
    points: NDArray[np.float32],
    detections: Detections,
    report: HealthReport | None,
    detector: Detector,
) -> None:
    """Draws a scan from above and, where there is a camera image, from the camera.

    Raises:
        DataError: If a label, calibration or image file cannot be read or a picture not written.
    """
    import numpy as np
    from PIL import Image

    from eloss_perception.datasets.kitti import Calibration
    from eloss_perception.errors import DataError
    from eloss_perception.plots.bev import render_bev
    from eloss_perception.plots.boxes import render_camera
    from eloss_perception.plots.style import save_png

    x_min, y_min, _, x_max, y_max, _ = detector.grid.point_cloud_range
    total_ms = _total_ms(detections)
    health = "" if report is None else f"health {report.level.name}, "
    picture = render_bev(
        points,
        detections.boxes,
        detector.class_names,
        _ground_truth(scan),
        extent=(min(x_min, 0.0) - _MARGIN_BEHIND, y_min, x_max, y_max),
        size=_PICTURE_SIZE,
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
    """Returns the (M, 7) annotated boxes of the classes that can be found, or None."""
    from eloss_perception.datasets.kitti import Calibration, labelled_boxes, read_labels

    if scan.labels is None or scan.calibration is None:
        return None
    boxes = labelled_boxes(read_labels(scan.labels), Calibration.from_file(scan.calibration))
    return boxes.boxes[boxes.labels >= 0]
