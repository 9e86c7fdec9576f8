# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss evaluate`: KITTI's metrics of a bundle or a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import (
    DEFAULT_BACKEND,
    Subparsers,
    add_backend_arguments,
    add_command,
    fraction,
    positive_int,
    seed,
    settings_from,
)
from eloss_perception.cli.terminal import progress_bar, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eloss_perception.datasets.kitti import Calibration
    from eloss_perception.datasets.kitti.labels import KittiObject
    from eloss_perception.evaluation import EvaluationFrame, EvaluationReport, EvaluationSettings
    from eloss_perception.evaluation.evaluate import AnyDetector
    from eloss_perception.evaluation.outcomes import FrameOutcome
    from eloss_perception.plots.charts import PrecisionCurve
    from eloss_perception.plots.comparisons import OutcomeBoxes


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "evaluate",
        run,
        "measure a bundle or a checkpoint on labelled scans",
        details=(
            "Prints KITTI's average precision, bootstrap intervals over the frames, scores by\n"
            "distance, errors of the boxes found and the time of each stage; for several splits\n"
            "apart and together.\n"
            "A KITTI root is the folder that holds training/ and ImageSets/; `eloss simulate`\n"
            "writes one."
        ),
        example=(
            "eloss evaluate --data kitti --split val --json result.json\n"
            "eloss evaluate --data kitti --split train val --pictures worst_frames\n"
            "eloss evaluate --data kitti --checkpoint runs/light/checkpoint.pt --block 10"
        ),
    )
    parser.add_argument("--data", type=Path, required=True, metavar="KITTI_ROOT")
    parser.add_argument(
        "--split",
        nargs="+",
        default=["val"],
        metavar="NAME",
        help="lists in ImageSets/, with no frame in common (default: val)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    what.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="averaged network of a training run, in torch, without an export",
    )
    add_backend_arguments(parser, default=None)
    parser.add_argument(
        "--full-scan",
        action="store_true",
        help="give the network all points, not only what the camera sees and KITTI labels",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument(
        "--pr-picture", type=Path, metavar="FILE", help="draw precision over recall (PNG)"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="draw the frames with the most misses and false detections from above",
    )
    parser.add_argument(
        "--num-pictures", type=positive_int, default=8, metavar="N", help="of them (default: 8)"
    )
    more = parser.add_argument_group("what is computed (defaults in EvaluationSettings)")
    more.add_argument(
        "--distances", type=float, nargs="*", metavar="M", help="edges of the distance bins [m]"
    )
    more.add_argument(
        "--resamples", type=seed, metavar="N", help="of the frames, for intervals; 0: none"
    )
    more.add_argument("--confidence", type=fraction, metavar="SHARE", help="of the intervals")
    more.add_argument(
        "--block",
        type=positive_int,
        metavar="N",
        help="consecutive frames drawn together; for a sequence, longer than objects are in view",
    )
    more.add_argument("--seed", type=seed, metavar="N", help="of the resampling")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables and write the files."""
    from eloss_perception.datasets.kitti import KittiDataset
    from eloss_perception.errors import ConfigError
    from eloss_perception.evaluation import evaluate_splits, format_report
    from eloss_perception.evaluation.detectors import load_bundle
    from eloss_perception.files import write_file
    from eloss_perception.runtime.bundle import default_bundle_path

    settings = _settings(args)
    num_frames = sum(len(KittiDataset(args.data, split)) for split in args.split)
    detector: AnyDetector
    if args.checkpoint is None:
        path = args.bundle or default_bundle_path()
        detector, about = load_bundle(path, args.backend or DEFAULT_BACKEND, args.threads)
    elif args.backend is None:
        from eloss_perception.training.validation import checkpoint_detector

        detector, about = checkpoint_detector(args.checkpoint, args.threads)
    else:
        raise ConfigError("--backend runs a bundle; a checkpoint runs in torch")
    with progress_bar(num_frames, "frames") as advance:
        report, frames = evaluate_splits(
            detector,
            args.data,
            args.split,
            camera_view=not args.full_scan,
            settings=settings,
            provenance=about,
            progress=lambda done, _: advance(done),
        )
    say(format_report(report).rstrip())
    if args.json is not None:
        write_file(args.json, report.to_json())
    if args.pr_picture is not None:
        _write_precision_recall(args.pr_picture, report)
    if args.pictures is not None:
        _write_worst_frames(
            args.pictures,
            args.data,
            frames,
            detector.class_names,
            args.num_pictures,
            not args.full_scan,
        )
    return 0


def _settings(args: argparse.Namespace) -> EvaluationSettings:
    """Returns the settings that the command line changes, checked."""
    from eloss_perception.evaluation import EvaluationSettings

    named = {
        "distance_edges": args.distances,
        "num_resamples": args.resamples,
        "confidence": args.confidence,
        "block_length": args.block,
        "seed": args.seed,
    }
    return settings_from(EvaluationSettings, named)


def _write_precision_recall(path: Path, report: EvaluationReport) -> None:
    """Draws precision over recall of all frames, moderate difficulty.

    Raises:
        DataError: If the picture cannot be written.
    """
    from eloss_perception.plots.charts import PrecisionCurve, render_precision_recall
    from eloss_perception.plots.style import save_png

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


def _write_worst_frames(
    folder: Path,
    data_root: Path,
    frames: dict[str, list[EvaluationFrame]],
    class_names: Sequence[str],
    num_pictures: int,
    camera_view: bool,
) -> None:
    """Draws the frames with the most misses and false detections from above.

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
    from eloss_perception.datasets.kitti import KittiDataset, camera_view_mask
    from eloss_perception.evaluation.outcomes import frame_outcomes
    from eloss_perception.plots.comparisons import render_outcomes
    from eloss_perception.plots.style import save_png

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
    """Returns the boxes of each outcome in the LiDAR frame, with the texts beside them."""
    from eloss_perception.datasets.kitti import kitti_to_boxes
    from eloss_perception.plots.comparisons import OutcomeBoxes

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
