# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss evaluate`: KITTI's metrics of a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command, positive_int
from eloss_perception.commands.terminal import progress_bar, say


def add_parser(subparsers: Subparsers) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "evaluate",
        run,
        "measure a bundle on labelled scans",
        details=(
            "Prints KITTI's average precision and the time of each stage.\n"
            "A KITTI root is the folder that holds training/ and ImageSets/; `eloss simulate`\n"
            "writes one."
        ),
        example="eloss evaluate --data kitti --split val --json result.json",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="KITTI_ROOT")
    parser.add_argument("--split", default="val", help="list in ImageSets/ (default: val)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--backend", default="onnxruntime_cpu", metavar="NAME")
    parser.add_argument("--threads", type=positive_int, default=2, metavar="N")
    parser.add_argument(
        "--full-scan",
        action="store_true",
        help="give the network all points, not only what the camera sees and KITTI labels",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the JSON."""
    from eloss_perception.errors import DataError
    from eloss_perception.kitti import KittiDataset
    from eloss_perception.runtime.bundle import default_bundle_path
    from eloss_perception.training.evaluation import evaluate_bundle

    num_frames = len(KittiDataset(args.data, args.split))
    bundle = args.bundle or default_bundle_path()
    with progress_bar(num_frames, "frames") as advance:
        result = evaluate_bundle(
            bundle,
            args.data,
            args.split,
            args.backend,
            args.threads,
            camera_view=not args.full_scan,
            progress=lambda done, _: advance(done),
        )
    say(result.table().rstrip())
    if args.json is not None:
        try:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(result.to_json(), encoding="utf-8")
        except OSError as error:
            raise DataError(f"{args.json}: cannot write: {error.strerror}") from error
    return 0
