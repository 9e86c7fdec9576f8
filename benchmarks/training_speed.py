# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training speed: the trainer's step alone, the data alone, and both together.

The step alone is the trainer on batches that are already there; the data alone is what its loader
delivers when nobody computes; together is a run as `eloss train` starts it, with the share of its
time that it waits for data. All three are the trainer's own code and metrics.

    python benchmarks/training_speed.py --steps 40 --json training_speed.json
    python benchmarks/training_speed.py --preset pointpillars --set data=KITTI_ROOT --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.training import trainer
from eloss_perception.training.data.loading import load_batches
from eloss_perception.training.data.samples import Batch
from eloss_perception.training.metrics import read_metrics
from eloss_perception.training.optimization import choose_device, choose_precision
from eloss_perception.training.settings import TrainingSettings, load_settings

# Different batches that the step alone goes through: pillar counts differ between them.
NUM_BATCHES = 4


def settings_of(arguments: argparse.Namespace, folder: Path) -> TrainingSettings:
    """A run of a preset that writes nothing but its metrics."""
    steps = arguments.warm_up + arguments.steps
    fixed = [
        f"output={folder}",
        f"steps={steps}",
        f"device={arguments.device}",
        f"log_every={steps}",
        f"profile_every={10 * steps}",
        f"checkpoint_every={10 * steps}",
        "tensorboard=false",
    ]
    return load_settings(None, [*arguments.overrides, *fixed], arguments.preset)


def run_trainer(settings: TrainingSettings, warm_up: int, name: str) -> dict[str, float]:
    """Samples a second and share of time waiting of a run, its first steps left out."""
    run = settings.model_copy(update={"name": name, "log_every": warm_up})
    trainer.train(run)
    rows = [row for row in read_metrics(run.run_dir / "metrics.jsonl") if "loss" in row][1:]
    seconds = [run.batch_size / row["samples_per_second"] for row in rows]  # of a step, a window
    waiting = [row["waiting"] * s for row, s in zip(rows, seconds, strict=True)]
    return {
        "samples_per_second": round(run.batch_size * len(rows) / sum(seconds), 2),
        "waiting": round(sum(waiting) / sum(seconds), 4),
    }


def time_data(settings: TrainingSettings, warm_up: int) -> float:
    """Samples a second that the loader delivers to a consumer that does nothing."""
    batches = load_batches(settings)
    for _ in islice(batches, warm_up):
        check_interrupt()
    start = time.perf_counter()
    # Before the last batches, when workers run out of work.
    num_steps = sum(1 for _ in islice(batches, max(1, settings.steps - 2 * warm_up)))
    return round(num_steps * settings.batch_size / (time.perf_counter() - start), 2)


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="light", help="settings to measure (default: light)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--steps", type=int, default=40, help="measured (default 40)")
    parser.add_argument("--warm-up", type=int, default=10, help="steps before (default 10)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    # Lines of metrics are the mean of as many steps as the warm-up has.
    arguments.steps = max(arguments.steps // arguments.warm_up, 1) * arguments.warm_up

    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(arguments, Path(folder))
        data = time_data(settings, arguments.warm_up)
        kept = list(islice(load_batches(settings), NUM_BATCHES))

        def ready(run: TrainingSettings, *_: Any, **__: Any) -> Iterator[list[Batch]]:
            return islice(cycle(kept), run.steps)

        together = run_trainer(settings, arguments.warm_up, "together")
        trainer.load_batches = ready
        step = run_trainer(settings, arguments.warm_up, "step")

    device = choose_device(arguments.device)
    processor = platform.processor() or platform.machine()
    result = {
        "preset": arguments.preset,
        "overrides": arguments.overrides,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "precision": str(choose_precision(settings.precision, device)).removeprefix("torch."),
        "batch_size": settings.batch_size,
        "num_workers": settings.num_workers,
        "num_threads": settings.num_threads,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "torch": str(torch.__version__),
        "steps": arguments.steps,
        "step_samples_per_second": step["samples_per_second"],
        "data_samples_per_second": data,
        "together_samples_per_second": together["samples_per_second"],
        "together_waiting": together["waiting"],
    }
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:<{width}}  {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
