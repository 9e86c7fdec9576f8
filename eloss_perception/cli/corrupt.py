# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss corrupt`: scans, splits and bags as a degraded sensor would have delivered them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import Subparsers, add_command, seed
from eloss_perception.cli.terminal import say, warn
from eloss_perception.errors import ConfigError, DataError

if TYPE_CHECKING:
    from eloss_perception.simulation.corruptions import PointArray
    from eloss_perception.simulation.schedule import CorruptionWindow


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "corrupt",
        run,
        "write scans as a degraded sensor delivers them",
        details=(
            "SOURCE is a scan (.bin, .pcd, .ply, .npy), a folder of them, a KITTI root (with\n"
            "--split) or a bag; without one, a simulated scan. --out becomes .bin files in\n"
            "KITTI's format, a root with scans, calibrations and labels, or a bag with all\n"
            "its topics; clouds keep their driver's fields and units. Files after one another\n"
            "count as the scans of one drive."
        ),
        example=(
            "eloss corrupt --list\n"
            "eloss corrupt --corrupt fog:4 --picture fog.png\n"
            "eloss corrupt scan.bin --corrupt snow:3 --corrupt dirt:2 --out snowy.bin\n"
            "eloss corrupt kitti --split val --corrupt pitch:3 --out tilted\n"
            "eloss corrupt drive --corrupt fog:4@5s-10s --out foggy_drive\n"
            "eloss corrupt --gallery corruptions.webp"
        ),
    )
    parser.add_argument("source", nargs="?", type=Path, metavar="SOURCE")
    parser.add_argument(
        "--corrupt",
        action="append",
        default=[],
        metavar="WHAT",
        help="NAME[:SEVERITY], in a bag also @STARTs-ENDs; repeatable, done in this order",
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="where to write the result")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the first scan before and after (.png)"
    )
    parser.add_argument(
        "--gallery", type=Path, metavar="FILE", help="draw all corruptions (.png or .webp)"
    )
    parser.add_argument(
        "--severity", type=int, default=4, choices=range(1, 6), help="of --gallery (default: 4)"
    )
    parser.add_argument("--list", action="store_true", help="show all corruptions and leave")
    parser.add_argument("--split", default="val", help="of a KITTI root (default: val)")
    parser.add_argument(
        "--sensor", help="what recorded the scans (default: kitti_hdl64; in a bag, by intensity)"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="same seed, same result")
    parser.add_argument("--overwrite", action="store_true", help="replace what --out names")


def run(args: argparse.Namespace) -> int:
    """Does what the options ask for."""
    if args.list:
        say(_listing())
        return 0
    if args.gallery is not None:
        from eloss_perception.cli.corrupt_pictures import write_gallery

        write_gallery(args.gallery, *_scan_to_draw(args), args.severity, args.seed)
        say(f"picture: {args.gallery}")
        if not args.corrupt:
            return 0
    windows = _windows(args)
    is_bag = _is_bag(args.source)
    for window in windows:
        if not is_bag and str(window) != f"{window.name}:{window.severity}":
            raise ConfigError(f"{window}: a scan has no time; only in a bag is there a from and to")
    if args.picture is not None:
        _write_picture(args, windows)
    if args.out is not None:
        _write(args, windows, is_bag)
    return 0


def _listing() -> str:
    """Every corruption with what its severities mean and where they come from, by kind."""
    from eloss_perception.simulation.corruptions import CORRUPTIONS, KINDS

    width = max(map(len, CORRUPTIONS)) + 2
    lines = []
    for kind in KINDS:
        lines.append(kind)
        for name, corruption in CORRUPTIONS.items():
            if corruption.kind == kind:
                lines.append(f"  {name:{width}}{corruption.what}")
                lines.append(f"  {'':{width}}[{corruption.source}]")
    lines.append("\nNAME:SEVERITY, 1 (barely visible) to 5 (severe); 3 where none is given.")
    return "\n".join(lines)


def _windows(args: argparse.Namespace) -> list[CorruptionWindow]:
    from eloss_perception.simulation.schedule import parse_corruption_window

    windows = [parse_corruption_window(text) for text in args.corrupt]
    if not windows:
        raise ConfigError(
            "nothing to do: say --corrupt NAME:SEVERITY, such as fog:4; --list shows the names"
        )
    if args.out is None and args.picture is None:
        raise ConfigError("say where to write the result: --out PATH or --picture FILE")
    if args.out is not None and args.out.exists():
        if args.source is not None and args.out.resolve() == args.source.resolve():
            raise DataError(f"{args.out} is the source itself; choose another --out")
        if not args.overwrite:
            raise DataError(f"{args.out} exists; choose another --out or say --overwrite")
    return windows


def _is_bag(source: Path | None) -> bool:
    if source is None:
        return False
    from eloss_perception.datasets.bags.folder import is_bag

    return is_bag(source)


def _scan_to_draw(args: argparse.Namespace) -> tuple[PointArray, PointArray | None]:
    """The first scan, and the one before it where there is one."""
    if args.source is None:
        from eloss_perception.simulation.drive import simulate_drive

        before, scan = (frame.scan.points for frame in simulate_drive(args.seed, 2))
        return scan, before
    if _is_bag(args.source):
        raise ConfigError(f"{args.source} is a bag; pictures are drawn of scans")
    from eloss_perception.cli.corrupt_sources import find_source_scans

    return find_source_scans(args.source, args.split, args.sensor or "kitti_hdl64")[0].read(), None


def _write_picture(args: argparse.Namespace, windows: Sequence[CorruptionWindow]) -> None:
    from eloss_perception.cli.corrupt_pictures import write_before_after
    from eloss_perception.simulation.schedule import corrupt_on_schedule

    points, before = _scan_to_draw(args)
    corrupted = corrupt_on_schedule(points, windows, 0.0, 0, args.seed, before)
    write_before_after(args.picture, points, corrupted, windows)
    say(f"picture: {args.picture}")


def _write(args: argparse.Namespace, windows: Sequence[CorruptionWindow], is_bag: bool) -> None:
    from eloss_perception.cli import corrupt_sources

    what = ", ".join(map(str, windows))
    if args.source is None:
        from eloss_perception.files import write_file
        from eloss_perception.simulation.schedule import corrupt_on_schedule

        points, before = _scan_to_draw(args)
        points = corrupt_on_schedule(points, windows, 0.0, 0, args.seed, before)
        write_file(args.out, points.astype("<f4").tobytes())
        say(f"a simulated scan with {what}: {args.out}")
    elif is_bag:
        num_clouds, notes = corrupt_sources.write_bag(
            args.source,
            args.out,
            windows,
            args.seed,
            sensor_name=args.sensor,
            overwrite=args.overwrite,
        )
        for note in notes:
            warn(note)
        say(f"{num_clouds} point clouds, {what}: {args.out}\nplay it: eloss replay {args.out}")
    else:
        scans = corrupt_sources.find_source_scans(
            args.source, args.split, args.sensor or "kitti_hdl64"
        )
        corrupt_sources.write_scans(
            scans,
            args.out,
            windows,
            split=args.split,
            is_file=args.source.is_file(),
            seed=args.seed,
        )
        say(f"{len(scans)} scan{'s' * (len(scans) != 1)} with {what}: {args.out}")
