# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a rosbag2 where `ros2 bag` is not installed: `eloss replay`, or the executable `player`.

Serialized messages go from the bag to DDS as they are; only stamps are exchanged, and point clouds
are taken apart where a corruption is scheduled. Nothing slow is imported at the top, so that
a signal is heeded from the start.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from eloss_perception.errors import DataError, ElossError
from eloss_perception.files import write_file
from eloss_perception.interrupts import StopSignal
from eloss_perception.replay.player_options import (
    PlayerSettings,
    add_arguments,
    settings_from_arguments,
)
from eloss_perception.replay.ros_graph import ros_context, split_ros_arguments

if TYPE_CHECKING:
    from eloss_perception.replay.playback import PlaybackReport


def play(
    settings: PlayerSettings,
    stop: StopSignal | None = None,
    ros_arguments: Sequence[str] = (),
) -> PlaybackReport:
    """Plays a bag until its end or a signal.

    Raises:
        ConfigError: A topic or type does not exist.
        DataError: The bag is missing, nobody listens, or, once all that can be has been played,
            something was missing or damaged.
    """
    # What takes a while to load comes only now, so that a signal is heeded from the start.

    from eloss_perception.datasets.bags.reader import BagReader
    from eloss_perception.detection.sensors import find_sensor
    from eloss_perception.replay.player_node import Keyboard, PlayerNode
    from eloss_perception.ros.middleware import prepare_for_large_messages

    prepare_for_large_messages()

    with ExitStack() as stack:
        if stop is None:
            stop = stack.enter_context(StopSignal())
        if settings.sensor is not None:
            find_sensor(settings.sensor)
        bag = stack.enter_context(BagReader(settings.bag))
        keyboard = stack.enter_context(Keyboard())
        context = stack.enter_context(ros_context(ros_arguments))
        player = PlayerNode(settings, bag, context)
        stack.callback(player.destroy_node)
        report = player.play(stop, keyboard)
    if settings.report is not None:
        write_file(settings.report, json.dumps(asdict(report), indent=2) + "\n")
    problems = [*bag.losses, *report.damage]
    if problems:
        raise DataError(
            f"{settings.bag} was played as far as it can be read: {len(bag.losses)} losses,"
            f" {report.num_damaged} damaged places; the first: {problems[0]}"
        )
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Plays the bag that the command line names.

    Returns:
        0 at the end of the bag or after a signal, 2 after an expected error, which a bag that is
        damaged is too.
    """
    own_arguments, ros_arguments = split_ros_arguments(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="eloss replay",
        description="Play a rosbag2. The space bar pauses and goes on.",
        epilog="example: eloss replay drive/ --loop --corrupt fog:4@5s-10s",
    )
    add_arguments(parser)
    with StopSignal() as stop:
        try:
            play(settings_from_arguments(parser.parse_args(own_arguments)), stop, ros_arguments)
        except ElossError as error:
            sys.stderr.write(f"eloss replay: {error}\n")
            return 2
        except KeyboardInterrupt:  # a signal while a large bag was being opened
            pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
