# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss calibrate`: what clean and disturbed input look like to a bundle's network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import (
    SENSOR_ARGUMENTS,
    Subparsers,
    add_backend_arguments,
    add_command,
    add_sensor_arguments,
    positive_float,
    positive_int,
    seconds,
    sensor_from_arguments,
)
from eloss_perception.cli.terminal import progress_bar, say, warn
from eloss_perception.errors import ConfigError, DataError

if TYPE_CHECKING:
    from eloss_perception.health.reference import HealthReference
    from eloss_perception.runtime.bundle import Bundle

# Options that belong to one source of scans, by destination; given with another one they are a
# mistake that would go unnoticed.
_OF_SIMULATION = ("scans", "drives")
_OF_DATA = ("split", "frames_apart")
_OF_BAG = ("topic", *SENSOR_ARGUMENTS, "start", "end", "clouds")


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "calibrate",
        run,
        "store in a bundle what clean input looks like to it",
        details=(
            "Without --data and --bag the reference is fitted to simulated scans and to\n"
            "simulated drives under every known disturbance, some ten thousand scans: a\n"
            "quarter of an hour on one core. A new network needs that once. --data and --bag\n"
            "then recalibrate it on a vehicle's own clean scans, 30 at least: where normal lies,\n"
            "how it varies, the threshold.\n"
            "Record the bag while driving, in clear weather, with the sensor clean."
        ),
        example=(
            "eloss calibrate --bundle models/mine\n"
            "eloss calibrate --bundle models/mine --bag drive --out models/mine_on_this_car\n"
            "eloss calibrate --bundle models/mine --bag drive --topic /points --sensor ouster "
            "--mounting-height 1.9\n"
            "eloss calibrate --bundle models/mine --data kitti --split train"
        ),
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write a calibrated copy; the bundle stays as it is"
    )
    parser.add_argument(
        "--false-alarms-per-hour",
        type=positive_float,
        default=1.0,
        metavar="N",
        help="events in an hour of clean driving that may exceed the threshold (default: 1)",
    )
    parser.add_argument(
        "--rate",
        type=positive_float,
        metavar="HZ",
        help="scans a second (default: as in the bag, else 10)",
    )
    add_backend_arguments(parser)
    _add_source_arguments(parser)


def _add_source_arguments(parser: argparse.ArgumentParser) -> None:
    simulation = parser.add_argument_group("simulation")
    simulation.add_argument(
        "--scans", type=positive_int, metavar="N", help="clean scans (default: 400)"
    )
    simulation.add_argument(
        "--drives", type=positive_int, metavar="N", help="drives to corrupt (default: 60)"
    )
    source = parser.add_mutually_exclusive_group()
    data = parser.add_argument_group("scans in KITTI's layout")
    source.add_argument("--data", type=Path, metavar="KITTI_ROOT")
    data.add_argument(
        "--split", nargs="+", metavar="SPLIT", help="lists in ImageSets/ (default: train)"
    )
    data.add_argument(
        "--frames-apart",
        type=positive_float,
        metavar="S",
        help="time between scans: 0.1 in a sequence (default: 60, as good as another place)",
    )
    bag = parser.add_argument_group("a vehicle's own recording")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 with a PointCloud2 topic")
    bag.add_argument("--topic", help="its point clouds (default: the only ones)")
    add_sensor_arguments(bag, "the bundle's")
    bag.add_argument("--start", type=seconds, metavar="S", help="leave out what lies before")
    bag.add_argument("--end", type=positive_float, metavar="S", help="leave out what lies after")
    bag.add_argument(
        "--clouds",
        type=positive_int,
        metavar="N",
        help="clouds to take, spread over the recording (default: 300)",
    )


