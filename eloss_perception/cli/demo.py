# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss demo`: player, detector node and recorder together, on a drive whose sensor degrades."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.cli.parsing import Subparsers, add_command, positive_int, seed
from eloss_perception.replay.demo.demo import (
    DEFAULT_NUM_FRAMES,
    DEFAULT_OUTPUT,
    DEFAULT_SEED,
    QUICK_NUM_FRAMES,
    RATE_HZ,
    DemoSettings,
)


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "demo",
        run,
        "run the whole system on a drive and show what it found",
        details=(
            "Starts the detector node, a player and a recorder, plays a drive at 10 Hz,\n"
            "then prints a summary and writes pictures, an animation and the recorded bag. A\n"
            "simulated drive is kept for the next run. Exit status 1: a scan was neither\n"
            "answered nor counted as dropped."
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
        help=f"scans to play (default: {DEFAULT_NUM_FRAMES}, or the sequence)",
    )
    add(
        "--quick",
        action="store_true",
        help=f"a short drive of {QUICK_NUM_FRAMES / RATE_HZ:g} s",
    )
    add("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    add("--backend", metavar="NAME", help="what runs the network (default: the node's)")
    add(
        "--corrupt",
        action="append",
        metavar="WHAT",
        help="NAME[:SEVERITY][@STARTs-ENDs], repeatable, or `none`"
        " (default: rain, fog, then lost beams; a sequence is played as it is)",
    )
    add(
        "--seed",
        type=seed,
        default=DEFAULT_SEED,
        metavar="S",
        help=f"of the simulated drive (default: {DEFAULT_SEED})",
    )
    add(
        "--output",
        "--out",
        type=Path,
        default=DEFAULT_OUTPUT,
        metavar="DIR",
        help=f"for the results (default: {DEFAULT_OUTPUT})",
    )


def settings_from_arguments(args: argparse.Namespace) -> DemoSettings:
    """Returns the settings that parsed options stand for.

    Raises:
        ConfigError: A value out of range.
    """
    from eloss_perception.simulation.schedule import parse_corruption_window

    num_frames = args.frames
    if num_frames is None and args.quick:
        num_frames = QUICK_NUM_FRAMES
    corruptions = None
    if args.corrupt is not None:
        texts = [text for text in args.corrupt if text != "none"]
        corruptions = tuple(parse_corruption_window(text) for text in texts)
    return DemoSettings(
        output=args.output,
        kitti=args.kitti,
        num_frames=num_frames,
        bundle=args.bundle,
        backend=args.backend,
        corruptions=corruptions,
        seed=args.seed,
    )


def run(args: argparse.Namespace) -> int:
    """Runs the demo."""
    from eloss_perception.cli import terminal
    from eloss_perception.replay.demo.demo import run_demo

    return run_demo(settings_from_arguments(args), terminal)
