# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss demo`: player, detector node and recorder together, on a drive whose sensor degrades."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command


def add_parser(subparsers: Subparsers) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "demo",
        run,
        "run the whole system on a drive and show what it found",
        details=(
            "Plays a drive through DDS at 10 Hz, detects in every scan, records all topics, then\n"
            "prints a summary and writes pictures, an animation and the bag."
        ),
        example="eloss demo\neloss demo --kitti tracking --out kitti_output",
    )
    parser.add_argument(
        "--kitti", type=Path, metavar="ROOT", help="replay a KITTI sequence instead"
    )
    parser.add_argument("--out", type=Path, default=Path("demo_output"), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from eloss_perception.ros.demo import run_demo

    return int(run_demo(kitti_root=args.kitti, out=args.out) or 0)