def run(args: argparse.Namespace) -> int:
    """Calibrates and print the reference."""
    from eloss_perception.cli.calibrate_sources import say_reference
    from eloss_perception.health.fit import MAX_THRESHOLD
    from eloss_perception.runtime.bundle import Bundle

    _refuse_options_of_another_source(args)
    bundle = Bundle.load_uncalibrated(args.bundle)
    before: HealthReference | None = None
    with _folder_to_calibrate(bundle, args.out) as folder:
        if args.data is None and args.bag is None:
            rate_hz = args.rate or 10.0
            reference = _from_simulation(args, folder, rate_hz)
        else:
            before = Bundle.load(args.bundle).require_health()
            reference, rate_hz = _from_scans(args, folder, bundle.facts.sensor)
    say(f"calibrated {args.out or args.bundle} on {reference.source}")
    say(
        f"threshold {reference.threshold:.2f} points: {args.false_alarms_per_hour:g} false alarms "
        f"an hour at {rate_hz:g} Hz\n"
    )
    say_reference(reference, before)
    if reference.threshold >= MAX_THRESHOLD:
        warn(
            f"clean scans score so high that the threshold is at its limit of {MAX_THRESHOLD:g} "
            "points: expect more false alarms, and calibrate on more, or cleaner, scans"
        )
    return 0


def _refuse_options_of_another_source(args: argparse.Namespace) -> None:
    groups = {
        "the simulation": (_OF_SIMULATION, args.data is None and args.bag is None),
        "--data": (_OF_DATA, args.data is not None),
        "--bag": (_OF_BAG, args.bag is not None),
    }
    for source, (names, is_used) in groups.items():
        given = [f"--{n.replace('_', '-')}" for n in names if getattr(args, n) is not None]
        if given and not is_used:
            raise ConfigError(f"{', '.join(given)} goes with {source} only")


@contextmanager
def _folder_to_calibrate(bundle: Bundle, out: Path | None) -> Iterator[Path]:
    """The bundle's own folder, or a copy that gets its name once it is calibrated."""
    import os
    import shutil

    from eloss_perception.files import new_folder
    from eloss_perception.runtime.bundle import FILE_NAMES

    if out is None:
        if not os.access(bundle.path, os.W_OK):
            raise DataError(f"{bundle.path} may not be changed; write a copy of it: --out DIR")
        yield bundle.path
        return
    with new_folder(out) as copy:
        for name in FILE_NAMES:
            if (bundle.path / name).is_file():
                shutil.copyfile(bundle.path / name, copy / name)
        yield copy


def _from_simulation(args: argparse.Namespace, folder: Path, rate_hz: float) -> HealthReference:
    from eloss_perception.calibration.calibrate import calibrate_from_simulation, num_scans_to_read
    from eloss_perception.runtime.bundle import Bundle

    num_scans, num_drives = args.scans or 400, args.drives or 60
    num_layers = len(Bundle.load_uncalibrated(folder).facts.layer_names)
    total = num_scans_to_read(num_layers, num_scans, num_drives)
    with progress_bar(total, "simulated scans") as advance:
        return calibrate_from_simulation(
            folder,
            num_scans,
            num_drives,
            args.false_alarms_per_hour,
            rate_hz,
            args.backend,
            args.threads,
            progress=advance,
        )


def _from_scans(
    args: argparse.Namespace, folder: Path, sensor: str
) -> tuple[HealthReference, float]:
    from eloss_perception.calibration.calibrate import recalibrate
    from eloss_perception.cli import calibrate_sources

    if args.data is not None:
        clean = calibrate_sources.kitti_scans(
            args.data, args.split or ["train"], args.frames_apart or 60.0
        )
    else:
        clean = calibrate_sources.bag_clouds(
            args.bag,
            args.topic,
            sensor_from_arguments(args, sensor),
            (args.start or 0.0, args.end),
            args.clouds or 300,
        )
    rate_hz = args.rate or clean.rate_hz
    with progress_bar(len(clean.labels), "scans") as advance:
        reference = recalibrate(
            folder,
            clean.scans,
            clean.description,
            args.false_alarms_per_hour,
            rate_hz,
            clean.frames_apart_s,
            args.backend,
            args.threads,
            labels=clean.labels,
            progress=advance,
        )
    return reference, rate_hz
