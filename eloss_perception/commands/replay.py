# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss replay`: play a rosbag2 where `ros2 bag` is not installed."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command, positive_float


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
    parser.add_argument("bag", type=Path, metavar="BAG", help="the bag's folder")
    parser.add_argument(
        "--rate", type=positive_float, default=1.0, metavar="R", help="speed (default: 1)"
    )
    parser.add_argument("--loop", action="store_true", help="start over at the end")
    parser.add_argument("--paused", action="store_true", help="wait for the space bar at first")
    parser.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="only these")
    parser.add_argument(
        "--stamp", choices=("now", "bag"), default="now", help="headers' time (default: now)"
    )
    parser.add_argument("--corrupt", action="append", default=[], metavar="WHAT", help="see above")


def run(args: argparse.Namespace) -> int:
    """Play the bag until its end or Ctrl-C."""
    from eloss_perception.ros.player import PlayerSettings, play
    from eloss_perception.simulation.schedule import parse_corruption_window

    settings = PlayerSettings(
        bag=args.bag,
        rate=args.rate,
        loop=args.loop,
        start_paused=args.paused,
        topics=tuple(args.topics),
        stamp=args.stamp,
        corruptions=tuple(parse_corruption_window(text) for text in args.corrupt),
    )
    play(settings)
    return 0
