# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures that `eloss evaluate` writes; apart, since they alone need Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    camera_view_mask,
    kitti_to_boxes,
)
from eloss_perception.datasets.kitti.labels import KittiObject
from eloss_perception.evaluation import EvaluationFrame, EvaluationReport
from eloss_perception.evaluation.outcomes import FrameOutcome, frame_outcomes
from eloss_perception.plots.charts import PrecisionCurve, render_precision_recall
from eloss_perception.plots.comparisons import OutcomeBoxes, render_outcomes
from eloss_perception.plots.style import save_png


def write_precision_recall(path: Path, report: EvaluationReport) -> None:
    """Draw precision over recall of all frames, moderate difficulty.

    Raises:
        DataError: If the picture cannot be written.
    """
    result = report.joint or next(iter(report.splits.values()))
    curves: dict[str, Sequence[PrecisionCurve]] = {}
    num_objects = {}
    for class_name, metrics in result.curves.items():
        scores = result.ap[class_name]
        num_objects[class_name] = scores["bev"]["strict"]["moderate"].num_objects
        curves[class_name] = [
            PrecisionCurve(
                metric,
                result.min_overlap[class_name][kind],
                kind == "loose",
                metrics[metric][kind],
                scores[metric][kind]["moderate"].ap_exact,
            )
            for metric in ("bev", "3d")
            for kind in ("loose", "strict")
        ]
    about = report.provenance
    title = str(about.get("bundle", about.get("checkpoint", "detections")))
    split = " + ".join(report.splits)
    subtitle = f"precision [%] over recall, {split}, {result.num_frames} frames, moderate"
    save_png(path, render_precision_recall(curves, num_objects, title, subtitle))


def write_worst_frames(
    folder: Path,
    data_root: Path,
    frames: dict[str, list[EvaluationFrame]],
    class_names: Sequence[str],
    num_pictures: int,
    camera_view: bool,
) -> None:
    """Draw the frames with the most misses and false detections from above.

    Args:
        folder: Where to write `<rank>_<split>_<frame>.png`.
        data_root: KITTI root that the frames came from.
        frames: split -> its frames, in the order of its list.
        class_names: Classes that were evaluated.
        num_pictures: How many frames to draw at most.
        camera_view: Show only what the camera sees.

    Raises:
        DataError: If a scan cannot be read or a picture not written.
    """
    places = [
        (dataset, frame_id)
        for dataset in (KittiDataset(data_root, split) for split in frames)
        for frame_id in dataset.ids
    ]
    joined = [frame for split_frames in frames.values() for frame in split_frames]
    outcomes, thresholds = frame_outcomes(joined, class_names)
    worst = sorted(range(len(places)), key=lambda i: -outcomes[i].num_errors)
    scores = ", ".join(f"{name} {value:.2f}" for name, value in thresholds.items())
    for rank, i in enumerate(worst[:num_pictures], start=1):
        dataset, frame_id = places[i]
        if not outcomes[i].num_errors:
            break
        calibration = dataset.calibration(frame_id)
        points = dataset.points(frame_id)
        if camera_view:
            points = points[camera_view_mask(points, calibration)]
        picture = render_outcomes(
            points,
            _boxes(outcomes[i], calibration),
            title=f"{dataset.split} {frame_id}",
            subtitle=f"score at least: {scores}",
        )
        save_png(folder / f"{rank:02d}_{dataset.split}_{frame_id}.png", picture)


def _boxes(outcome: FrameOutcome, calibration: Calibration) -> dict[str, OutcomeBoxes]:
    """Return the boxes of each outcome in the LiDAR frame, with the texts beside them."""

    def group(objects: list[KittiObject], with_text: bool) -> OutcomeBoxes:
        texts = [
            (item.type if item.score is None else f"{item.type} {item.score:.2f}")
            if with_text
            else ""
            for item in objects
        ]
        return OutcomeBoxes(kitti_to_boxes(objects, calibration), texts)

    return {
        "found": group(outcome.found, False),
        "false": group(outcome.false, True),
        "missed": group(outcome.missed, True),
        "ignored": group(outcome.ignored, False),
    }
