# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss replay`: play a rosbag2 where `ros2 bag` is not installed."""

from __future__ import annotations

import argparse

from eloss_perception.commands.parsing import Subparsers, add_command, positive_float


def add_parser(subparsers: Subparsers) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "replay",
        run,
        "play a rosbag2 where `ros2 bag` is not installed",
        details="While it plays: space pauses and continues, Ctrl-C ends it.",
        example="eloss replay drive --rate 0.5 --loop",
    )
    parser.add_argument("bag", metavar="BAG", help="the bag's folder (MCAP or sqlite3)")
    parser.add_argument("--rate", type=positive_float, default=1.0, help="speed (default: 1)")
    parser.add_argument("--loop", action="store_true", help="start over at the end")
    parser.add_argument("--paused", action="store_true", help="wait for space at the start")


def run(args: argparse.Namespace) -> int:
    """Play the bag until its end or Ctrl-C."""
    from eloss_perception.ros.player import main

    argv = [args.bag, "--rate", str(args.rate)]
    argv += ["--loop"] * args.loop + ["--paused"] * args.paused
    return int(main(argv) or 0)
