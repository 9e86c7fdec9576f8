# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss health`: whether the alarm of a bundle can be trusted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import (
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
    from eloss_perception.evaluation.health.benchmark import Workload
    from eloss_perception.evaluation.health.document import BenchmarkData
    from eloss_perception.evaluation.health.settings import HealthBenchmarkSettings

# What one frame takes on one core of a laptop, scan and corruption included [s]: for the estimate
# that is printed before anything was measured.
_SECONDS_PER_FRAME = 0.1
_DRIVE_MINUTES = 1.0


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "health",
        run,
        "measure whether the alarm of a bundle can be trusted",
        details=(
            "Every scan is shown to the network as it is and under every corruption and severity.\n"
            "Tables, picture and JSON hold how well the alarm's score and its rivals (point\n"
            "count, range histogram, confidence, Moran's I, input statistics) tell the two apart,\n"
            "beside what each corruption costs in average precision; in sequences also the delay,\n"
            "the recovery and the false alarms of the level that the node publishes.\n"
            "All corruptions on 44 scans are some 5,000 frames: ten minutes on one fast core.\n"
            "What the network said is kept in --cache: an interrupted run goes on where it\n"
            "stopped, and runs of different --corruptions can fill it side by side. Without\n"
            "--data the scans are simulated."
        ),
        example=(
            "eloss health --frames 20 --corruptions fog pitch --severities 3 5\n"
            "eloss health --data kitti --split train val --json health.json --picture health.png\n"
            "eloss health --data kitti --split val --calibrate-split train --json health.json\n"
            "eloss health --tracking kitti_tracking --sequence 0001 --clean-minutes 10\n"
            "eloss health --compare plain.json entropy.json"
        ),
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    data = parser.add_argument_group("scans")
    data.add_argument("--data", type=Path, metavar="KITTI_ROOT", help="labelled scans")
    data.add_argument(
        "--split",
        nargs="+",
        default=["val"],
        metavar="NAME",
        help="lists in ImageSets/, with no frame in common (default: val)",
    )
    data.add_argument(
        "--calibrate-split",
        metavar="NAME",
        help="clean scans for recalibration; without it parts of a split serve each other",
    )
    data.add_argument(
        "--frames",
        type=positive_int,
        default=40,
        metavar="N",
        help="simulated scans where there is no --data (default: 40)",
    )
    data.add_argument(
        "--frames-apart",
        type=float,
        metavar="S",
        help="time between the scans that recalibrate [s]; 0.1 in a sequence (default: 10)",
    )
    sequences = parser.add_argument_group("sequences")
    sequences.add_argument("--tracking", type=Path, metavar="KITTI_ROOT", help="tracking set")
    sequences.add_argument("--sequence", nargs="+", default=[], metavar="NAME", help="such as 0001")
    sequences.add_argument(
        "--drives", type=seed, default=0, metavar="N", help="simulated drives to corrupt"
    )
    sequences.add_argument(
        "--drive-frames",
        type=positive_int,
        default=40,
        metavar="N",
        help="scans of each (default: 40)",
    )
    sequences.add_argument(
        "--clean-minutes",
        type=float,
        default=0.0,
        metavar="MIN",
        help="of simulated driving in which every alarm is false",
    )
    what = parser.add_argument_group("what is measured (defaults in HealthBenchmarkSettings)")
    what.add_argument("--corruptions", nargs="+", metavar="NAME", help="default: all")
    what.add_argument("--severities", nargs="+", type=int, metavar="N", help="1 to 5; default: all")
    what.add_argument(
        "--calibration-frames",
        type=positive_int,
        metavar="N",
        help="simulated clean scans that the rivals are calibrated on (default: 200)",
    )
    what.add_argument("--resamples", type=seed, metavar="N", help="of the frames, for intervals")
    what.add_argument("--confidence", type=fraction, metavar="SHARE", help="of the intervals")
    what.add_argument(
        "--block", type=positive_int, metavar="N", help="consecutive frames drawn together"
    )
    what.add_argument("--seed", type=seed, metavar="N", help="of corruptions and resampling")
    add_backend_arguments(parser)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs") / "health",
        metavar="DIR",
        help="what the network said of each scan (default: runs/health)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it (PNG)")
    parser.add_argument(
        "--profiles", type=Path, metavar="FILE", help="draw the entropies by corruption (PNG)"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar="JSON",
        help="measure nothing: compare two results of the same scans",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and write the files; or compare two results."""
    if args.compare is not None:
        return _compare(*args.compare)
    from eloss_perception.evaluation.health.benchmark import HealthBenchmark
    from eloss_perception.evaluation.health.statistics import write_json
    from eloss_perception.evaluation.health.table import format_report
    from eloss_perception.runtime.bundle import Bundle, default_bundle_path

    settings = _settings(args)
    bundle = Bundle.load(args.bundle or default_bundle_path())
    bundle.require_health()
    data = _data(args, settings)
    benchmark = HealthBenchmark(bundle, data, settings, args.cache, args.backend, args.threads)
    workload = benchmark.workload()
    say(_announcement(workload))
    with progress_bar(workload.num_frames, "frames") as advance:
        document = benchmark.run(lambda done, _: advance(done))
    say(format_report(document).rstrip())
    if args.json is not None:
        write_json(args.json, document)
    if args.picture is not None or args.profiles is not None:
        from eloss_perception.plots.health_charts import render_health_table, render_profiles
        from eloss_perception.plots.style import save_png

        if args.picture is not None:
            save_png(args.picture, render_health_table(document))
        if args.profiles is not None:
            save_png(args.profiles, render_profiles(document))
    return 0


def _announcement(workload: Workload) -> str:
    kept = workload.num_frames - workload.num_missing
    minutes = workload.num_missing * _SECONDS_PER_FRAME / 60.0
    return (
        f"{workload.num_conditions} conditions, {workload.num_frames} frames"
        + (f", {kept} of them kept from before" if kept else "")
        + f": about {max(1.0, minutes):.0f} min on a fast core"
    )


def _data(args: argparse.Namespace, settings: HealthBenchmarkSettings) -> BenchmarkData:
    """Returns the scans that the command line names."""
    from eloss_perception.errors import ConfigError
    from eloss_perception.evaluation.health import frames
    from eloss_perception.evaluation.health.document import BenchmarkData

    rate_hz = settings.sequence.rate_hz
    calibration = None
    if args.data is None:
        if args.calibrate_split is not None:
            raise ConfigError("--calibrate-split names a split of --data, which is not given")
        tested = [frames.simulated_frames(args.frames, settings.seed)]
    else:
        splits = [*args.split, *([args.calibrate_split] if args.calibrate_split else [])]
        sources = frames.kitti_splits(args.data, splits)
        tested = sources[: len(args.split)]
        calibration = sources[-1] if args.calibrate_split else None
    for source in tested:
        frames.check_labels(source)
    if bool(args.sequence) != (args.tracking is not None):
        raise ConfigError("--tracking and --sequence go together")
    corrupted = frames.kitti_sequences(args.tracking, args.sequence) if args.sequence else []
    corrupted += frames.simulated_drives(args.drives, args.drive_frames, settings.seed, rate_hz)
    num_drives = round(args.clean_minutes / _DRIVE_MINUTES)
    num_scans = round(60.0 * _DRIVE_MINUTES * rate_hz)
    clean = frames.simulated_drives(
        num_drives, num_scans, settings.seed, rate_hz, first=args.drives, keep=False
    )
    return BenchmarkData(tested, calibration, corrupted, clean)


def _settings(args: argparse.Namespace) -> HealthBenchmarkSettings:
    """Returns the settings that the command line changes, checked."""
    from eloss_perception.evaluation.health.settings import HealthBenchmarkSettings

    named = {
        "corruptions": args.corruptions,
        "severities": args.severities,
        "frames_apart_s": args.frames_apart,
        "num_calibration": args.calibration_frames,
        "num_resamples": args.resamples,
        "confidence": args.confidence,
        "block_length": args.block,
        "seed": args.seed,
    }
    return settings_from(HealthBenchmarkSettings, named)


def _compare(first: Path, second: Path) -> int:
    """Prints how the scores of two networks differ."""
    from eloss_perception.evaluation.health.comparison import comparison_lines
    from eloss_perception.evaluation.health.report import load_report

    documents = [load_report(path) for path in (first, second)]
    for protocol in documents[0]["protocols"]:
        if protocol in documents[1]["protocols"]:
            say("\n".join(comparison_lines(documents[0], documents[1], protocol)))
    return 0
