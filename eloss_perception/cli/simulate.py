# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss simulate`: labelled LiDAR scans in the layout of KITTI's object set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import Subparsers, add_command, positive_int, seed
from eloss_perception.cli.terminal import say, track

if TYPE_CHECKING:
    from eloss_perception.simulation.lidar import SimulatedScan

# Scenes of this stream are none of those that training draws from the same seed.
_SEED_STREAM = 1
_MAX_PREVIEWS = 8


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "simulate",
        run,
        "write simulated, labelled scans as a KITTI root",
        details="A further split of another name can be added to a root that exists.",
        example="eloss simulate --out sim --frames 100 --seed 1 --split val --preview",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the KITTI root")
    parser.add_argument("--frames", type=positive_int, required=True, metavar="N")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="same seed, same scans")
    parser.add_argument("--lidar", default="hdl64e", help="simulated sensor (default: hdl64e)")
    parser.add_argument("--split", default="train", help="list in ImageSets/ (default: train)")
    parser.add_argument(
        "--preview", action="store_true", help="draw the first scans into DIR/preview"
    )


def run(args: argparse.Namespace) -> int:
    """Simulates and write the frames, then the list that makes them a split."""
    import numpy as np

    from eloss_perception.datasets.kitti import Calibration, write_image_set, write_kitti_frame
    from eloss_perception.errors import DataError
    from eloss_perception.simulation.drive import kitti_labels, simulate_scan

    root: Path = args.out
    listed = root / "ImageSets" / f"{args.split}.txt"
    if listed.exists():
        raise DataError(f"{listed} exists; choose another --split or --out")
    calibration = Calibration.synthetic()
    first = _first_free_id(root)
    ids = [f"{number:06d}" for number in range(first, first + args.frames)]
    for index, frame_id in enumerate(track(ids, len(ids), "scans")):
        sequence = np.random.SeedSequence(args.seed, spawn_key=(_SEED_STREAM, index))
        scan = simulate_scan(int(sequence.generate_state(1)[0]), args.lidar)
        objects = kitti_labels(scan, calibration)
        write_kitti_frame(root, frame_id, scan.points, objects, calibration)
        if args.preview and index < _MAX_PREVIEWS:
            _write_preview(root / "preview" / f"{frame_id}.png", scan, frame_id)
    write_image_set(root, args.split, ids)
    say(f"{len(ids)} scans in {root} (split {args.split}, {ids[0]} to {ids[-1]})")
    return 0


def _first_free_id(root: Path) -> int:
    names = (path.stem for path in (root / "training" / "velodyne").glob("*.bin"))
    return max((int(name) for name in names if name.isdigit()), default=-1) + 1


def _write_preview(path: Path, scan: SimulatedScan, frame_id: str) -> None:
    """Draws a scan with its labels as solid boxes."""
    import numpy as np

    from eloss_perception.detection.boxes import CLASS_NAMES, Boxes3D
    from eloss_perception.plots.bev import render_bev
    from eloss_perception.plots.style import save_png

    boxes = Boxes3D(scan.boxes, np.ones(len(scan.boxes), np.float32), scan.labels)
    subtitle = f"{len(scan.points):,} points, {len(boxes)} objects"
    picture = render_bev(
        scan.points,
        boxes,
        CLASS_NAMES,
        extent=(-40.0, -45.0, 60.0, 45.0),
        size=(900, 1000),
        title=f"Simulated scan {frame_id}",
        subtitle=subtitle,
        with_scores=False,
    )
    save_png(path, picture)
