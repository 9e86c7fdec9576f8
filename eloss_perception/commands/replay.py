# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss replay`: play a rosbag2 where `ros2 bag` is not installed.

The options are those of `ros.player`, said once more because that module is too heavy to load for
`eloss --help`; a test compares the two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command, positive_float

_DEFAULT_CLOCK_HZ = 40.0


def add_parser(subparsers: Subparsers) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "replay",
        run,
        "play a rosbag2 where `ros2 bag` is not installed",
        details=(
            "While it plays, the space bar pauses and continues and Ctrl-C ends it.\n"
            "--corrupt NAME[:SEVERITY][@STARTs-ENDs] degrades the point clouds on the way."
        ),
        example=(
            "eloss replay drive --rate 0.5 --loop\n"
            "eloss replay drive --corrupt fog:4@5s-10s --corrupt beam_missing:3@15s-20s"
        ),
    )
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="the bag's folder")
    add("--rate", type=positive_float, default=1.0, metavar="R", help="speed (default: 1)")
    add("--loop", action="store_true", help="start over at the end")
    add("--start-paused", action="store_true", help="wait for the space bar at first")
    add("--topics", nargs="+", default=[], metavar="TOPIC", help="play only these")
    add("--remap", nargs="+", default=[], metavar="FROM:=TO", help="publish under another name")
    add("--stamp", choices=("now", "bag"), help="time in the headers (default: now)")
    add(
        "--clock",
        type=float,
        nargs="?",
        const=_DEFAULT_CLOCK_HZ,
        default=0.0,
        metavar="HZ",
        help="publish the bag's time on /clock; implies --stamp bag",
    )
    add("--corrupt", action="append", default=[], metavar="WHAT", help="see above; repeatable")
    add(
        "--wait-for-subscribers",
        type=int,
        default=0,
        metavar="N",
        help="start once every point cloud has N subscribers",
    )
    add("--report", type=Path, metavar="FILE", help="write what was played as JSON")


def run(args: argparse.Namespace) -> int:
    """Play the bag until its end or Ctrl-C."""
    from eloss_perception.ros.player import play, settings_from_arguments
    from eloss_perception.ros.stop_signal import StopSignal
    from eloss_perception.simulation.schedule import parse_corruption_window

    args.corrupt = [parse_corruption_window(text) for text in args.corrupt]
    with StopSignal() as stop:
        play(settings_from_arguments(args), stop)
    return 0
