# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss train`: train a network on simulated scans or a KITTI root."""

from __future__ import annotations

import argparse
from pathlib import Path

from eloss_perception.commands.parsing import Subparsers, add_command
from eloss_perception.commands.terminal import say


def add_parser(subparsers: Subparsers) -> None:
    """Declare the subcommand."""
    parser = add_command(
        subparsers,
        "train",
        run,
        "train a network; an interrupted run continues where it was",
        details=(
            "Settings come from a YAML file and --set; what both leave out keeps its default.\n"
            "The checkpoint and metrics.jsonl are in OUTPUT/NAME (settings `output` and `name`)."
        ),
        example=(
            "eloss train --set name=first --set steps=2000\n"
            "eloss train --config run.yaml --set learning_rate=1e-3 --set network.widths=[32,64,96]"
        ),
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with settings")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, with a YAML value; a dot leads into a section; may be repeated",
    )
    parser.add_argument(
        "--show", action="store_true", help="print all settings and their values, then stop"
    )


def run(args: argparse.Namespace) -> int:
    """Train and say where the checkpoint is."""
    from eloss_perception.training.settings import load_settings

    settings = load_settings(args.config, args.overrides)
    if args.show:
        import yaml

        say(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip())
        return 0
    from eloss_perception.training.trainer import train

    checkpoint = train(settings)
    say(f"checkpoint: {checkpoint}\nnext: eloss export --checkpoint {checkpoint} --out BUNDLE")
    return 0
