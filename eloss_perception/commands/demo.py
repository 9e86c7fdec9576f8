# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss demo`: player, detector node and recorder together, on a drive whose sensor degrades.

The options are those of `ros.demo`, said once more because that module is too heavy to load for
`eloss --help`; a test compares the two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command, positive_int, seed

_DEFAULT_SEED = 1


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
        example=(
            "eloss demo\n"
            "eloss demo --quick --corrupt crosstalk:5@1s-3s\n"
            "eloss demo --kitti tracking --output kitti_output"
        ),
    )
    add = parser.add_argument
    add("--kitti", type=Path, metavar="ROOT", help="play a KITTI tracking sequence instead")
    add(
        "--frames",
        type=positive_int,
        metavar="N",
        help="scans to play (default: 150, or the sequence)",
    )
    add("--quick", action="store_true", help="a short drive of 4 s")
    add("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    add(
        "--corrupt",
        action="append",
        metavar="WHAT",
        help="NAME:SEVERITY@STARTs-ENDs, repeatable, or `none` (default: fog, then lost beams)",
    )
    add(
        "--seed",
        type=seed,
        default=_DEFAULT_SEED,
        metavar="S",
        help=f"of the simulated drive (default: {_DEFAULT_SEED})",
    )
    add(
        "--output",
        "--out",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="for the results (default: demo_output)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from eloss_perception.ros.demo import run_demo, settings_from_arguments

    return run_demo(settings_from_arguments(args))
