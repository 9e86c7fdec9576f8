# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss seal`: write the checksum of a bundle's facts anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.cli.parsing import Subparsers, add_command
from eloss_perception.cli.terminal import say


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "seal",
        run,
        "write the checksum of a bundle's model.yaml anew, after an edit by hand",
        details=(
            "The first line of model.yaml is the checksum of the rest, which has those of\n"
            "model.onnx and health.npz; a bundle whose checksums do not match is refused. This\n"
            "accepts model.yaml as it is now, or adds the line to a bundle of an earlier version.\n"
            "Everything else about the bundle is checked and must be in order."
        ),
        example="eloss seal models/mine",
    )
    parser.add_argument("bundle", type=Path, metavar="DIR", help="the bundle's folder")


def run(args: argparse.Namespace) -> int:
    """Writes the checksum."""
    from eloss_perception.runtime.bundle import write_checksum

    write_checksum(args.bundle)
    say(f"{args.bundle / 'model.yaml'} has the checksum of what it says now")
    return 0
