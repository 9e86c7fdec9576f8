# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss replay`: play a rosbag2 where `ros2 bag` is not installed."""

from __future__ import annotations

import argparse

from eloss_perception.cli.parsing import Subparsers, add_command
from eloss_perception.replay.player_options import add_arguments, settings_from_arguments


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "replay",
        run,
        "play a rosbag2 where `ros2 bag` is not installed",
        details="While it plays, the space bar pauses and continues and Ctrl-C ends it.",
        example=(
            "eloss replay drive --rate 0.5 --loop\n"
            "eloss replay drive --corrupt fog:4@5s-10s --corrupt beam_missing:3@15s-20s"
        ),
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Plays the bag until its end or Ctrl-C."""
    from eloss_perception.interrupts import StopSignal
    from eloss_perception.replay.player import play

    with StopSignal() as stop:
        play(settings_from_arguments(args), stop)
        stop.raise_if_set()
    return 0
