# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.cli.parsing import Subparsers, add_command
from eloss_perception.cli.terminal import say


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "export",
        run,
        "turn a checkpoint into a bundle",
        details="The bundle is written only if it agrees with the network that it comes from.",
        example=(
            "eloss export --checkpoint runs/light/checkpoint.pt --out models/mine\n"
            "eloss export --checkpoint runs/light/checkpoint.pt --out models/all_around "
            "--range -69.12 -39.68 69.12 39.68"
        ),
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle")
    parser.add_argument("--name", help="name of the bundle (default: that of the run)")
    parser.add_argument(
        "--range",
        type=float,
        nargs=4,
        metavar=("X_MIN", "Y_MIN", "X_MAX", "Y_MAX"),
        help="metres that the bundle covers, in whole cells (default: what it was trained on)",
    )
    parser.add_argument(
        "--weights",
        choices=("auto", "float32", "float16"),
        default="auto",
        help="how weights are stored (default: float32, or float16 in a bundle above 10 MB)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a calibrated bundle too; its health reference is lost",
    )


def run(args: argparse.Namespace) -> int:
    """Exports and say what is in the bundle."""
    from eloss_perception.export.onnx import export_checkpoint

    bev_range = tuple(args.range) if args.range else None
    bundle = export_checkpoint(
        args.checkpoint,
        args.out,
        args.name,
        bev_range=bev_range,
        weights=args.weights,
        overwrite=args.overwrite,
    )
    size_mb = bundle.onnx_path.stat().st_size / 1e6
    say(f"bundle: {bundle.path} ({size_mb:.1f} MB, {len(bundle.facts.layer_names)} tapped layers)")
    say(f"next: eloss calibrate --bundle {bundle.path}")
    return 0
