# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss calibrate`: what clean input looks like to a bundle's network."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command, fraction, positive_int
from eloss_perception.commands.terminal import progress_bar, say


def add_parser(subparsers: Subparsers) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "calibrate",
        run,
        "store in a bundle what clean scans look like to it",
        details=(
            "Clean scans are the split of a KITTI root, or simulated ones without --data.\n"
            "With few scans of the vehicle's own sensor (from about 30), --keep-covariance moves\n"
            "the normal values and keeps the spread and threshold that the bundle has."
        ),
        example=(
            "eloss calibrate --bundle models/mine --frames 400\n"
            "eloss calibrate --bundle models/mine --data kitti --split train --keep-covariance"
        ),
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="KITTI_ROOT", help="clean scans")
    parser.add_argument("--split", default="train", help="list in ImageSets/ (default: train)")
    parser.add_argument(
        "--frames",
        type=positive_int,
        default=400,
        metavar="N",
        help="number of simulated scans (default: 400)",
    )
    parser.add_argument(
        "--false-alarm-rate",
        type=fraction,
        default=0.01,
        metavar="P",
        help="share of clean frames allowed over the threshold (default: 0.01)",
    )
    parser.add_argument("--keep-covariance", action="store_true", help="see above")


def run(args: argparse.Namespace) -> int:
    """Calibrate and print the reference."""
    from eloss_perception.kitti import KittiDataset
    from eloss_perception.training.calibration import (
        calibrate_bundle,
        kitti_scans,
        simulated_scans,
    )

    if args.data is None:
        total, source = args.frames, f"{args.frames} simulated scans"
        scans = simulated_scans(args.frames)
    else:
        total = len(KittiDataset(args.data, args.split))
        source = f"{total} scans of the split {args.split} of a KITTI root"
        scans = kitti_scans(args.data, args.split)
    with progress_bar(total, "scans") as progress:
        reference = calibrate_bundle(
            args.bundle, scans, source, args.false_alarm_rate, args.keep_covariance, progress
        )
    say(f"calibrated {args.bundle} on {reference.num_frames} scans ({reference.source})")
    say(f"threshold {reference.threshold:.3f}, normal eloss {reference.eloss_normal:.3e}")
    return 0
