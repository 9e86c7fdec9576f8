# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss train`: train a network on simulated scans or a KITTI root."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from eloss_perception.cli.parsing import Subparsers, add_command
from eloss_perception.cli.terminal import say
from eloss_perception.interrupts import StopSignal, check_interrupt


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "train",
        run,
        "train a network; an interrupted run continues where it was",
        details=(
            "Settings come from a preset, a YAML file over it, --set over both; what they leave\n"
            "out keeps its default. Checkpoint, metrics.jsonl and TensorBoard files are in\n"
            "OUTPUT/NAME (settings `output` and `name`). Ctrl-C saves; the same command goes on.\n"
            "Several GPUs or machines: torchrun --nproc-per-node N -m eloss_perception.cli train"
        ),
        example=(
            "eloss train --set name=first --set steps=2000\n"
            "eloss train --preset light_kitti --set data=KITTI_ROOT\n"
            "eloss train --config run.yaml --set network.stage_channels=[32,64,96]"
        ),
    )
    parser.add_argument(
        "--preset", metavar="NAME", help="light (the defaults), light_kitti or pointpillars"
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
    """Trains and say where the checkpoint is."""
    from eloss_perception.training.settings import load_settings

    settings = load_settings(args.config, args.overrides, args.preset)
    if args.show:
        import yaml

        say(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip())
        return 0
    from eloss_perception.training.trainer import train

    check_interrupt()  # importing torch takes seconds
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    with StopSignal() as stop:
        try:
            checkpoint = train(settings)
        except KeyboardInterrupt:
            if is_first:
                raise
            return stop.exit_status  # the first says it for all
    if is_first:
        say(f"checkpoint: {checkpoint}\nnext: eloss export --checkpoint {checkpoint} --out BUNDLE")
    return 0
