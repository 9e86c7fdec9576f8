# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss bag`: a KITTI recording or a simulated drive as rosbag2."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.cli.parsing import Subparsers, add_command, positive_int, seed
from eloss_perception.cli.terminal import progress_bar, say

_DEFAULT_DRIVE_FRAMES = 200


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "bag",
        run,
        "write a KITTI sequence or a simulated drive as rosbag2",
        details=(
            "The bag holds points, ground-truth markers and static transforms, and images with\n"
            "camera info where there are any. ROS is not needed."
        ),
        example=(
            "eloss bag --kitti tracking --sequence 0001 --out kitti_0001\n"
            "eloss bag --simulate --frames 200 --seed 3 --out drive"
        ),
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--kitti", type=Path, metavar="ROOT", help="folder with training/")
    source.add_argument("--simulate", action="store_true", help="a simulated drive")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sequence", metavar="NAME", help="of a tracking root, such as 0001")
    which.add_argument("--split", metavar="NAME", help="of an object root, such as val")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bag's folder")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument("--frames", type=positive_int, metavar="N", help="write at most N frames")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the simulated drive")
    parser.add_argument("--lidar", default="hdl64e", help="simulated sensor (default: hdl64e)")
    parser.add_argument("--overwrite", action="store_true", help="replace a bag that exists")


def run(args: argparse.Namespace) -> int:
    """Writes the bag."""
    from eloss_perception.datasets.kitti import KittiDataset, KittiSequence
    from eloss_perception.errors import ConfigError
    from eloss_perception.replay.drives import write_drive_bag, write_kitti_bag

    if args.simulate:
        from eloss_perception.simulation.drive import simulate_drive

        if args.sequence or args.split:
            raise ConfigError("--sequence and --split belong to --kitti, not to --simulate")
        num_frames = args.frames or _DEFAULT_DRIVE_FRAMES
        drive = simulate_drive(args.seed, num_frames, lidar=args.lidar)
        with progress_bar(num_frames, "frames") as advance:
            path = write_drive_bag(
                drive,
                args.out,
                num_frames=num_frames,
                storage=args.storage,
                overwrite=args.overwrite,
                progress=lambda done, _: advance(done),
            )
    else:
        if not (args.sequence or args.split):
            raise ConfigError("--kitti needs --sequence (tracking set) or --split (object set)")
        frames = (
            KittiSequence(args.kitti, args.sequence)
            if args.sequence
            else KittiDataset(args.kitti, args.split)
        )
        with progress_bar(min(len(frames), args.frames or len(frames)), "frames") as advance:
            path = write_kitti_bag(
                frames,
                args.out,
                storage=args.storage,
                max_frames=args.frames,
                overwrite=args.overwrite,
                progress=lambda done, _: advance(done),
            )
    say(f"bag: {path}\nplay it: eloss replay {path}   or   ros2 bag play {path}")
    return 0
