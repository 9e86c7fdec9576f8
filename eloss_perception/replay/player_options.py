# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the player is told: its settings and the command-line options that stand for them.

Nothing slow is imported here: `eloss --help` and the player's first moments need this module.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.errors import ConfigError

if TYPE_CHECKING:
    from eloss_perception.simulation.schedule import CorruptionWindow

DEFAULT_CLOCK_HZ = 40.0


@dataclass(frozen=True, slots=True)
class PlayerSettings:
    """What to play and how.

    Attributes:
        bag: The bag's folder.
        rate: Speed, 1 as recorded.
        loop: Start over at the end.
        start_paused: Wait for the space bar or the service `~/pause`.
        topics: Those to play; all if empty.
        remap: Other names for topics.
        stamp: ``now`` gives headers the time of publication, ``bag`` leaves them.
        clock_hz: How often to publish `/clock` in the bag's time; 0 not at all.
        corruptions: What the sensor suffers, and when.
        sensor: What recorded the clouds, for `corruptions`; None to go by their intensity.
        wait_for_subscribers: Start once every point cloud has this many.
        wait_timeout_s: Give up waiting after this long.
        report: Write what was played to this JSON file.
    """

    bag: Path
    rate: float = 1.0
    loop: bool = False
    start_paused: bool = False
    topics: tuple[str, ...] = ()
    remap: tuple[tuple[str, str], ...] = ()
    stamp: str = "now"
    clock_hz: float = 0.0
    corruptions: tuple[CorruptionWindow, ...] = ()
    sensor: str | None = None
    wait_for_subscribers: int = 0
    wait_timeout_s: float = 60.0
    report: Path | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 100.0:
            raise ConfigError(f"rate is {self.rate:g}; valid are values above 0 up to 100")
        if self.stamp not in ("now", "bag"):
            raise ConfigError(f"stamp is {self.stamp!r}; valid are now, bag")
        if not 0.0 <= self.clock_hz <= 1000.0:
            raise ConfigError(f"clock is {self.clock_hz:g} Hz; valid are 0 to 1000")
        if self.clock_hz and self.stamp == "now":
            raise ConfigError("--clock publishes the bag's time and needs --stamp bag")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the player's options to a parser."""
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="a rosbag2 (MCAP or sqlite3): folder or file")
    add("--rate", type=float, default=1.0, metavar="R", help="speed (default: 1, as recorded)")
    add("--loop", action="store_true", help="start over at the end")
    add("--start-paused", action="store_true", help="wait for the space bar or ~/pause")
    add("--topics", nargs="+", default=[], metavar="TOPIC", help="play only these")
    add(
        "--remap",
        nargs="+",
        default=[],
        metavar="FROM:=TO",
        help="publish under another name, such as /velodyne_points:=/lidar",
    )
    add(
        "--stamp",
        choices=("now", "bag"),
        help="headers get the time of publication (default), or keep the recorded one",
    )
    add(
        "--clock",
        type=float,
        nargs="?",
        const=DEFAULT_CLOCK_HZ,
        default=0.0,
        metavar="HZ",
        help=f"publish the bag's time on /clock (at {DEFAULT_CLOCK_HZ:g} Hz); implies --stamp bag",
    )
    add(
        "--corrupt",
        action="append",
        default=[],
        metavar="WHAT",
        help="degrade the sensor: NAME[:SEVERITY][@STARTs-ENDs], such as fog:3@5s-10s; repeatable;"
        " `eloss corrupt --list` shows the names",
    )
    add("--sensor", metavar="NAME", help="what recorded the clouds, for --corrupt; else guessed")
    add(
        "--wait-for-subscribers",
        type=int,
        default=0,
        metavar="N",
        help="start once every point cloud has N subscribers",
    )
    add("--report", type=Path, metavar="FILE", help="write what was played to this JSON file")


def settings_from_arguments(arguments: argparse.Namespace) -> PlayerSettings:
    """Returns the settings that parsed options stand for.

    Raises:
        ConfigError: A value out of range.
    """
    from eloss_perception.simulation.schedule import parse_corruption_window

    remap = []
    for item in arguments.remap:
        old, separator, new = item.partition(":=")
        if not (old and separator and new):
            raise ConfigError(f"remap {item!r} is not understood; expected FROM:=TO")
        remap.append((old, new))
    return PlayerSettings(
        bag=arguments.bag,
        rate=arguments.rate,
        loop=arguments.loop,
        start_paused=arguments.start_paused,
        topics=tuple(arguments.topics),
        remap=tuple(remap),
        stamp=arguments.stamp or ("bag" if arguments.clock else "now"),
        clock_hz=arguments.clock,
        corruptions=tuple(parse_corruption_window(text) for text in arguments.corrupt),
        sensor=arguments.sensor,
        wait_for_subscribers=arguments.wait_for_subscribers,
        report=arguments.report,
    )
